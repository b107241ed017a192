"""Single fields of NAVSIM frames, checked. Every function takes where the field is; its ValueError names that."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from irlvla.scenes.scene import CAMERAS, Array


def require(content: Any, keys: Iterable[str], where: str) -> None:
    """Raises ValueError naming `where` and the first key that is not in `content`."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a dict with {', '.join(keys) or 'keys'}, found a {type(content).__name__}")
    for key in keys:
        if key not in content:
            raise ValueError(f"{where}: key {key} is missing")


def array(values: Any, shape: tuple[int, ...], where: str, finite: Any = ...) -> Array:
    """`values` as numbers; `finite` selects those rows that must be."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: not an array of numbers of shape {shape}: {error}") from error
    if array.size == 0 and 0 in shape:
        return np.zeros(shape)  # no boxes: stored with one axis or two
    if array.shape != shape:
        raise ValueError(f"{where}: expected shape {shape}, found {array.shape}")
    if not np.isfinite(array[finite]).all():
        raise ValueError(f"{where}: not finite")
    return array


def text(value: Any, where: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: expected a text, found {value!r}")
    return str(value)


def texts(values: Any, where: str) -> tuple[str, ...]:
    """A list or array of ids or names; ids may be numbers."""
    if not isinstance(values, list | tuple | np.ndarray):
        raise ValueError(f"{where}: expected a list, found a {type(values).__name__}")
    for value in values:
        if not isinstance(value, str | int | np.integer):
            raise ValueError(f"{where}: expected texts or whole numbers, found {value!r}")
    return tuple(map(str, values))


def integer(value: Any, where: str) -> int:
    """A whole number of 64 bits; True and 1.0 are none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or abs(int(value)) >= 2**63:
        raise ValueError(f"{where}: expected a whole number, found {value!r}")
    return int(value)


def red_connectors(lights: Any, where: str) -> tuple[str, ...]:
    """Ids of the red ones of [(lane connector, is red)]."""
    try:
        pairs = [(connector, bool(is_red)) for connector, is_red in lights]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a list of (lane connector, is red): {error}") from error
    return texts([connector for connector, is_red in pairs if is_red], where)


def cameras_by_name(stored: Any, where: str) -> dict[str, dict[str, Any]]:
    """Recorded cameras by upper-case name; one that was not recorded is stored as an empty dict."""
    require(stored, (), where)
    cameras = {str(name).upper(): camera for name, camera in stored.items()}
    require(cameras, CAMERAS, where)
    for name, camera in cameras.items():
        require(camera, (), f"{where}: {name}")
    return {name: camera for name, camera in cameras.items() if camera}


def yaw(quaternion: Array, where: str) -> float:
    """Yaw of w x y z, of the intrinsic z-y'-x'' angles as the official reader takes them."""
    length = np.linalg.norm(quaternion)
    if length == 0:
        raise ValueError(f"{where}: {quaternion} is no rotation")
    w, x, y, z = quaternion / length
    return float(np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z)))
