"""Faceted models of road users and street furniture for the painter in `cameras.py`.

A model is a few dozen flat faces in a unit box: x in [-0.5, 0.5] along the length, y in [-0.5, 0.5] across (left
positive), z in [0, 1] upwards. Scaling by length, width and height gives any object of that kind. Faces are listed in
painting order: a detail (window, lamp) comes after the face that it lies on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Every face has CORNERS corners, counter-clockwise seen from outside; quads repeat their last one.
CORNERS = 8

# `paint` and `accent` differ from object to object; the colours of the others, RGB, hold for all.
FIXED_COLOURS = {
    "glass": (38, 48, 60), "tyre": (22, 22, 24), "trim": (52, 54, 58), "rear_lamp": (120, 14, 16),
    "brake_lamp": (255, 40, 30), "head_lamp": (255, 246, 214), "plate": (226, 226, 216), "skin": (206, 158, 128),
    "orange": (242, 104, 22), "white": (240, 240, 236), "red": (206, 30, 34), "yellow": (248, 200, 24),
    "wood": (94, 70, 52), "leaves": (70, 112, 58), "leaves_light": (92, 138, 70), "signal_box": (24, 26, 28),
    "pole": (88, 92, 96), "signal_red": (255, 24, 20), "signal_green": (20, 255, 110), "signal_off": (58, 60, 60),
}  # fmt: skip
COLOURS = ("paint", "accent", *FIXED_COLOURS)
LUMINOUS = ("brake_lamp", "head_lamp", "signal_red", "signal_green")  # not shaded by the sun
PAINT, ACCENT = 0, 1


@dataclass(frozen=True)
class Model:
    """F faces of one kind of object."""

    corners: Array  # (F, CORNERS, 3)
    colours: NDArray[np.int64]  # (F,) index into COLOURS

    def __add__(self, other: "Model") -> "Model":
        return Model(
            np.concatenate([self.corners, other.corners]),
            np.concatenate([self.colours, other.colours]),
        )


def _model(faces: list, colours: list[str]) -> Model:
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
    return _model(faces, [colour] * 5)


def box(x: tuple, y: tuple, z: tuple, colour: str) -> Model:
    """Block with vertical sides, spanning the intervals x, y and z."""
    return frustum((*x, *y, z[0]), (*x, *y, z[1]), colour)


def details(block: Model, rows: list[tuple]) -> Model:
    """Quads on a block's faces: rows of (face, across, up, colour).

    `across` and `up` are intervals in shares of the face, from its first corner to its second and from bottom to top.
    """
    faces = []
    for face, (s0, s1), (t0, t1), _ in rows:
        a, b, c, d = block.corners[face, :4]
        point = lambda s, t: (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)  # noqa: E731, B023
        faces.append([point(s0, t0), point(s1, t0), point(s1, t1), point(s0, t1)])
    return _model(faces, [colour for *_, colour in rows])


def disc(center: tuple, radius: tuple, normal: str, colour: str) -> Model:
    """Octagon with half axes `radius` facing `normal`: one of +x, -x, +y, -y."""
    angle = np.arange(CORNERS) * 2 * np.pi / CORNERS + np.pi / CORNERS
    flat, up, zero = np.cos(angle) * radius[0], np.sin(angle) * radius[1], np.zeros(CORNERS)
    # The horizontal axis runs to the right of someone who looks at the face, so that corners go counter-clockwise.
    offsets = {"+x": (zero, flat, up), "-x": (zero, -flat, up), "+y": (-flat, zero, up), "-y": (flat, zero, up)}
    return _model([np.array(center) + np.stack(offsets[normal], axis=-1)], [colour])


def _wheels(xs: tuple, radius: tuple) -> Model:
    sides = ((1, "+y"), (-1, "-y"))
    parts = [disc((x, side * 0.501, radius[1]), radius, normal, "tyre") for x in xs for side, normal in sides]
    return sum(parts[1:], parts[0])


FRONT, REAR, LEFT, RIGHT = SIDES = range(4)  # faces of a block, in the order of `frustum`


def car(braking: bool) -> Model:
    """Saloon or estate car."""
    lamp = "brake_lamp" if braking else "rear_lamp"
    body = frustum((-0.5, 0.5, -0.5, 0.5, 0.16), (-0.49, 0.48, -0.48, 0.48, 0.60), "paint")
    on_body = [
        (REAR, (0.03, 0.23), (0.55, 0.88), lamp),
        (REAR, (0.77, 0.97), (0.55, 0.88), lamp),
        (REAR, (0.36, 0.64), (0.32, 0.56), "plate"),
        (REAR, (0, 1), (0, 0.18), "trim"),
        (FRONT, (0.04, 0.22), (0.50, 0.80), "head_lamp"),
        (FRONT, (0.78, 0.96), (0.50, 0.80), "head_lamp"),
        (FRONT, (0.28, 0.72), (0.30, 0.62), "trim"),
        (FRONT, (0, 1), (0, 0.18), "trim"),
    ]
    cabin = frustum((-0.44, 0.24, -0.46, 0.46, 0.60), (-0.34, 0.08, -0.37, 0.37, 1.0), "paint")
    on_cabin = [
        (FRONT, (0.05, 0.95), (0.06, 0.92), "glass"),
        (REAR, (0.08, 0.92), (0.14, 0.88), "glass"),
        (LEFT, (0.08, 0.48), (0.10, 0.84), "glass"),
        (LEFT, (0.54, 0.92), (0.10, 0.84), "glass"),
        (RIGHT, (0.08, 0.46), (0.10, 0.84), "glass"),
        (RIGHT, (0.52, 0.92), (0.10, 0.84), "glass"),
    ]
    wheels = _wheels((-0.30, 0.30), (0.072, 0.20))
    return body + details(body, on_body) + wheels + cabin + details(cabin, on_cabin)


def truck(braking: bool) -> Model:
    """Van, lorry or bus: a box with a window band."""
    lamp = "brake_lamp" if braking else "rear_lamp"
    body = frustum((-0.5, 0.5, -0.5, 0.5, 0.12), (-0.5, 0.49, -0.49, 0.49, 1.0), "paint")
    on_body = [
        (REAR, (0.03, 0.17), (0.10, 0.30), lamp),
        (REAR, (0.83, 0.97), (0.10, 0.30), lamp),
        (REAR, (0.12, 0.88), (0.52, 0.88), "glass"),
        (REAR, (0, 1), (0, 0.06), "trim"),
        (FRONT, (0.06, 0.94), (0.42, 0.88), "glass"),
        (FRONT, (0.04, 0.20), (0.10, 0.24), "head_lamp"),
        (FRONT, (0.80, 0.96), (0.10, 0.24), "head_lamp"),
        (LEFT, (0.03, 0.24), (0.50, 0.86), "glass"),
        (RIGHT, (0.76, 0.97), (0.50, 0.86), "glass"),
        (LEFT, (0.27, 0.97), (0.62, 0.86), "accent"),
        (RIGHT, (0.03, 0.73), (0.62, 0.86), "accent"),
    ]
    return body + details(body, on_body) + _wheels((-0.32, 0.34), (0.06, 0.17))


def pedestrian() -> Model:
    legs = box((-0.2, 0.2), (-0.26, 0.26), (0, 0.46), "accent")
    trunk = frustum((-0.25, 0.25, -0.34, 0.34, 0.44), (-0.22, 0.22, -0.40, 0.40, 0.83), "paint")
    head = box((-0.17, 0.17), (-0.17, 0.17), (0.85, 1.0), "skin")
    return legs + trunk + head


def bicycle() -> Model:
    """Bicycle with its rider."""
    rings = [("tyre", 0.02, 0.19), ("pole", 0.04, 0.15)]
    wheels = [
        disc((x, side * y, 0.19), (radius, radius), f"{'+' if side > 0 else '-'}y", colour)
        for colour, y, radius in rings
        for x in (-0.3, 0.3)
        for side in (1, -1)
    ]
    frame = box((-0.26, 0.26), (-0.05, 0.05), (0.22, 0.42), "accent")
    legs = box((-0.1, 0.1), (-0.3, 0.3), (0.25, 0.52), "trim")
    trunk = frustum((-0.14, 0.06, -0.34, 0.34, 0.50), (-0.04, 0.12, -0.42, 0.42, 0.86), "paint")
    head = box((0.0, 0.14), (-0.17, 0.17), (0.87, 1.0), "skin")
    return sum(wheels, frame) + legs + trunk + head


def traffic_cone() -> Model:
    def rectangle(z: float) -> tuple:
        half = 0.38 * (1 - z) + 0.06 * z
        return -half, half, -half, half, z

    foot = box((-0.5, 0.5), (-0.5, 0.5), (0, 0.06), "trim")
    bands = ((0.06, 0.38, "orange"), (0.38, 0.66, "white"), (0.66, 1.0, "orange"))
    return sum((frustum(rectangle(low), rectangle(high), colour) for low, high, colour in bands), foot)


def barrier() -> Model:
    """Board with red and white stripes on every side."""
    board = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "white")
    stripes = [(face, (s, s + 0.125), (0.1, 0.9), "red") for face in SIDES for s in (0.0, 0.25, 0.5, 0.75)]
    return board + details(board, stripes)


def construction_sign() -> Model:
    pole = box((-0.08, 0.08), (-0.06, 0.06), (0, 0.5), "pole")
    board = box((-0.1, 0.1), (-0.5, 0.5), (0.45, 1.0), "orange")
    return pole + board + details(board, [(face, (0.3, 0.7), (0.25, 0.75), "trim") for face in (FRONT, REAR)])


def crate() -> Model:
    body = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "paint")
    return body + details(body, [(face, (0.1, 0.9), (0.1, 0.9), "accent") for face in SIDES])


def building() -> Model:
    """Four floors; windows are bands cut by piers of the wall's colour."""
    wall = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "paint")
    bands = [(face, (0.05, 0.95), (z, z + 0.12), "accent") for face in SIDES for z in (0.08, 0.32, 0.56, 0.80)]
    piers = [(face, (s, s + 0.08), (0.06, 0.94), "paint") for face in SIDES for s in (0.16, 0.36, 0.56, 0.76)]
    return wall + details(wall, bands + piers)


