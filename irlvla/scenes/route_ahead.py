"""Where driving command and road lead: the course of the route ahead, as a target beside those of `targets.py`."""

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.epdms.route import find_route
from irlvla.geometry import rotate
from irlvla.scenes.scene import Scene
from irlvla.scenes.targets import ROUTE_POINTS, ROUTE_STEP_M

Range = tuple[float, float]


def route_targets(scene: Scene, x_range_m: Range, y_range_m: Range) -> dict[str, NDArray]:
    """route (R, 2) float32 points of the route's centre line in the ego frame, ROUTE_STEP_M apart from beside the ego
    on; route_inside (R,) bool, False beyond the rectangle and beyond the route's end.

    The line is the one along which EPDMS measures progress. Raises ValueError naming the scene if it has no route.
    """
    try:
        line = find_route(scene.town_map, scene.ego_pose, scene.route_roadblock_ids).centerline[:, :2]
    except ValueError as error:
        raise ValueError(f"scene {scene.token}: {error}") from error
    along_m = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    beside_m = shapely.line_locate_point(shapely.LineString(line), shapely.Point(scene.ego_pose[:2]))
    wanted_m = beside_m + ROUTE_STEP_M * np.arange(1, ROUTE_POINTS + 1)
    points = np.stack([np.interp(wanted_m, along_m, column) for column in line.T], axis=1)
    route = rotate(points - scene.ego_pose[:2], np.full(ROUTE_POINTS, -scene.ego_pose[2]))
    (x, y), (low_x, high_x), (low_y, high_y) = route.T, x_range_m, y_range_m
    inside = (x >= low_x) & (x < high_x) & (y >= low_y) & (y < high_y) & (wanted_m <= along_m[-1])
    return {"route": route.astype(np.float32), "route_inside": inside}
