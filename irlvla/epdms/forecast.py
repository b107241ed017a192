"""What PDM-Closed expects of the traffic: objects keep their speed and heading, lights keep their colour."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.epdms.states import STEP_S, EgoBoxes, box_corners
from irlvla.geometry import wrap_angle

Array = NDArray[np.float64]

REACH_M = 100.0
NEAREST = {"VEHICLE": 50, "PEDESTRIAN": 25, "BICYCLE": 10}  # how many of each kind are forecast
NEAREST_STATIC = 50
FORECAST_STEPS = 26  # at 0, 0.2, ... 5.0 s
STEPS_PER_FORECAST = 2  # scoring steps (0.1 s) that share one forecast


@dataclass(frozen=True)
class Objects:
    """A objects at one moment, global frame."""

    tokens: NDArray[np.str_]  # (A,)
    types: NDArray[np.str_]  # (A,) as in `ScoringContext.track_types`
    poses: Array  # (A, 3) box centre
    velocity_mps: Array  # (A, 2)
    lwh_m: Array  # (A, 3)

    def take(self, indices: NDArray[np.int64]) -> "Objects":
        return Objects(*(column[indices] for column in vars(self).values()))

    @cached_property
    def speed_mps(self) -> Array:
        return np.hypot(self.velocity_mps[:, 0], self.velocity_mps[:, 1])

    def forecast_poses(self) -> Array:
        """(FORECAST_STEPS, A, 3): constant speed along the heading, or against it if the velocity points backwards."""
        course = np.arctan2(self.velocity_mps[:, 1], self.velocity_mps[:, 0])
        backwards = np.abs(wrap_angle(self.poses[:, 2] - course)) >= np.pi / 2
        heading = self.poses[:, 2] + np.pi * backwards
        moves = self.speed_mps[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        time_s = np.arange(FORECAST_STEPS) * STEPS_PER_FORECAST * STEP_S
        poses = np.repeat(self.poses[None], FORECAST_STEPS, axis=0)
        poses[..., :2] += time_s[:, None, None] * moves
        return poses


def relevant(objects: Objects, ego_state: Array) -> Objects:
    """The objects that PDM-Closed regards: within 100 m and among the nearest of their kind; static ones first.

    Those that touch the ego's box now are left out: the planner ignores them for good.
    """
    ego = EgoBoxes.from_states(ego_state)
    distance = np.linalg.norm(objects.poses[:, :2] - ego.centers, axis=1)
    order = np.argsort(distance)
    order = order[distance[order] <= REACH_M]
    types = objects.types[order]
    static = order[~np.isin(types, list(NEAREST))][:NEAREST_STATIC]
    moving = [order[types == kind][:count] for kind, count in NEAREST.items()]
    found = objects.take(np.concatenate([static, *moving]))
    touching = shapely.intersects(box_polygons(found.poses, found.lwh_m), shapely.polygons(ego.corners))
    return found.take(np.flatnonzero(~touching))


def box_polygons(poses: Array, lwh_m: Array) -> NDArray[np.object_]:
    """Polygons (...) of boxes with centre poses (..., 3)."""
    return shapely.polygons(box_corners(poses[..., :2], poses[..., 2], lwh_m[..., 0], lwh_m[..., 1]))


def ego_polygons(poses: Array) -> NDArray[np.object_]:
    """Polygons (...) of the ego's box at rear-axle poses (..., 3)."""
    return shapely.polygons(EgoBoxes.from_states(poses).corners)
