"""What stands and lies still around a place: painted ground, signal heads, and what is beside the road.

The map gives lanes and areas; lane markings, zebra stripes, stop bars and the far-side signal heads are derived from
it here, all in the global frame. Results are cached by place, since consecutive frames of a log share them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.geometry import box_corners, rotate, wrap_angle
from irlvla.scenes.town_map import Lane, TownMap
from irlvla.world.painter import Rings
from irlvla.world.roadside import half_width_m, shade_of, surroundings
from irlvla.world.things import Things, join, select

Array = NDArray[np.float64]

TILE_M = 40.0  # places are cached by tile
RADIUS_M = 110.0  # of what is kept about a tile's middle; farther things are a few pixels high
MARKING_WIDTH_M = 0.15
DASH_M, DASH_PERIOD_M = 3.0, 7.5
STRIPE_M, STRIPE_PERIOD_M = 0.5, 1.1  # of zebra crossings
STOP_BAR_M = 0.5
TURN_RAD = np.deg2rad(35)  # a connector that bends more gets a signal head of its own
SIGNAL_HEIGHT_M = 3.6  # lower edge of a signal head
SIGNAL_SIZE_M = (0.3, 1.1, 2.2)  # larger than life, to be legible in images a hundred pixels high

GROUND_LAYERS = ("shade", "walkway", "curb", "road", "carpark", "crosswalk", "marking")  # in painting order


@dataclass(frozen=True, eq=False)  # hashed by identity
class Street:
    """Everything still within RADIUS_M of a tile's middle. S signal heads; `scenery` excludes them."""

    ground: Rings  # layers are indices into GROUND_LAYERS
    scenery: Things
    signal_poses: Array  # (S, 3) of heads; the heading is the way a head faces
    signal_connectors: tuple[str, ...]  # (S,) lane connector whose light a head shows
    signal_turns: tuple[str, ...]  # (S,) left, straight or right: what a head is for


def street_near(town_map: TownMap, xy: Array) -> Street:
    """The cached street of the tile that contains the point `xy` (2,)."""
    return _street_of_tile(town_map, math.floor(xy[0] / TILE_M), math.floor(xy[1] / TILE_M))


@lru_cache(maxsize=64)
def _street_of_tile(town_map: TownMap, column: int, row: int) -> Street:
    middle = (np.array([column, row]) + 0.5) * TILE_M
    poses, heads, supports = _signals(town_map)
    seen = np.flatnonzero(np.linalg.norm(poses[:, :2] - middle, axis=1) < RADIUS_M)
    supported = np.linalg.norm(supports.poses[:, :2] - middle, axis=1) < RADIUS_M
    beside = surroundings(town_map, middle, RADIUS_M)
    connectors, turns = (tuple(heads[i][k] for i in seen) for k in (0, 1))
    ground = _ground(town_map, middle, shade_of(beside))
    return Street(ground, join(beside, select(supports, supported)), poses[seen], connectors, turns)


def _near(town_map: TownMap, layer: str, middle: Array) -> NDArray[np.object_]:
    return town_map.layers[layer].polygons[town_map.layers[layer].near(middle, RADIUS_M)]


def _ground(town_map: TownMap, middle: Array, shade: NDArray[np.object_]) -> Rings:
    roads = [_near(town_map, layer, middle) for layer in ("ROADBLOCK", "INTERSECTION", "GENERIC_DRIVABLE")]
    lanes = town_map.layers["LANE"]
    road = shapely.simplify(shapely.union_all(np.concatenate(roads), grid_size=0.01), 0.05)
    areas = {
        "shade": shapely.disjoint_subset_union_all(shade),
        "walkway": shapely.disjoint_subset_union_all(_near(town_map, "WALKWAY", middle)),
        "curb": shapely.buffer(road, 0.25, quad_segs=2),
        "road": road,
        "carpark": shapely.disjoint_subset_union_all(_near(town_map, "CARPARK_AREA", middle)),
        "crosswalk": shapely.disjoint_subset_union_all(
            [s for area in _near(town_map, "CROSSWALK", middle) for s in _stripes(area)]
        ),
        "marking": shapely.disjoint_subset_union_all(
            [paint for i in lanes.near(middle, RADIUS_M) for paint in _markings(town_map, lanes.ids[i])]
        ),
    }
    window = (*(middle - RADIUS_M), *(middle + RADIUS_M))
    return _rings([shapely.clip_by_rect(areas[name], *window) for name in GROUND_LAYERS])


