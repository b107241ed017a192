"""Pickles from other people, read without running their code.

NAVSIM logs are pickles of lists, dicts, strings, numbers and NumPy arrays. A pickle may name any function to be
called while it loads, so every name outside the short list below is refused. NumPy 1 and NumPy 2 wrote different
module names for the same functions; both are known.

Second-stage scenes of the real navhard data also hold objects of the nuPlan devkit. They come back as `Record`s: what
was stored in them, without their code.
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
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    **{(module, name): Record for module, names in NUPLAN_RECORDS.items() for name in names},
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
    """Contents of a pickle file of plain containers, NumPy values and `Record`s.

    Raises ValueError naming the file, and the refused name where there is one; FileNotFoundError if it is absent.
    """
    with open(path, "rb") as file:
        try:
            return DataUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: refused or damaged pickle: {error}") from error
