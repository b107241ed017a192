"""`Things`: objects made of faceted models, placed in the global frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # hashed by identity: the camera caches the faces of scenery
class Things:
    """n objects made of models, by name."""

    models: tuple[str, ...]
    poses: Array  # (n, 3) x, y of the middle, heading
    bottom_m: Array  # (n,) height of the lower side above the road
    size_m: Array  # (n, 3) length, width, height
    paint: Array  # (n, 3) RGB
    accent: Array  # (n, 3) RGB


NOTHING = Things((), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))


def select(things: Things, mask: NDArray[np.bool_]) -> Things:
    """Those of the things where `mask` (n,) holds."""
    models = tuple(name for name, keep in zip(things.models, mask, strict=True) if keep)
    columns = (things.poses, things.bottom_m, things.size_m, things.paint, things.accent)
    return Things(models, *(column[mask] for column in columns))


def join(*parts: Things) -> Things:
    """All things of the parts, in order."""
    columns = ("poses", "bottom_m", "size_m", "paint", "accent")
    models = sum((part.models for part in parts), ())
    return Things(models, *(np.concatenate([getattr(part, column) for part in parts]) for column in columns))