def _rings(areas: list[shapely.Geometry]) -> Rings:
    """Outlines and holes of one area a layer."""
    rings, layer = [], []
    for index, area in enumerate(areas):
        found = shapely.get_rings([part for part in shapely.get_parts(area) if part.geom_type == "Polygon"])
        rings += [shapely.get_coordinates(ring)[:-1] for ring in found]
        layer += [index] * len(found)
    counts = [len(ring) for ring in rings]
    return Rings(np.concatenate([np.zeros((0, 2)), *rings]), np.cumsum([0, *counts]), np.array(layer, dtype=int))


def _stripes(area: shapely.Polygon) -> list[shapely.Polygon]:
    """Zebra stripes of a crossing: bars along the traffic, repeated over the longer side of the area."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(area))[:4]
    if len(corners) < 4:
        return []
    long, short = corners[1] - corners[0], corners[3] - corners[0]
    if np.linalg.norm(long) < np.linalg.norm(short):
        long, short = short, long
    length = np.linalg.norm(long)
    starts = np.arange(0.3, length - STRIPE_M, STRIPE_PERIOD_M)[:, None] * long / length
    bar = np.stack([0 * long, long / length * STRIPE_M, long / length * STRIPE_M + short, short])
    return list(shapely.polygons(corners[0] + starts[:, None] + bar))


def _ribbons(line: Array, lateral_m: float, stations: Array) -> list[shapely.Polygon]:
    """Strips of paint at `lateral_m` left of a line (P, 3); `stations` (n, k) are arc lengths along each strip."""
    distance = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    heading = np.interp(stations, distance, np.unwrap(line[:, 2]))
    middle = np.stack([np.interp(stations, distance, line[:, k]) for k in (0, 1)], axis=-1)
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=-1)
    near, far = (middle + (lateral_m + side * MARKING_WIDTH_M / 2) * left for side in (-1, 1))
    return [strip for strip in shapely.polygons(np.concatenate([near, far[:, ::-1]], axis=1)) if strip.is_valid]


@lru_cache(maxsize=1024)  # a lane is near several tiles
def _markings(town_map: TownMap, lane_id: str) -> list[shapely.Polygon]:
    """Paint of one lane: left line (dashed beside a lane of the same direction), the road's right edge, stop bar."""
    lane = town_map.lanes[lane_id]
    siblings = town_map.roadblock_lanes[lane.roadblock_id]
    half_width = half_width_m(lane)
    length = np.linalg.norm(np.diff(lane.centerline[:, :2], axis=0), axis=1).sum()
    solid = np.linspace(0, length, max(2, math.ceil(length / 4)))[None]
    dashes = np.arange(0.5, length - DASH_M, DASH_PERIOD_M)[:, None] + np.array([0, DASH_M / 2, DASH_M])
    inside = half_width - MARKING_WIDTH_M
    paint = (
        _ribbons(lane.centerline, inside, solid)
        if lane.id == siblings[0]
        else _ribbons(lane.centerline, half_width, dashes)
    )
    if lane.id == siblings[-1]:
        paint += _ribbons(lane.centerline, -inside, solid)
    if any(town_map.lanes[connector].has_traffic_light for connector in lane.successors):
        x, y, heading = lane.centerline[-1]
        back = rotate(np.array([-STOP_BAR_M / 2, 0.0]), np.array(heading)) + (x, y)
        bar = box_corners(np.array([*back, heading]), STOP_BAR_M, 2 * inside - 0.2)
        paint.append(shapely.Polygon(bar))
    return paint


