"""What is beside the road: buildings and trees on a grid of plots, lamp posts, signs and bins along the kerb.

The map knows none of it. What stands at a place depends on the place alone, so that every drive through a town finds
the same town; its colours are changed from log to log by `looks.py`.
"""

import zlib
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.geometry import box_corners, rotate
from irlvla.scenes.town_map import Lane, TownMap
from irlvla.world.things import NOTHING, Things, join, select

Array = NDArray[np.float64]

CELL_M = 20.0  # of the grid on which buildings and trees are tried
DISTRICT_CELLS = 9  # cells of a district's side: its buildings are of a kind
SPACING_M = 13.0  # between the places along a lane where something may stand
REACH_M = 45.0  # how far from a road buildings stand
PAVED = ("ROADBLOCK", "INTERSECTION", "GENERIC_DRIVABLE", "CARPARK_AREA", "CROSSWALK")

# Kinds of buildings of a district, and by kind the smallest size and how much larger it gets: length, width, height.
DISTRICTS = (
    ("house", "house", "flats_low", "house"), ("flats", "flats_low", "shops_low", "house"),
    ("shops", "flats", "shops", "office_low"), ("office", "tower", "shops", "office_low"),
)  # fmt: skip
PLOTS = {
    "house": ((9, 8, 6), (4, 3, 2)), "flats_low": ((10, 9, 8), (5, 4, 3)), "flats": ((10, 9, 12), (5, 5, 6)),
    "shops_low": ((10, 9, 8), (5, 4, 3)), "shops": ((11, 9, 15), (4, 4, 5)), "office_low": ((11, 10, 10), (4, 4, 4)),
    "office": ((11, 11, 18), (4, 4, 8)), "tower": ((11, 11, 20), (4, 4, 16)),
    "tree": ((3.5, 3.5, 4.5), (2, 2, 3)), "conifer": ((2.8, 2.8, 5), (1.4, 1.4, 4)),
    "bush": ((1.4, 1.4, 1), (1, 1, 0.6)),
}  # fmt: skip
WALLS = ((176, 148, 122), (150, 108, 90), (196, 190, 178), (128, 132, 140), (206, 188, 150), (122, 92, 84),
         (172, 172, 160), (186, 128, 104), (158, 166, 170))  # fmt: skip
ROOFS = ((150, 74, 54), (92, 84, 84), (118, 66, 50), (74, 78, 88))
LEAVES, BRIGHT_LEAVES = (74, 114, 60), (95, 146, 77)  # of a crown's lower and upper half
PLANTS = ("tree", "conifer", "bush")

# Along the kerb: model, share of the places, size, how far from the road's edge its middle is [m], paint and accent.
KERB = (
    ("lamp_post", 0.40, (1.0, 1.8, 7.5), 0.5, (0, 0, 0), (0, 0, 0)),
    ("sign_red", 0.06, (0.09, 0.7, 2.6), 0.7, (0, 0, 0), (0, 0, 0)),
    ("sign_blue", 0.06, (0.09, 0.7, 2.6), 0.7, (0, 0, 0), (0, 0, 0)),
    ("bin", 0.08, (0.6, 0.6, 1.0), 0.8, (60, 82, 70), (0, 0, 0)),
    ("bench", 0.05, (1.8, 0.6, 0.9), 3.4, (0, 0, 0), (0, 0, 0)),
    ("shelter", 0.03, (4.0, 1.5, 2.5), 3.6, (0, 0, 0), (196, 150, 60)),
    ("bush", 0.10, (1.8, 1.3, 1.1), 4.4, LEAVES, BRIGHT_LEAVES),
    ("tree", 0.10, (3.4, 3.4, 5.2), 4.8, LEAVES, BRIGHT_LEAVES),
)


def half_width_m(lane: Lane) -> float:
    """Of a lane, at its middle."""
    points = shapely.points(lane.centerline[:, :2])
    return float(np.median(shapely.distance(points, shapely.boundary(lane.polygon))))


