"""Models of those who move: cars, vans, lorries, buses, cyclists and pedestrians. Lengths in shares of their box.

Lamps are larger than life, to be legible in images a hundred pixels high.
"""

import numpy as np

from irlvla.world.shapes import FRONT, LEFT, REAR, RIGHT, TOP, Model, box, details, disc, extruded, frustum, joined

BUS_LENGTH_M, LORRY_HEIGHT_M, VAN_HEIGHT_M, SALOON_LENGTH_M = 9.5, 2.6, 1.9, 4.3


def body_style(size_m: np.ndarray, draw: int) -> str:
    """Name of the vehicle model that suits a box (3,); `draw` chooses among those that do."""
    length, _, height = size_m
    if length > BUS_LENGTH_M:
        return "bus"
    if height > LORRY_HEIGHT_M:
        return ("lorry", "bus")[draw % 4 == 0]
    if height > VAN_HEIGHT_M:
        return "van"
    return "hatchback" if length < SALOON_LENGTH_M else ("saloon", "estate")[draw % 2]


def _wheels(xs: tuple, radius: tuple, half_width: float = 0.5) -> Model:
    """Tyres and, on them, rims: octagons just outside the body's sides."""
    layers = (("tyre", 1.0, 0.001), ("rim", 0.55, 0.002))
    return joined([
        disc((x, sign * (half_width + lift), radius[1]), (share * radius[0], share * radius[1]), normal, colour)
        for colour, share, lift in layers for x in xs for sign, normal in ((1, "+y"), (-1, "-y"))
    ])  # fmt: skip


def _lamps(half_width: float, x: tuple[float, float], z: tuple[float, float], inner: float = 0.26) -> Model:
    """Rear lamps, head lamps and, outside them, indicators, on the upright ends `x` = (rear, front) of a vehicle."""
    parts = []
    for sign, side in ((1, "left"), (-1, "right")):
        edges = [sign * half_width * (1 - share) for share in (0.02, 0.24, 2 * inner)]
        for front in (False, True):
            names = (f"{side}_indicator", "head_lamp" if front else "rear_lamp")
            for (y0, y1), name in zip(zip(edges, edges[1:], strict=False), names, strict=True):
                parts.append(_upright(x[front], (y0, y1), z, front, name))
    return joined(parts)


def _upright(x: float, y: tuple, z: tuple, front: bool, name: str) -> Model:
    """Rectangle across the vehicle, facing forwards or backwards."""
    low, high = min(y), max(y)
    x += 0.002 if front else -0.002
    rectangle = box((x - 0.001, x + 0.001), (low, high), z, name)
    return rectangle.without(*({FRONT, REAR, LEFT, RIGHT, TOP} - {FRONT if front else REAR}))


def _car(cabin: Model) -> Model:
    """A car: lower body with bonnet and lamps, and the cabin that is put on it."""
    outline = [(-0.5, 0.20), (-0.47, 0.13), (0.46, 0.13), (0.5, 0.20), (0.5, 0.44), (0.47, 0.53), (0.22, 0.64),
               (-0.5, 0.64)]  # fmt: skip
    body = extruded(outline, 0.5, "paint")
    ends = [
        _upright(-0.5, (-0.5, 0.5), (0.20, 0.27), False, "trim"),
        _upright(-0.5, (-0.15, 0.15), (0.30, 0.39), False, "plate"),
        _upright(0.5, (-0.5, 0.5), (0.20, 0.27), True, "trim"),
        _upright(0.5, (-0.22, 0.22), (0.30, 0.42), True, "trim"),
    ]
    on_cabin = [
        (FRONT, (0.06, 0.94), (0.05, 0.92), "glass"), (REAR, (0.08, 0.92), (0.14, 0.88), "glass"),
        (REAR, (0.38, 0.62), (0.90, 0.99), "rear_lamp"),
        (LEFT, (0.10, 0.48), (0.10, 0.86), "glass"), (LEFT, (0.54, 0.93), (0.10, 0.86), "glass"),
        (RIGHT, (0.07, 0.46), (0.10, 0.86), "glass"), (RIGHT, (0.52, 0.90), (0.10, 0.86), "glass"),
    ]  # fmt: skip
    lamps = _lamps(0.5, (-0.5, 0.5), (0.40, 0.56))
    return joined([body, *ends, lamps, _repeaters(0.36, 0.46), _wheels((-0.31, 0.31), (0.072, 0.21)), cabin,
                   details(cabin, on_cabin)])  # fmt: skip


def _repeaters(x: float, z: float, half_width: float = 0.5) -> Model:
    """Indicators on the sides."""
    return joined([
        disc((x, sign * (half_width + 0.003), z), (0.028, 0.05), normal, f"{side}_indicator", corners=4)
        for sign, side, normal in ((1, "left", "+y"), (-1, "right", "-y"))
    ])  # fmt: skip