@lru_cache(maxsize=8)
def _signals(town_map: TownMap) -> tuple[Array, tuple[tuple[str, str], ...], Things]:
    """Signal heads of a map, each beyond the junction in line with the lane that it governs, and their supports.

    A head is (lane connector, turn that it is for). It hangs as far on as the farthest connector of its approach
    reaches. Several heads of one lane (left, straight, right) hang side by side.
    """
    poses, heads, posts, arms = [], [], [], []
    for lanes in _signalled_approaches(town_map).values():
        heading = lanes[0].centerline[0, 2]
        reach = [_in_frame(lane.centerline[0], lane.centerline[-1, :2])[0] for lane in lanes]
        depth_m = max(max(reach), 8.0) + 1.0
        row = []
        for group in _heads_by_lane(lanes):
            for index, (kind, lane) in enumerate(group.items()):
                left = ((len(group) - 1) / 2 - index) * (SIGNAL_SIZE_M[1] + 0.15)
                row.append(lane.centerline[0, :2] + rotate(np.array([depth_m, left]), np.array(heading)))
                heads.append((lane.id, kind))
        poses += [(*xy, heading + np.pi) for xy in row]
        lateral = [_in_frame(np.array([*row[0], heading]), xy)[1] for xy in row]
        right, left = min(lateral) - 3.0, max(lateral)
        behind = rotate(np.array([[0.3, right], [0.3, (left + right) / 2]]), np.array(heading)) + row[0]
        posts.append((*behind[0], heading))
        arms.append((*behind[1], heading, left - right))
    return np.array(poses).reshape(-1, 3), tuple(heads), _supports(posts, arms)


def _signalled_approaches(town_map: TownMap) -> dict[str, list[Lane]]:
    """Connectors with a light, by the roadblock that they come from."""
    approaches: dict[str, list[Lane]] = {}
    for lane in town_map.lanes.values():
        if lane.is_connector and lane.has_traffic_light and lane.predecessors:
            approaches.setdefault(town_map.lanes[lane.predecessors[0]].roadblock_id, []).append(lane)
    return approaches


def _heads_by_lane(connectors: list[Lane]) -> list[dict[str, Lane]]:
    """For each incoming lane one connector per kind of turn, left turns first: these get a signal head."""
    by_lane: dict[str, dict[str, Lane]] = {}
    for connector in connectors:
        turn = wrap_angle(connector.centerline[-1, 2] - connector.centerline[0, 2])
        kind = "straight" if abs(turn) <= TURN_RAD else "left" if turn > 0 else "right"
        by_lane.setdefault(connector.predecessors[0], {}).setdefault(kind, connector)
    return [
        {kind: heads[kind] for kind in ("left", "straight", "right") if kind in heads} for heads in by_lane.values()
    ]


def _in_frame(pose: Array, xy: Array) -> Array:
    return rotate(xy - pose[:2], np.array(-pose[2]))


def _supports(posts: list, arms: list) -> Things:
    posts, arms = np.array(posts).reshape(-1, 3), np.array(arms).reshape(-1, 4)
    top = SIGNAL_HEIGHT_M + SIGNAL_SIZE_M[2] / 2
    post_size = np.tile([0.2, 0.2, top], (len(posts), 1))
    arm_size = np.stack([np.full(len(arms), 0.12), arms[:, 3], np.full(len(arms), 0.15)], axis=-1)
    n = len(posts) + len(arms)
    return Things(
        models=("post",) * n,
        poses=np.concatenate([posts, arms[:, :3]]),
        bottom_m=np.concatenate([np.zeros(len(posts)), np.full(len(arms), top - 0.15)]),
        size_m=np.concatenate([post_size, arm_size]),
        paint=np.zeros((n, 3)),
        accent=np.zeros((n, 3)),
    )
