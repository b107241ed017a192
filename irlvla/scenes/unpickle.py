"""Pickles from other people, read without running their code.

NAVSIM logs are pickles of lists, dicts, strings, numbers and NumPy arrays. A pickle may name any function to be
called while it loads, so every name outside the short list below is refused. NumPy 1 and NumPy 2 wrote different
module names for the same functions; both are known.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric


def _encode_latin1(text: str, encoding: str) -> bytes:
    """What protocol 2 uses to spell bytes; other codecs (some of which decompress) are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r} in a pickle of data")
    return text.encode("latin1")


_NUMPY = {
    "multiarray": {"_reconstruct": multiarray._reconstruct, "scalar": multiarray.scalar},
    "numeric": {"_frombuffer": numeric._frombuffer},
}
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    **{
        (module, plain.__name__): plain
        for module in ("builtins", "__builtin__")  # the second up to protocol 2
        for plain in (set, frozenset, bytes, bytearray)
    },
    ("collections", "OrderedDict"): dict,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, functions in _NUMPY.items()
        for name, function in functions.items()
    },
}


class DataUnpickler(pickle.Unpickler):
    """Unpickler of plain containers and NumPy values."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
        return ALLOWED[module, name]


def load_data_pickle(path: str | Path) -> Any:
    """Contents of a pickle file of plain containers and NumPy values.

    Raises ValueError naming the file, and the refused name where there is one; FileNotFoundError if it is absent.
    """
    with open(path, "rb") as file:
        try:
            return DataUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: refused or damaged pickle: {error}") from error