def saloon() -> Model:
    cabin = frustum((-0.36, 0.24, -0.46, 0.46, 0.62), (-0.22, 0.06, -0.37, 0.37, 1.0), "paint")
    return _car(cabin)


def estate() -> Model:
    cabin = frustum((-0.49, 0.24, -0.46, 0.46, 0.62), (-0.43, 0.08, -0.38, 0.38, 1.0), "paint")
    return _car(cabin)


def hatchback() -> Model:
    cabin = frustum((-0.49, 0.28, -0.46, 0.46, 0.60), (-0.37, 0.08, -0.38, 0.38, 1.0), "paint")
    return _car(cabin)


def van() -> Model:
    """Delivery van or minibus with a short bonnet."""
    nose = extruded([(0.30, 0.10), (0.5, 0.10), (0.5, 0.42), (0.46, 0.50), (0.30, 0.62)], 0.5, "paint")
    body = frustum((-0.5, 0.38, -0.5, 0.5, 0.10), (-0.5, 0.26, -0.46, 0.46, 1.0), "paint")
    on_body = [
        (FRONT, (0.07, 0.93), (0.52, 0.92), "glass"), (REAR, (0.10, 0.47), (0.55, 0.88), "glass"),
        (REAR, (0.53, 0.90), (0.55, 0.88), "glass"), (REAR, (0, 1), (0, 0.07), "trim"),
        (REAR, (0.36, 0.64), (0.14, 0.22), "plate"), (REAR, (0.38, 0.62), (0.93, 0.98), "rear_lamp"),
        (LEFT, (0.10, 0.30), (0.50, 0.86), "glass"), (RIGHT, (0.70, 0.90), (0.50, 0.86), "glass"),
        (LEFT, (0.36, 0.97), (0.56, 0.86), "accent"), (RIGHT, (0.03, 0.64), (0.56, 0.86), "accent"),
    ]  # fmt: skip
    lamps = _lamps(0.5, (-0.5, 0.5), (0.28, 0.44))
    return joined(
        [body, details(body, on_body), nose, lamps, _repeaters(0.40, 0.34), _wheels((-0.30, 0.34), (0.065, 0.16))]
    )


def lorry() -> Model:
    """Cab and, higher, a load in the accent colour."""
    load = box((-0.5, 0.24), (-0.5, 0.5), (0.24, 1.0), "accent")
    frame = box((-0.49, 0.3), (-0.42, 0.42), (0.10, 0.24), "trim")
    cab = frustum((0.26, 0.5, -0.48, 0.48, 0.09), (0.26, 0.48, -0.46, 0.46, 0.84), "paint")
    on_load = [
        (REAR, (0.04, 0.49), (0.05, 0.95), "concrete"), (REAR, (0.51, 0.96), (0.05, 0.95), "concrete"),
        (LEFT, (0.04, 0.96), (0.40, 0.60), "paint"), (RIGHT, (0.04, 0.96), (0.40, 0.60), "paint"),
    ]  # fmt: skip
    on_cab = [
        (FRONT, (0.08, 0.92), (0.50, 0.88), "glass"), (FRONT, (0.25, 0.75), (0.22, 0.40), "trim"),
        (LEFT, (0.12, 0.66), (0.50, 0.86), "glass"), (RIGHT, (0.34, 0.88), (0.50, 0.86), "glass"),
    ]  # fmt: skip
    wheels = _wheels((-0.36, -0.22, 0.36), (0.062, 0.16), 0.49)
    tail = _upright(-0.5, (-0.12, 0.12), (0.14, 0.20), False, "plate")
    cab = cab.without(REAR) + details(cab, on_cab)
    lamps = _lamps(0.5, (-0.5, 0.5), (0.13, 0.24))
    return joined([frame, load, details(load, on_load), cab, tail, lamps, _repeaters(0.34, 0.3, 0.48), wheels])


def bus() -> Model:
    body = frustum((-0.5, 0.5, -0.5, 0.5, 0.10), (-0.5, 0.49, -0.48, 0.48, 1.0), "paint")
    panes = [(0.03 + 0.16 * k, 0.17 + 0.16 * k) for k in range(6)]
    on_body = [
        (FRONT, (0.05, 0.95), (0.30, 0.84), "glass"), (FRONT, (0.2, 0.8), (0.87, 0.96), "trim"),
        (REAR, (0.12, 0.88), (0.55, 0.85), "glass"), (REAR, (0, 1), (0, 0.06), "trim"),
        (REAR, (0.38, 0.62), (0.12, 0.19), "plate"), (REAR, (0.38, 0.62), (0.90, 0.95), "rear_lamp"),
        *((side, (0, 1), (0.18, 0.32), "accent") for side in (LEFT, RIGHT)),
        *((side, pane, (0.42, 0.84), "glass") for side in (LEFT, RIGHT) for pane in panes),
        (RIGHT, (0.86, 0.97), (0.06, 0.84), "glass"), (RIGHT, (0.42, 0.53), (0.06, 0.84), "glass"),
    ]  # fmt: skip
    lamps = _lamps(0.5, (-0.5, 0.5), (0.20, 0.34))
    return joined([body, details(body, on_body), lamps, _repeaters(0.40, 0.26), _wheels((-0.28, 0.34), (0.055, 0.16))])


