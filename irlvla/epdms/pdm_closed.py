"""PDM-Closed, the privileged planner whose progress the evaluation takes as reference (Dauner et al., 2023).

15 proposals follow the route's centreline, or one metre to its right or left, at 20-100 % of the speed limit, with
an intelligent driver model (IDM) that brakes for forecast objects and red lights. The official details, some of
them accidents, are kept, because they move everyone's progress score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import vehicle
from irlvla.epdms.forecast import FORECAST_STEPS, STEPS_PER_FORECAST, Objects, box_polygons, ego_polygons
from irlvla.epdms.path import Path
from irlvla.epdms.states import NUM_STATES, STEP_S, VX

Array = NDArray[np.float64]

LATERAL_OFFSETS_M = (0.0, -1.0, 1.0)
SPEED_FRACTIONS = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
FALLBACK_SPEED_LIMIT_MPS = 15.0
MAX_ACCELERATION_MPS2, MAX_DECELERATION_MPS2 = 1.5, 3.0
MIN_GAP_M, HEADWAY_S, EXPONENT = 1.0, 1.5, 10
CORRIDOR_HORIZON_S = 5.0


@dataclass(frozen=True)
class Surroundings:
    """What the proposals react to: O shapes at every forecast step, objects first, red lights last."""

    polygons: NDArray[np.object_]  # (FORECAST_STEPS, O)
    speed_mps: Array  # (O,) zero for static objects and lights
    heading: Array  # (O,)


def surroundings(objects: Objects, red_lights: list[shapely.Polygon]) -> Surroundings:
    """Objects (already the relevant ones) and the polygons of red connectors of the route."""
    moving = box_polygons(objects.forecast_poses(), objects.lwh_m)
    lights = np.empty((FORECAST_STEPS, len(red_lights)), dtype=object)
    lights[:] = red_lights
    zeros = np.zeros(len(red_lights))
    return Surroundings(
        polygons=np.concatenate([moving, lights], axis=1),
        speed_mps=np.append(objects.speed_mps, zeros),
        heading=np.append(objects.poses[:, 2], zeros),
    )


def propose(centerline: Array, ego_state: Array, speed_limit_mps: float, around: Surroundings) -> Array:
    """All proposals (15, 41, 3), global poses at 10 Hz from t = 0; index = path * 5 + speed.

    They start on their path, not at the ego. `speed_limit_mps` is that of the start lane, NaN where there is none.
    """
    limit = FALLBACK_SPEED_LIMIT_MPS if np.isnan(speed_limit_mps) else speed_limit_mps
    target_mps = SPEED_FRACTIONS * limit
    middle = Path(centerline)
    paths = [middle] + [middle.shifted(offset) for offset in LATERAL_OFFSETS_M[1:]]
    return np.concatenate([_follow(path, ego_state, target_mps, around) for path in paths])


def _follow(path: Path, ego_state: Array, target_mps: Array, around: Surroundings) -> Array:
    """(V, 41, 3) poses of V target speeds along one path."""
    start = path.line.project(shapely.Point(ego_state[:2]))
    progress, speed = np.full(len(target_mps), start), np.full(len(target_mps), ego_state[VX])
    poses = np.empty((len(target_mps), NUM_STATES, 3))
    poses[:, 0] = path.at(progress)
    find_leader = _leader_finder(path, start, target_mps.max(), around)
    # The official planner looks for leaders at even steps only, so that at step 1 the leader is an empty entry:
    # an obstacle at the start of the path, for which every proposal brakes.
    leader = np.zeros((len(target_mps), 3))
    for step in range(1, NUM_STATES):
        if step % 2 == 0:
            leader = find_leader(step, progress, poses[:, step - 1])
        acceleration = idm_acceleration(progress, speed, leader, target_mps)
        progress, speed = progress + STEP_S * speed, speed + STEP_S * acceleration
        poses[:, step] = path.at(progress)
    return poses


def idm_acceleration(progress_m: Array, speed_mps: Array, leader: Array, target_mps: Array) -> Array:
    """IDM acceleration (V,), clipped; `leader` (V, 3): progress, speed, and length behind that point."""
    closing = speed_mps * (speed_mps - leader[:, 1]) / (2 * np.sqrt(MAX_ACCELERATION_MPS2 * MAX_DECELERATION_MPS2))
    wanted_gap = MIN_GAP_M + speed_mps * HEADWAY_S + closing
    gap = np.maximum(leader[:, 0] - progress_m - leader[:, 2], MIN_GAP_M)
    free = 1 - (speed_mps / target_mps) ** EXPONENT
    return np.clip(
        MAX_ACCELERATION_MPS2 * (free - (wanted_gap / gap) ** 2), -MAX_DECELERATION_MPS2, MAX_ACCELERATION_MPS2
    )


def _leader_finder(
    path: Path, start_m: float, max_speed_mps: float, around: Surroundings
) -> Callable[[int, Array, Array], Array]:
    """A function (step, progress (V,), poses (V, 3)) -> leader (V, 3) for one path."""
    reach = start_m + abs(max_speed_mps) * CORRIDOR_HORIZON_S
    corridor = path.between(start_m, reach).buffer(vehicle.WIDTH_M / 2, cap_style="square")
    in_corridor = [shapely.STRtree(shapes).query(corridor, predicate="intersects") for shapes in around.polygons]
    shape_progress = shapely.line_locate_point(path.line, shapely.centroid(around.polygons))
    nothing_ahead = (path.length_m, 0.0, vehicle.LENGTH_M / 2)

    def find(step: int, progress_m: Array, poses: Array) -> Array:
        forecast = step // STEPS_PER_FORECAST
        near = in_corridor[forecast]  # in the tree's order, which decides between equally near shapes
        leader = np.tile(nothing_ahead, (len(progress_m), 1))
        if not len(near):
            return leader
        gap = shapely.distance(ego_polygons(poses)[:, None], around.polygons[forecast, near])
        gap[shape_progress[forecast, near] <= progress_m[:, None]] = np.inf
        nearest = np.argmin(gap, axis=1)
        distance = gap[np.arange(len(gap)), nearest]
        along = around.speed_mps[near[nearest]] * np.cos(around.heading[near[nearest]] - poses[:, 2])
        found = np.isfinite(distance)
        leader[found] = np.column_stack([progress_m + distance, along, np.zeros_like(distance)])[found]
        return leader

    return find