def tree() -> Model:
    trunk = box((-0.06, 0.06), (-0.06, 0.06), (0, 0.4), "wood")
    crown = frustum((-0.30, 0.30, -0.30, 0.30, 0.30), (-0.5, 0.5, -0.5, 0.5, 0.55), "leaves")
    return trunk + crown + frustum((-0.5, 0.5, -0.5, 0.5, 0.55), (-0.22, 0.22, -0.22, 0.22, 1.0), "leaves_light")


def signal_head(lit: str) -> Model:
    """Two lamps, facing +x: red above green; `lit` is "red", "green" or, seen past its visors, "none"."""
    housing = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "signal_box")
    upper = disc((0.51, 0, 0.74), (0.42, 0.21), "+x", "signal_red" if lit == "red" else "signal_off")
    lower = disc((0.51, 0, 0.26), (0.42, 0.21), "+x", "signal_green" if lit == "green" else "signal_off")
    return housing + upper + lower


MODELS: dict[str, Model] = {
    "car": car(False), "car_braking": car(True), "truck": truck(False), "truck_braking": truck(True),
    "pedestrian": pedestrian(), "bicycle": bicycle(), "traffic_cone": traffic_cone(), "barrier": barrier(),
    "czone_sign": construction_sign(), "generic_object": crate(), "building": building(), "tree": tree(),
    **{f"signal_{lit}": signal_head(lit) for lit in ("red", "green", "none")},
    "pole": box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "pole"),
}  # fmt: skip
