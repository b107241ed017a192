"""Faceted models of what the cameras show: their building blocks. `vehicles.py` and `furniture.py` put them together.

A model is a few dozen flat faces in a unit box: x in [-0.5, 0.5] along the length, y in [-0.5, 0.5] across (left
positive), z in [0, 1] upwards. Scaling by length, width and height gives any object of that kind. Faces are convex and
listed in painting order: a detail (window, lamp) comes after the face that it lies on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Every face has CORNERS corners, counter-clockwise seen from outside; smaller ones repeat their last one.
CORNERS = 8

# `paint` and `accent` differ from object to object; the colours of the others, RGB, hold for all.
FIXED_COLOURS = {
    "glass": (38, 48, 60), "tyre": (22, 22, 24), "rim": (128, 132, 136), "trim": (52, 54, 58),
    "rear_lamp": (112, 14, 16), "left_indicator": (120, 66, 24),
    "right_indicator": (120, 66, 24), "head_lamp": (250, 244, 222), "plate": (226, 226, 216),
    "brake": (255, 36, 26), "indicator": (255, 176, 0),
    "skin": (206, 158, 128), "hair": (64, 46, 36), "shoe": (34, 32, 34), "helmet": (236, 232, 60),
    "orange": (242, 104, 22), "white": (240, 240, 236), "red": (206, 30, 34), "yellow": (248, 200, 24),
    "blue": (24, 78, 168), "wood": (94, 70, 52), "plinth": (104, 102, 100), "door": (70, 52, 44),
    "shop_window": (92, 112, 122), "concrete": (150, 148, 144), "metal": (88, 92, 96), "lamp_glass": (236, 232, 214),
    "signal_box": (24, 26, 28), "signal_red": (255, 24, 20), "signal_green": (20, 255, 110),
    "signal_off": (58, 60, 60),
}  # fmt: skip
COLOURS = ("paint", "accent", *FIXED_COLOURS)
LUMINOUS = ("brake", "indicator", "signal_red", "signal_green")  # not shaded by the sun
PAINT, ACCENT = 0, 1

FRONT, REAR, LEFT, RIGHT, TOP = range(5)  # faces of a block
SIDES = (FRONT, REAR, LEFT, RIGHT)


@dataclass(frozen=True)
class Model:
    """F faces of one kind of object."""

    corners: Array  # (F, CORNERS, 3)
    colours: NDArray[np.int64]  # (F,) index into COLOURS

    def __add__(self, other: "Model") -> "Model":
        return joined([self, other])

    def without(self, *faces: int) -> "Model":
        """The model less the faces that nobody can see."""
        kept = np.setdiff1d(np.arange(len(self.colours)), faces)
        return Model(self.corners[kept], self.colours[kept])

    def recoloured(self, change: dict[str, str]) -> "Model":
        """The model with some colours changed, by name."""
        colours = self.colours.copy()
        for old, new in change.items():
            colours[self.colours == COLOURS.index(old)] = COLOURS.index(new)
        return Model(self.corners, colours)


def joined(parts: Sequence[Model]) -> Model:
    """One model of several, painted in the order given."""
    return Model(np.concatenate([part.corners for part in parts]), np.concatenate([part.colours for part in parts]))


def polygons(faces: Sequence, colours: Sequence[str]) -> Model:
    """Faces of up to CORNERS corners each, and their colours."""
    padded = [
        np.concatenate([face, np.repeat(face[-1:], CORNERS - len(face), axis=0)]) for face in map(np.array, faces)
    ]
    return Model(np.array(padded, dtype=float), np.array([COLOURS.index(name) for name in colours]))


def frustum(bottom: tuple, top: tuple, colour: str) -> Model:
    """Block between the rectangles `bottom` and `top`, each (x0, x1, y0, y1, z): front, rear, left, right and top."""
    x0, x1, y0, y1, z0 = bottom
    u0, u1, v0, v1, z1 = top
    faces = [
        [(x1, y0, z0), (x1, y1, z0), (u1, v1, z1), (u1, v0, z1)],
        [(x0, y1, z0), (x0, y0, z0), (u0, v0, z1), (u0, v1, z1)],
        [(x1, y1, z0), (x0, y1, z0), (u0, v1, z1), (u1, v1, z1)],
        [(x0, y0, z0), (x1, y0, z0), (u1, v0, z1), (u0, v0, z1)],
        [(u0, v0, z1), (u1, v0, z1), (u1, v1, z1), (u0, v1, z1)],
    ]
    return polygons(faces, [colour] * 5)


def box(x: tuple, y: tuple, z: tuple, colour: str) -> Model:
    """Block with vertical sides, spanning the intervals x, y and z."""
    return frustum((*x, *y, z[0]), (*x, *y, z[1]), colour)


def extruded(profile: Sequence[tuple], half_width: float, colour: str) -> Model:
    """Block with a convex outline (x, z) as its left and right side, counter-clockwise as the right side shows it.

    Faces: left, right, then one for every edge of the outline.
    """
    left = [(x, half_width, z) for x, z in reversed(profile)]
    right = [(x, -half_width, z) for x, z in profile]
    rims = [
        [(x0, -half_width, z0), (x0, half_width, z0), (x1, half_width, z1), (x1, -half_width, z1)]
        for (x0, z0), (x1, z1) in zip(profile, [*profile[1:], profile[0]], strict=True)
    ]
    return polygons([left, right, *rims], [colour] * (len(rims) + 2))


def details(block: Model, rows: Sequence[tuple]) -> Model:
    """Quads on a block's faces: rows of (face, across, up, colour).

    `across` and `up` are intervals in shares of the face, from its first corner to its second and from bottom to top.
    """
    face, across, up, colours = zip(*rows, strict=True)
    (s0, s1), (t0, t1) = np.array(across, dtype=float).T, np.array(up, dtype=float).T
    a, b, c, d = block.corners[list(face), :4].transpose(1, 0, 2)

    def point(s: Array, t: Array) -> Array:
        s, t = s[:, None], t[:, None]
        return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)

    corners = [point(s0, t0), point(s1, t0), point(s1, t1), point(s0, t1)]
    return polygons(np.stack(corners, axis=1), colours)


def disc(center: tuple, radius: tuple, normal: str, colour: str, corners: int = CORNERS, turn_rad: float = 0) -> Model:
    """Regular polygon with half axes `radius` facing `normal`: one of +x, -x, +y, -y."""
    angle = (np.arange(corners) + 0.5) * 2 * np.pi / corners + turn_rad
    flat, up, zero = np.cos(angle) * radius[0], np.sin(angle) * radius[1], np.zeros(corners)
    # The horizontal axis runs to the right of someone who looks at the face, so that corners go counter-clockwise.
    offsets = {"+x": (zero, flat, up), "-x": (zero, -flat, up), "+y": (-flat, zero, up), "-y": (flat, zero, up)}
    return polygons([np.array(center) + np.stack(offsets[normal], axis=-1)], [colour])
