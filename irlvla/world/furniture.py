"""Models of what stands: cones and barriers, signals and signs, street furniture, trees, buildings."""

from irlvla.world.shapes import (
    FRONT,
    LEFT,
    REAR,
    RIGHT,
    SIDES,
    TOP,
    Model,
    box,
    details,
    disc,
    frustum,
    joined,
    polygons,
)

POST = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "metal")


def traffic_cone() -> Model:
    def rectangle(z: float) -> tuple:
        half = 0.38 * (1 - z) + 0.06 * z
        return -half, half, -half, half, z

    foot = box((-0.5, 0.5), (-0.5, 0.5), (0, 0.06), "trim")
    bands = ((0.06, 0.38, "orange"), (0.38, 0.66, "white"), (0.66, 1.0, "orange"))
    return joined([foot, *(frustum(rectangle(low), rectangle(high), colour) for low, high, colour in bands)])


def barrier() -> Model:
    """Board with red and white stripes on every side."""
    board = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "white")
    stripes = [(face, (s, s + 0.125), (0.1, 0.9), "red") for face in SIDES for s in (0.0, 0.25, 0.5, 0.75)]
    return board + details(board, stripes)


def construction_sign() -> Model:
    pole = box((-0.08, 0.08), (-0.06, 0.06), (0, 0.5), "metal")
    board = box((-0.1, 0.1), (-0.5, 0.5), (0.45, 1.0), "orange")
    return pole + board + details(board, [(face, (0.3, 0.7), (0.25, 0.75), "trim") for face in (FRONT, REAR)])


def crate() -> Model:
    body = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "paint")
    return body + details(body, [(face, (0.1, 0.9), (0.1, 0.9), "accent") for face in SIDES])


def signal_head(lit: str, turn: str) -> Model:
    """Two lamps, facing +x: red above green; `lit` is "red", "green" or, seen past its visors, "none".

    The lamps are discs, or arrows where the head is for the `turn` "left" or "right" alone.
    """
    housing = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "signal_box")
    tip = {"left": -0.46, "right": 0.46}.get(turn)  # who looks at the head has its -y on the left
    parts = [housing]
    for z, name in ((0.74, "red"), (0.26, "green")):
        colour = f"signal_{name}" if lit == name else "signal_off"
        if tip is None:
            parts.append(disc((0.51, 0, z), (0.42, 0.21), "+x", colour))
        else:
            up = 0.22 if tip > 0 else -0.22
            arrow = [(0.51, tip, z), (0.51, -0.8 * tip, z + up), (0.51, -0.8 * tip, z - up)]
            parts.append(polygons([arrow], [colour]))
    return joined(parts)


def lamp_post() -> Model:
    """Post with an arm towards +y, the road."""
    mast = box((-0.06, 0.06), (-0.5, -0.42), (0, 1), "metal")
    arm = box((-0.05, 0.05), (-0.42, 0.5), (0.975, 1.0), "metal")
    lamp = box((-0.12, 0.12), (0.2, 0.5), (0.955, 0.98), "lamp_glass")
    return joined([mast, arm, lamp])


def litter_bin() -> Model:
    body = frustum((-0.42, 0.42, -0.42, 0.42, 0), (-0.5, 0.5, -0.5, 0.5, 0.82), "paint")
    lid = frustum((-0.5, 0.5, -0.5, 0.5, 0.82), (-0.4, 0.4, -0.4, 0.4, 1.0), "trim")
    return body + lid


def bench() -> Model:
    feet = [box((x - 0.03, x + 0.03), (-0.45, 0.45), (0, 0.5), "metal") for x in (-0.42, 0.42)]
    seat = box((-0.5, 0.5), (-0.5, 0.5), (0.44, 0.52), "wood")
    back = box((-0.5, 0.5), (-0.5, -0.4), (0.6, 1.0), "wood")
    return joined([*feet, back, seat])


def road_sign(colour: str) -> Model:
    """Round plate with a white or red middle, facing -x: those who drive along +x see it."""
    pole = box((-0.5, 0.5), (-0.08, 0.08), (0, 0.8), "metal")
    rear = disc((0.5, 0, 0.86), (0.5, 0.14), "+x", "metal")
    plate = disc((-0.52, 0, 0.86), (0.5, 0.14), "-x", colour)
    middle = disc((-0.56, 0, 0.86), (0.34, 0.095), "-x", "white")
    return joined([pole, rear, plate, middle])


def shelter() -> Model:
    """Bus shelter, open towards +y."""
    back = box((-0.5, 0.5), (-0.5, -0.45), (0, 0.9), "glass")
    panel = box((0.44, 0.5), (-0.45, 0.4), (0.05, 0.9), "accent")
    seat = box((-0.4, 0.3), (-0.42, -0.1), (0.14, 0.19), "wood")
    roof = box((-0.52, 0.52), (-0.5, 0.5), (0.92, 1.0), "metal")
    return joined([back, seat, panel, roof])


def bush() -> Model:
    lower = frustum((-0.38, 0.38, -0.38, 0.38, 0), (-0.5, 0.5, -0.5, 0.5, 0.5), "paint")
    return lower + frustum((-0.5, 0.5, -0.5, 0.5, 0.5), (-0.28, 0.28, -0.28, 0.28, 1.0), "accent")


