"""Pickles from other people, read without running their code.

NAVSIM logs are pickles of lists, dicts, strings, numbers and NumPy arrays. A pickle may name any function to be
called while it loads, so every name outside the short list below is refused. NumPy 1 and NumPy 2 wrote different
module names for the same functions; both are known, and neither is called (see `stored_arrays`).

Second-stage scenes of the real navhard data also hold objects of the nuPlan devkit. They come back as `Record`s: what
was stored in them, without their code.
"""

import pickle
from pathlib import Path
from typing import Any

from irlvla.scenes.stored_arrays import Record, StoredArray, StoredBuffer, StoredDtype, StoredScalar, plain


class _Latin1:
    """What protocol 2 uses to spell bytes; other codecs (some of which decompress) are refused."""

    __slots__ = ()  # a pickle may set attributes of what it names: this has none, a function would keep them

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"codec {encoding!r} in a pickle of data")
        return text.encode("latin1")


_NUMPY = {
    "multiarray": {"_reconstruct": StoredArray, "scalar": StoredScalar()},
    "numeric": {"_frombuffer": StoredBuffer()},
}
NUPLAN_RECORDS = {
    "nuplan.planning.simulation.observation.observation_type": ("DetectionsTracks",),
    "nuplan.common.actor_state.tracked_objects": ("TrackedObjects",),
    "nuplan.common.actor_state.tracked_objects_types": ("TrackedObjectType",),
    "nuplan.common.actor_state.agent": ("Agent",),
    "nuplan.common.actor_state.static_object": ("StaticObject",),
    "nuplan.common.actor_state.scene_object": ("SceneObject", "SceneObjectMetadata"),
    "nuplan.common.actor_state.oriented_box": ("OrientedBox",),
    "nuplan.common.actor_state.state_representation": ("StateSE2", "StateVector2D", "Point2D", "TimePoint"),
    "nuplan.common.maps.maps_datatypes": ("TrafficLightStatuses", "TrafficLightStatusData", "TrafficLightStatusType"),
}
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",  # an argument of what makes an array, never called
    ("numpy", "dtype"): StoredDtype,
    ("_codecs", "encode"): _Latin1(),
    **{(module, name): Record for module, names in NUPLAN_RECORDS.items() for name in names},
    **{
        (module, container.__name__): container
        for module in ("builtins", "__builtin__")  # the second up to protocol 2
        for container in (set, frozenset, bytes, bytearray)
    },
    ("collections", "OrderedDict"): dict,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, functions in _NUMPY.items()
        for name, function in functions.items()
    },
}


# What the bytes of a damaged pickle can make the unpickler and NumPy raise.
DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError,
    RecursionError, NotImplementedError, SystemError,
)  # fmt: skip


class RefusedPickle(pickle.UnpicklingError):
    """A pickle that names something other than plain data."""


class DataUnpickler(pickle.Unpickler):
    """Unpickler of plain containers and NumPy values."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise RefusedPickle(
                f"refused pickle: it names {module}.{name}, which is not plain data; nothing of it was run. "
                "If you trust the file, write it again with NumPy arrays and plain containers only"
            )
        return ALLOWED[module, name]


def load_data_pickle(path: str | Path) -> Any:
    """Contents of a pickle file of plain containers, NumPy values and `Record`s.

    Raises ValueError naming the file, and the refused name where there is one; FileNotFoundError if it is absent.
    """
    with open(path, "rb") as file:
        try:
            return plain(DataUnpickler(file).load())
        except RefusedPickle as error:
            raise ValueError(f"{path}: {error}") from error
        except DAMAGE as error:
            raise ValueError(
                f"{path}: damaged or truncated pickle ({type(error).__name__}: {error}); copy or download it again"
            ) from error
