"""The lane centreline under each car, which reactive traffic follows as on rails."""

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.epdms.context import Rails
from irlvla.scenes.town_map import TownMap

Array = NDArray[np.float64]

HEADING_STEP_M = 0.5  # distance over which the heading of a point of a centreline is measured


def find_rails(town_map: TownMap, poses: Array, is_car: NDArray[np.bool_], seen_now: NDArray[np.bool_]) -> Rails:
    """Rails of Q tracks with present box centres `poses` (Q, 3); only cars that are seen now get one."""
    count = len(poses)
    rail, on_road = np.full(count, -1), np.zeros(count, dtype=bool)
    start_pose, start_progress = np.zeros((count, 3)), np.zeros(count)
    lane_ids: list[str] = []
    for track in np.flatnonzero(is_car & seen_now):
        on_road[track], candidates = _lanes_under(town_map, poses[track, :2])
        if not candidates:
            continue
        nearest = [nearest_pose(town_map.lanes[id].centerline, poses[track, :2]) for id in candidates]
        # The official code does not wrap this difference, so near +-180 degrees another lane may win.
        best = int(np.argmin([abs(pose[2] - poses[track, 2]) for pose, _ in nearest]))
        start_pose[track], start_progress[track] = nearest[best]
        if candidates[best] not in lane_ids:
            lane_ids.append(candidates[best])
        rail[track] = lane_ids.index(candidates[best])
    lanes = [town_map.lanes[id] for id in lane_ids]
    return Rails(
        xyh=np.concatenate([np.zeros((0, 3)), *(lane.centerline for lane in lanes)]),
        offsets=np.cumsum([0, *(len(lane.centerline) for lane in lanes)]),
        speed_limit_mps=np.array([lane.speed_limit_mps for lane in lanes]),
        seen_now=seen_now,
        rail=rail,
        start_pose=start_pose,
        start_progress_m=start_progress,
        on_road=on_road,
    )


def _lanes_under(town_map: TownMap, xy: Array) -> tuple[bool, list[str]]:
    """Whether `xy` is in a lane or an intersection, and the lanes there, or in an intersection its connectors."""
    lanes = _containing(town_map, "LANE", xy)
    if lanes:
        return True, lanes
    if _containing(town_map, "INTERSECTION", xy):
        return True, _containing(town_map, "LANE_CONNECTOR", xy)
    return False, []


def _containing(town_map: TownMap, layer: str, xy: Array) -> list[str]:
    found = town_map.layers[layer]
    return [found.ids[i] for i in np.sort(found.tree.query(shapely.Point(xy), predicate="within"))]


def nearest_pose(centerline: Array, xy: Array) -> tuple[Array, float]:
    """Nearest point of a centreline as pose (3,), and its distance along the line [m]."""
    line = shapely.linestrings(centerline[:, :2])
    progress = shapely.line_locate_point(line, shapely.Point(xy))
    here, ahead, behind = shapely.get_coordinates(
        shapely.line_interpolate_point(line, [progress, progress + HEADING_STEP_M, progress - HEADING_STEP_M])
    )
    along = here - behind if (here == ahead).all() else ahead - here  # at the end of the line look back
    return np.array([*here, np.arctan2(along[1], along[0])]), float(progress)
