"""Brake lamps and indicators of other vehicles, told from how they move: NAVSIM has no field for either.

A driver indicates what the log has him do within INTENT_FRAMES. Without a stored future, as in the live world, what is
left is what place and past tell: a lane that only turns one way, or a turn that has begun.
"""

from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.geometry import wrap_angle
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import Lane, TownMap

BRAKING_MPS2, STANDING_MPS = -0.6, 0.3  # brake lamps are on beyond either
INTENT_FRAMES = (3, 6)  # looked at after the present one: 3 s before a turn or a lane change
TURN_RAD = np.deg2rad(25)  # by which a heading changes on a connector at least if that is a turn
BEGUN_RAD = np.deg2rad(8)  # since the frame before the previous one
NEAR_END_M = 30.0  # where a lane that only turns one way makes its drivers indicate

LEFT, NONE, RIGHT = 1, 0, -1


def braking(scene: Scene) -> NDArray[np.bool_]:
    """(A,) whether the speed falls since the previous frame, or the object stands."""
    tracks, now = scene.tracks, scene.now
    speed = np.linalg.norm(tracks.velocity_mps, axis=-1)
    before = np.where(tracks.valid[now - 1], speed[now - 1], speed[now])
    interval_s = (scene.timestamp_us[now] - scene.timestamp_us[now - 1]) / 1e6
    return ((speed[now] - before) / interval_s < BRAKING_MPS2) | (speed[now] < STANDING_MPS)


def indicating(scene: Scene) -> NDArray[np.int64]:
    """(A,) LEFT, NONE or RIGHT of the vehicles present; NONE of everything else."""
    tracks, now = scene.tracks, scene.now
    sides = np.full(len(tracks.tokens), NONE)
    vehicles = [i for i in np.flatnonzero(tracks.valid[now]).tolist() if tracks.categories[i] == "vehicle"]
    frames = [now, *(now + ahead for ahead in INTENT_FRAMES if now + ahead < len(tracks.valid))]
    places = [(i, f) for i in vehicles for f in frames if tracks.valid[f, i]]
    if not places:
        return sides
    columns, rows = np.array(places).T
    lanes = lanes_at(scene.town_map, tracks.poses[rows, columns])
    for i in vehicles:
        path = [(lane, f) for lane, (j, f) in zip(lanes, places, strict=True) if i == j]
        sides[i] = _side(scene, i, [lane for lane, _ in path], path[-1][1])
    return sides


def _side(scene: Scene, index: int, lanes: list[Lane | None], last: int) -> int:
    """Of one vehicle, from the lanes that it is on from now until frame `last`."""
    heading = scene.tracks.poses[:, index, 2]
    here = lanes[0]
    if here is None:
        return NONE
    if last > scene.now:
        turned = wrap_angle(heading[last] - heading[scene.now])
        if abs(turned) > TURN_RAD and any(lane is not None and lane.is_connector for lane in lanes):
            return int(np.sign(turned))
        change = _lane_change(scene.town_map, [lane for lane in lanes if lane is not None])
        if change != NONE:
            return change
    elif here.is_connector and scene.tracks.valid[scene.now - 2, index]:
        turned = wrap_angle(heading[scene.now] - heading[scene.now - 2])
        return int(np.sign(turned)) * (abs(turned) > BEGUN_RAD)
    to_end_m = np.linalg.norm(here.centerline[-1, :2] - scene.tracks.poses[scene.now, index, :2])
    return only_turn(scene.town_map, here.id) if to_end_m < NEAR_END_M else NONE


def _lane_change(town_map: TownMap, lanes: list[Lane]) -> int:
    siblings = town_map.roadblock_lanes[lanes[0].roadblock_id]
    for lane in lanes:
        if lane.roadblock_id == lanes[0].roadblock_id and lane.id != lanes[0].id and not lane.is_connector:
            return LEFT if siblings.index(lane.id) < siblings.index(lanes[0].id) else RIGHT
    return NONE


@lru_cache(maxsize=4096)
def only_turn(town_map: TownMap, lane_id: str) -> int:
    """LEFT or RIGHT if every connector of the lane turns to that side, otherwise NONE."""
    turns = [town_map.lanes[connector].centerline[[0, -1], 2] for connector in town_map.lanes[lane_id].successors]
    sides = {int(np.sign(turn)) * (abs(turn) > TURN_RAD) for turn in (wrap_angle(b - a) for a, b in turns)}
    return sides.pop() if len(sides) == 1 else NONE


def lanes_at(town_map: TownMap, poses: NDArray[np.float64]) -> list[Lane | None]:
    """Lane or lane connector under each pose (n, 3): of several, the one whose direction fits best."""
    best: list[tuple[float, Lane | None]] = [(np.deg2rad(60), None)] * len(poses)
    points = shapely.points(poses[:, :2])
    for name in ("LANE", "LANE_CONNECTOR"):
        layer = town_map.layers[name]
        for point, index in layer.tree.query(points, predicate="intersects").T.tolist():
            lane = town_map.lanes[layer.ids[index]]
            nearest = np.argmin(((lane.centerline[:, :2] - poses[point, :2]) ** 2).sum(axis=1))
            off = abs(wrap_angle(lane.centerline[nearest, 2] - poses[point, 2]))
            if off < best[point][0]:
                best[point] = (off, lane)
    return [lane for _, lane in best]