def surroundings(town_map: TownMap, middle: Array, radius_m: float) -> Things:
    """Everything beside the roads within about `radius_m` of `middle` (2,)."""
    plots, kerbside = _plots(town_map, middle, radius_m), _kerbside(town_map, middle, radius_m)
    blocked = shapely.STRtree(_footprints(plots)).query(_footprints(kerbside), predicate="intersects")[0]
    return join(plots, select(kerbside, ~np.isin(np.arange(len(kerbside.models)), blocked)))


def _footprints(things: Things) -> NDArray[np.object_]:
    return shapely.polygons(box_corners(things.poses, things.size_m[:, 0], things.size_m[:, 1]))


def shade_of(things: Things) -> NDArray[np.object_]:
    """Dark patches of ground below the things, polygons: without them things seem to float."""
    corners = box_corners(things.poses, things.size_m[:, 0] + 0.3, things.size_m[:, 1] + 0.3)
    is_round = np.array([name in PLANTS for name in things.models], dtype=bool)
    angle = np.arange(8) * np.pi / 4
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * 0.36 * things.size_m[is_round, :1, None]
    return np.concatenate(
        [shapely.polygons(corners[~is_round]), shapely.polygons(things.poses[is_round, None, :2] + ring)]
    )


def _plots(town_map: TownMap, middle: Array, radius_m: float) -> Things:
    """A building, a tree or nothing in each cell of the grid."""
    first, last = np.floor((middle - radius_m) / CELL_M).astype(int), np.floor((middle + radius_m) / CELL_M).astype(int)
    cells = [(i, j) for i in range(first[0], last[0] + 1) for j in range(first[1], last[1] + 1)]
    draws = np.array([_draws(cell, 10) for cell in cells])
    districts = {
        cell: _draws(cell, 2, salt=1) for cell in {(i // DISTRICT_CELLS, j // DISTRICT_CELLS) for i, j in cells}
    }
    models, sizes = [], []
    for (i, j), draw in zip(cells, draws, strict=True):
        district = districts[i // DISTRICT_CELLS, j // DISTRICT_CELLS]
        kinds, built = DISTRICTS[int(district[0] * len(DISTRICTS))], 0.35 + 0.35 * district[1]
        built_up = draw[2] < built
        kind = kinds[int(draw[3] * len(kinds))] if built_up else PLANTS[int(draw[3] * 2.3)]
        smallest, spread = np.array(PLOTS[kind], dtype=float)
        models.append(kind)
        sizes.append(smallest + spread * (draw[4:7] if built_up else draw[4]))
    size = np.array(sizes)
    xy = (np.array(cells) + 0.5 + 0.2 * (draws[:, :2] - 0.5)) * CELL_M
    poses = np.concatenate([xy, _road_heading(town_map, xy)[:, None]], axis=1)
    paint, accent = _colours(models, draws[:, 7:10])
    things = Things(tuple(models), poses, np.zeros(len(cells)), size, paint, accent)
    footprints = _footprints(things)
    free = _free(town_map, footprints, 1.5, (*PAVED, "WALKWAY"))
    beside = town_map.layers["ROADBLOCK"].tree.query(footprints, predicate="dwithin", distance=REACH_M)[0]
    return select(things, free & np.isin(np.arange(len(cells)), beside))


def _draws(cell: tuple[int, int], count: int, salt: int = 0) -> Array:
    """`count` numbers in [0, 1) that belong to a cell of the grid."""
    return np.random.default_rng((cell[0] & 0xFFFFFFFF, cell[1] & 0xFFFFFFFF, *(() if salt == 0 else (salt,)))).random(
        count
    )


def _colours(models: list[str], draws: Array) -> tuple[Array, Array]:
    """Paint and accent (n, 3): walls and windows or roofs of buildings, lower and upper leaves of plants."""
    paint, accent = np.zeros((2, len(models), 3))
    for k, (model, draw) in enumerate(zip(models, draws, strict=True)):
        if model in PLANTS:
            paint[k] = np.array(LEAVES) + 30 * (draw - 0.5)
            accent[k] = np.array(BRIGHT_LEAVES) + 34 * (draw - 0.5)
        else:
            paint[k] = np.array(WALLS[int(draw[0] * len(WALLS))]) + 30 * (draw[1] - 0.5)
            accent[k] = ROOFS[int(draw[2] * len(ROOFS))] if model == "house" else np.array([58, 70, 88]) + 34 * draw[2]
    return paint, accent


def _free(town_map: TownMap, areas: NDArray, distance_m: float, layers: tuple[str, ...]) -> NDArray[np.bool_]:
    """(n,) whether an area keeps `distance_m` from the map's."""
    free = np.ones(len(areas), dtype=bool)
    for layer in layers:
        free[town_map.layers[layer].tree.query(areas, predicate="dwithin", distance=distance_m)[0]] = False
    return free


def _kerbside(town_map: TownMap, middle: Array, radius_m: float) -> Things:
    """Street furniture on the right of the roads."""
    layer = town_map.layers["LANE"]
    things = join(NOTHING, *(_along_lane(town_map, layer.ids[index]) for index in layer.near(middle, radius_m)))
    near = np.linalg.norm(things.poses[:, :2] - middle, axis=1) < radius_m
    return _clear_of_roads(town_map, select(things, near))


@lru_cache(maxsize=1024)  # a lane is near several tiles
def _along_lane(town_map: TownMap, lane_id: str) -> Things:
    """What stands on the right of the rightmost lane of a road, in draws that belong to the lane."""
    lane = town_map.lanes[lane_id]
    if lane_id != town_map.roadblock_lanes[lane.roadblock_id][-1]:
        return NOTHING
    line = lane.centerline
    distance = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    stations = np.arange(8.0, distance[-1] - 8.0, SPACING_M)
    rng = np.random.default_rng(zlib.crc32(f"{town_map.name}/{lane_id}".encode()))
    chosen = np.searchsorted(np.cumsum([share for _, share, *_ in KERB]), rng.random(len(stations)))
    stations, chosen = stations[chosen < len(KERB)], chosen[chosen < len(KERB)]
    if not len(chosen):
        return NOTHING
    models, _, sizes, beside_m, paint, accent = zip(*(KERB[kind] for kind in chosen), strict=True)
    x, y, heading = (np.interp(stations, distance, column) for column in (*line[:, :2].T, np.unwrap(line[:, 2])))
    to_side = np.column_stack([np.zeros(len(chosen)), -half_width_m(lane) - np.array(beside_m)])
    xy = rotate(to_side, heading) + np.column_stack([x, y])
    poses, size = np.column_stack([xy, heading]), np.array(sizes, dtype=float)
    return Things(models, poses, np.zeros(len(chosen)), size, np.array(paint, float), np.array(accent, float))


def _clear_of_roads(town_map: TownMap, things: Things) -> Things:
    """Less what would stand on a road, or, if it is broad, on a pavement."""
    # An arm may reach over the road: what counts is the mast.
    feet = np.minimum(things.size_m[:, :2], 1.2 * (things.size_m[:, 2:] < 7) + 0.2)
    mast = np.where([name == "lamp_post" for name in things.models], -0.44 * things.size_m[:, 1], 0.0)
    offset = rotate(np.column_stack([np.zeros(len(mast)), mast]), things.poses[:, 2])
    poses = things.poses + np.column_stack([offset, np.zeros(len(mast))])
    areas = shapely.polygons(box_corners(poses, feet[:, 0], feet[:, 1]))
    free = _free(town_map, areas, 0.25, PAVED)
    broad = np.array([name in ("bush", "tree", "bench", "shelter") for name in things.models], dtype=bool)
    return select(things, free & (~broad | _free(town_map, areas, 0.1, ("WALKWAY",))))


def _road_heading(town_map: TownMap, xy: Array) -> Array:
    """Heading (n,) of the lane nearest to each point, for buildings to face the road."""
    layer = town_map.layers["LANE"]
    points, lanes = layer.tree.query_nearest(shapely.points(xy), all_matches=False)
    heading = np.zeros(len(xy))
    for point, index in zip(points, lanes, strict=True):
        line = town_map.lanes[layer.ids[index]].centerline
        heading[point] = line[np.argmin(np.linalg.norm(line[:, :2] - xy[point], axis=1)), 2]
    return heading