def tree() -> Model:
    """Broad-leaved tree: the crown's lower half in the paint's, its upper half in the accent's colour."""
    trunk = box((-0.06, 0.06), (-0.06, 0.06), (0, 0.4), "wood")
    crown = frustum((-0.30, 0.30, -0.30, 0.30, 0.30), (-0.5, 0.5, -0.5, 0.5, 0.55), "paint")
    return joined([trunk, crown, frustum((-0.5, 0.5, -0.5, 0.5, 0.55), (-0.22, 0.22, -0.22, 0.22, 1.0), "accent")])


def conifer() -> Model:
    trunk = box((-0.07, 0.07), (-0.07, 0.07), (0, 0.2), "wood")
    tiers = [
        frustum((-w, w, -w, w, low), (-t, t, -t, t, high), colour)
        for w, t, low, high, colour in ((0.5, 0.18, 0.14, 0.55, "paint"), (0.36, 0.02, 0.48, 1.0, "accent"))
    ]
    return joined([trunk, *tiers])


def _windows(floors: int, columns: int, low: float = 0.0) -> list[tuple]:
    """Rows of windows from the share `low` of the wall upwards: bands, cut by piers of the wall's colour."""
    step, width = (1 - low) / floors, 0.9 / columns
    bands = [(face, (0.05, 0.95), (low + step * (k + 0.28), low + step * (k + 0.8)), "accent")
             for k in range(floors) for face in SIDES]  # fmt: skip
    piers = [(face, (0.05 + width * k - 0.22 * width, 0.05 + width * k + 0.22 * width), (low + 0.02, 0.98), "paint")
             for k in range(1, columns) for face in SIDES]  # fmt: skip
    return bands + piers


def _walls(rows: list[tuple]) -> Model:
    wall = box((-0.5, 0.5), (-0.5, 0.5), (0, 1), "paint")
    return wall + details(wall, rows)


def flats(floors: int, columns: int) -> Model:
    """Punched windows above a plinth, a door on the sides along the road."""
    plinth = [(face, (0, 1), (0, 0.05), "plinth") for face in SIDES]
    doors = [(face, (0.46, 0.54), (0, 0.75 / floors), "door") for face in (LEFT, RIGHT)]
    return _walls(_windows(floors, columns) + plinth + doors)


def shops(floors: int, columns: int) -> Model:
    """Shop windows below flats, under a band of the accent's colour."""
    low = 1 / (floors + 1)
    panes = [
        (face, (s, s + 0.27), (0.1 * low, 0.72 * low), "shop_window") for s in (0.05, 0.365, 0.68) for face in SIDES
    ]
    bands = [(face, (0.02, 0.98), (0.78 * low, 0.98 * low), "accent") for face in SIDES]
    return _walls(_windows(floors, columns, low) + panes + bands)


def office(floors: int) -> Model:
    """Ribbon windows."""
    return _walls([(face, (0, 1), ((k + 0.35) / floors, (k + 0.85) / floors), "accent")
                   for k in range(floors) for face in SIDES])  # fmt: skip


def tower() -> Model:
    """Glass front: uprights of the wall's colour on panes."""
    panes = [(face, (0.02, 0.98), (0.06, 0.97), "accent") for face in SIDES]
    piers = [(face, (s, s + 0.025), (0.06, 0.97), "paint") for s in (0.16, 0.32, 0.48, 0.64, 0.80) for face in SIDES]
    floors = [(face, (0.02, 0.98), (z, z + 0.012), "paint") for z in (0.2, 0.36, 0.52, 0.68, 0.84) for face in SIDES]
    return _walls(panes + piers + floors)


def house() -> Model:
    """Two floors below a saddle roof in the accent's colour."""
    wall = box((-0.5, 0.5), (-0.46, 0.46), (0, 0.62), "paint").without(TOP)
    rows = [(face, (s, s + 0.16), (z, z + 0.26), "glass")
            for s in (0.12, 0.42, 0.72) for z in (0.14, 0.60) for face in SIDES]  # fmt: skip
    rows += [(face, (0.42, 0.58), (0, 0.42), "door") for face in (LEFT, RIGHT)]
    eaves, ridge = 0.60, 1.0
    roof = polygons(
        [
            [(0.5, -0.46, 0.62), (0.5, 0.46, 0.62), (0.5, 0, ridge)],
            [(-0.5, 0.46, 0.62), (-0.5, -0.46, 0.62), (-0.5, 0, ridge)],
            [(0.52, 0.5, eaves), (-0.52, 0.5, eaves), (-0.52, 0, ridge), (0.52, 0, ridge)],
            [(-0.52, -0.5, eaves), (0.52, -0.5, eaves), (0.52, 0, ridge), (-0.52, 0, ridge)],
        ],
        ["paint", "paint", "accent", "accent"],
    )
    return joined([wall, details(wall, rows), roof])


BUILDINGS = {
    "house": house(), "flats_low": flats(3, 4), "flats": flats(4, 6), "shops_low": shops(2, 4), "shops": shops(4, 5),
    "office_low": office(3), "office": office(6), "tower": tower(),
}  # fmt: skip
TREES = {"tree": tree(), "conifer": conifer(), "bush": bush()}
FURNITURE = {
    "traffic_cone": traffic_cone(), "barrier": barrier(), "czone_sign": construction_sign(),
    "generic_object": crate(), "post": POST, "lamp_post": lamp_post(), "bin": litter_bin(), "bench": bench(),
    "sign_red": road_sign("red"), "sign_blue": road_sign("blue"), "shelter": shelter(),
    **{f"signal_{lit}_{turn}": signal_head(lit, turn)
       for lit in ("red", "green", "none") for turn in ("left", "straight", "right")},
}  # fmt: skip
