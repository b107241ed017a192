"""NumPy values as a pickle stores them, checked before they become NumPy values.

NumPy itself believes a pickle: a few wrong bytes in the state of a data type make it read arbitrary memory as Python
objects. So nothing of NumPy is called while a pickle loads. These stand-ins take what would have gone to NumPy, and
`plain` makes the arrays afterwards, of numbers, texts and plain objects only.
"""

import re
from typing import Any

import numpy as np

DTYPE_CODE = re.compile(r"[biufcSUO]\d{0,9}")  # no records, no subarrays, no dates


class StoredDtype:
    """Arguments and state of a `numpy.dtype`."""

    __slots__ = ("value",)

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not isinstance(code, str) or not DTYPE_CODE.fullmatch(code):
            raise ValueError(f"array of data type {code!r}; only numbers, texts and plain objects are read")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        """Only the byte order of the state matters; the rest belongs to records, subarrays and dates."""
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ValueError(f"array of a type with state {state!r}; only numbers, texts and plain objects are read")
        if state[1] in "<>":
            self.value = self.value.newbyteorder(state[1])


class StoredArray:
    """Arguments and state of a `numpy.ndarray`; the arguments of its construction always describe an empty one."""

    __slots__ = ("state",)
    __hash__ = None

    def __init__(self, *arguments: Any):
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Raises ValueError or TypeError where shape, data type and contents do not fit together."""
        if self.state is None:
            raise ValueError("array without contents")
        _, shape, stored, is_fortran, contents = self.state
        return _array(shape, stored.value, "F" if is_fortran else "C", contents)


def _array(shape: tuple[int, ...], dtype: np.dtype, order: str, contents: Any) -> np.ndarray:
    size = 1
    for length in shape:
        size *= length
    if dtype.hasobject:
        if not isinstance(contents, list) or len(contents) != size:
            raise ValueError(f"array of shape {shape}: not {size} objects")
        array = np.empty(shape, dtype, order)
        for place, value in enumerate(contents):
            array.flat[place] = plain(value)
        return array
    if not isinstance(contents, bytes | bytearray) or len(contents) != size * dtype.itemsize:
        raise ValueError(f"array of shape {shape} and type {dtype}: not {size * dtype.itemsize} bytes")
    return np.ndarray(shape, dtype, bytes(contents), order=order).copy(order="K")  # a copy can be written to


class StoredScalar:
    """Called in place of NumPy's function that makes a scalar."""

    __slots__ = ()  # a pickle may set attributes of what it names: there are none here

    def __call__(self, dtype: StoredDtype, contents: Any) -> Any:
        if dtype.value.hasobject:
            raise ValueError("scalar of type object")
        return _array((), dtype.value, "C", contents)[()]


class StoredBuffer:
    """Called in place of NumPy's function that makes an array of a buffer, in pickles of protocol 5."""

    __slots__ = ()

    def __call__(self, contents: Any, dtype: StoredDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        if dtype.value.hasobject or order not in ("C", "F"):
            raise ValueError(f"buffer of type {dtype.value}, order {order!r}")
        return _array(shape, dtype.value, order, contents)


class Record:
    """What a pickle stores of an object: `arguments` of its construction, and its attributes."""

    def __new__(cls, *arguments: Any) -> "Record":
        record = super().__new__(cls)
        record.arguments = arguments
        return record

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)  # attributes, then those in slots
        for part in parts:
            self.__dict__.update(part or {})


def plain(value: Any) -> Any:
    """`value` with the arrays that it stores, at any depth; lists, dicts and records are changed in place."""
    kind = type(value)
    if kind is StoredArray:
        return value.array()
    if kind is StoredDtype:
        return value.value
    if kind is tuple:
        return tuple([plain(item) if type(item) in NESTED else item for item in value])
    if kind in (list, dict):
        for key, item in enumerate(value) if kind is list else value.items():
            if type(item) in NESTED:
                value[key] = plain(item)
    if kind is Record:
        plain(value.__dict__)
    return value


NESTED = (StoredArray, StoredDtype, Record, list, dict, tuple)