def pedestrian() -> Model:
    """Someone walking: one leg and the other arm ahead."""
    legs = [
        frustum((x - 0.13, x + 0.13, y - 0.12, y + 0.12, 0.0), (-0.11, 0.13, y - 0.14, y + 0.14, 0.48), "accent")
        for x, y in ((0.22, 0.17), (-0.24, -0.17))
    ]
    shoes = [
        box(
            (
                x - 0.13,
                x + 0.2,
            ),
            (y - 0.13, y + 0.13),
            (0, 0.05),
            "shoe",
        )
        for x, y in ((0.22, 0.17), (-0.24, -0.17))
    ]
    trunk = frustum((-0.18, 0.2, -0.32, 0.32, 0.45), (-0.2, 0.2, -0.38, 0.38, 0.83), "paint")
    arms = [
        frustum((x - 0.09, x + 0.09, y - 0.07, y + 0.07, 0.44), (-0.1, 0.1, y - 0.09, y + 0.09, 0.80), "paint")
        for x, y in ((-0.2, 0.44), (0.22, -0.44))
    ]
    head = box((-0.17, 0.17), (-0.16, 0.16), (0.85, 0.96), "skin")
    hair = frustum((-0.2, 0.1, -0.18, 0.18, 0.92), (-0.16, 0.12, -0.14, 0.14, 1.0), "hair")
    return joined([*legs, *shoes, arms[0], trunk, arms[1], head, hair])


def bicycle() -> Model:
    """Bicycle with its rider."""
    rings = [("tyre", 0.02, 0.2), ("concrete", 0.04, 0.15)]
    wheels = [
        disc((x, side * y, 0.2), (radius, radius), f"{'+' if side > 0 else '-'}y", colour)
        for colour, y, radius in rings
        for x in (-0.3, 0.3)
        for side in (1, -1)
    ]
    # Seen from ahead or behind, a wheel is an upright strip.
    wheels += [
        box((x - 0.18, x + 0.18), (-0.06, 0.06), (0.0, 0.4), "tyre").without(LEFT, RIGHT, TOP) for x in (-0.3, 0.3)
    ]
    frame = box((-0.24, 0.28), (-0.06, 0.06), (0.26, 0.40), "accent")
    legs = [box((-0.1, 0.06), (y - 0.1, y + 0.1), (z, 0.54), "trim") for y, z in ((0.2, 0.16), (-0.2, 0.26))]
    trunk = frustum((-0.20, 0.0, -0.3, 0.3, 0.50), (-0.04, 0.14, -0.42, 0.42, 0.84), "paint")
    arms = [frustum((0.22, 0.30, y - 0.08, y + 0.08, 0.50), (0.02, 0.12, y - 0.08, y + 0.08, 0.80), "paint")
            for y in (-0.4, 0.4)]  # fmt: skip
    bar = box((0.24, 0.30), (-0.5, 0.5), (0.49, 0.53), "trim")
    head = box((0.02, 0.14), (-0.17, 0.17), (0.84, 0.95), "skin")
    helmet = frustum((0.0, 0.16, -0.2, 0.2, 0.93), (0.03, 0.13, -0.12, 0.12, 1.0), "helmet")
    return joined([*wheels, frame, bar, *legs, arms[0], trunk, arms[1], head, helmet])


BODIES = {
    "saloon": saloon(),
    "estate": estate(),
    "hatchback": hatchback(),
    "van": van(),
    "lorry": lorry(),
    "bus": bus(),
}


def lit(body: Model, braking: bool, left: bool, right: bool) -> Model:
    """A vehicle with some of its lamps on."""
    lamps = {"rear_lamp": ("brake", braking), "left_indicator": ("indicator", left),
             "right_indicator": ("indicator", right)}  # fmt: skip
    return body.recoloured({name: colour for name, (colour, is_on) in lamps.items() if is_on})


def lit_name(body: str, braking: bool, side: int) -> str:
    """Name of a vehicle's model by body, brake lamps and indicator (`lamps.LEFT`, NONE or RIGHT)."""
    return f"{body}{' braking' * bool(braking)}{('', ' left', ' right')[side]}"


VEHICLES = {
    lit_name(name, braking, side): lit(body, braking, side == 1, side == -1)
    for name, body in BODIES.items()
    for braking in (False, True)
    for side in (1, 0, -1)
}
