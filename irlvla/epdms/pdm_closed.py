"""PDM-Closed, the privileged planner whose progress the evaluation takes as reference (Dauner et al., 2023).

15 proposals follow the route's centreline, or one metre to its right or left, at 20-100 % of the speed limit, with
an intelligent driver model (IDM) that brakes for forecast objects and red lights. The official details, some of
them accidents, are kept, because they move everyone's progress score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import vehicle
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.drive import simulate_10hz
from irlvla.epdms.forecast import FORECAST_STEPS, STEPS_PER_FORECAST, Objects, box_polygons, ego_polygons, relevant
from irlvla.epdms.path import Path
from irlvla.epdms.route import Route
from irlvla.epdms.scores import PRODUCT, PROGRESS_M, evaluate, summarise, with_progress
from irlvla.epdms.states import NUM_STATES, STEP_S, VX
from irlvla.geometry import local_from_global
from irlvla.scenes.town_map import TownMap

Array = NDArray[np.float64]

LATERAL_OFFSETS_M = (0.0, -1.0, 1.0)
SPEED_FRACTIONS = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
FALLBACK_SPEED_LIMIT_MPS = 15.0
MAX_ACCELERATION_MPS2, MAX_DECELERATION_MPS2 = 1.5, 3.0
MIN_GAP_M, HEADWAY_S, EXPONENT = 1.0, 1.5, 10
CORRIDOR_HORIZON_S = 5.0
MIN_PROGRESS_M = 1e-5  # paths are followed from here on


def plan(
    context: ScoringContext, route: Route, objects: Objects, red_connectors: tuple[str, ...], town_map: TownMap
) -> Array:
    """PDM-Closed's plan (41, 3), global poses at 10 Hz from t = 0, from what is seen at t = 0.

    The context gives the map and the ego; its tracks, lights and reference are not used. Every proposal is driven
    and scored as a candidate plan would be, against the forecast traffic. The official planner also ignores, for the
    rest of its process, the tokens of objects that the ego touched in earlier scenes; this one has no such memory.
    """
    objects = relevant(objects, context.ego_state)
    red = [id for id in red_connectors if id in route.lane_ids]
    ego_box = ego_polygons(context.ego_state[:3])
    stops = [town_map.lanes[id].polygon for id in red if not shapely.within(ego_box, town_map.lanes[id].polygon)]
    limit = route.start_lane.speed_limit_mps
    proposals = propose(route.centerline, context.ego_state, limit, surroundings(objects, stops))
    states = simulate_10hz(local_from_global(context.ego_state[:3], proposals), context.ego_state)
    columns = evaluate(_forecast_context(context, objects, red), states)
    columns = summarise(with_progress(columns, np.max(columns[PROGRESS_M] * columns[PRODUCT])))
    return proposals[np.argmax(columns["pdm_score"])]


def _forecast_context(context: ScoringContext, objects: Objects, red: list[str]) -> ScoringContext:
    """The context with the forecast as its traffic; a forecast holds for two steps of the scoring grid."""
    poses = objects.forecast_poses()[np.arange(NUM_STATES) // STEPS_PER_FORECAST]
    velocity = np.broadcast_to(objects.velocity_mps, (*poses.shape[:2], 2))
    return replace(
        context,
        track_tokens=objects.tokens,
        track_types=objects.types,
        track_lwh=objects.lwh_m,
        track_states=np.concatenate([poses, velocity], axis=-1),
        track_valid=np.ones(poses.shape[:2], dtype=bool),
        red_light_ids=np.array(red, dtype=np.str_),
        red_light_on=np.ones((NUM_STATES, len(red)), dtype=bool),
    )


@dataclass(frozen=True)
class Surroundings:
    """What the proposals react to: O shapes at every forecast step, objects first, red lights last."""

    polygons: NDArray[np.object_]  # (FORECAST_STEPS, O)
    speed_mps: Array  # (O,) zero for static objects and lights
    heading: Array  # (O,)
    is_light: NDArray[np.bool_]  # (O,)

    @cached_property
    def trees(self) -> list[shapely.STRtree]:
        """To find shapes by place, at every forecast step."""
        return [shapely.STRtree(shapes) for shapes in self.polygons]

    @cached_property
    def centroids(self) -> NDArray[np.object_]:
        """(FORECAST_STEPS, O) points."""
        return shapely.centroid(self.polygons)


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
        is_light=np.arange(moving.shape[1] + len(red_lights)) >= moving.shape[1],
    )


def propose(centerline: Array, ego_state: Array, speed_limit_mps: float, around: Surroundings) -> Array:
    """All proposals (15, 41, 3), global poses at 10 Hz from t = 0; index = path * 5 + speed.

    They start on their path, not at the ego. `speed_limit_mps` is that of the start lane, NaN where there is none.
    """
    limit = FALLBACK_SPEED_LIMIT_MPS if np.isnan(speed_limit_mps) else speed_limit_mps
    target_mps = SPEED_FRACTIONS * limit
    middle = Path(centerline)
    paths = [middle] + [middle.shifted(offset) for offset in LATERAL_OFFSETS_M[1:]]
    return _follow(paths, ego_state, target_mps, around)


def _follow(paths: Sequence[Path], ego_state: Array, target_mps: Array, around: Surroundings) -> Array:
    """(L V, 41, 3) poses of V target speeds along each of L paths, step by step side by side."""
    starts = [path.line.project(shapely.Point(ego_state[:2])) for path in paths]
    progress, targets = np.repeat(starts, len(target_mps)), np.tile(target_mps, len(paths))
    speed = np.full(len(targets), ego_state[VX])
    poses = np.empty((len(targets), NUM_STATES, 3))
    poses[:, 0] = _poses_at(paths, progress)
    reach_m = abs(target_mps.max()) * CORRIDOR_HORIZON_S
    find_leaders = [_leader_finder(path, start, reach_m, around) for path, start in zip(paths, starts, strict=True)]
    # The official planner looks for leaders at even steps only, so that at step 1 the leader is an empty entry:
    # an obstacle at the start of the path, for which every proposal brakes.
    leader = np.zeros((len(targets), 3))
    for step in range(1, NUM_STATES):
        if step % 2 == 0:
            boxes = ego_polygons(poses[:, step - 1])
            seen = (values.reshape(len(paths), len(target_mps), -1) for values in (progress, poses[:, step - 1], boxes))
            parts = zip(find_leaders, *seen, strict=True)
            leader = np.concatenate([find(step, p[:, 0], xyh[:, 2], box) for find, p, xyh, box in parts])
        acceleration = idm_acceleration(progress, speed, leader, targets)
        progress, speed = progress + STEP_S * speed, speed + STEP_S * acceleration
        poses[:, step] = _poses_at(paths, progress)
    return poses


def _poses_at(paths: Sequence[Path], progress_m: Array) -> Array:
    """Poses (L V, 3) at V distances (L V,) along each of L paths."""
    along = np.maximum(progress_m, MIN_PROGRESS_M).reshape(len(paths), -1)
    return np.concatenate([path.at(distances) for path, distances in zip(paths, along, strict=True)])


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
    path: Path, start_m: float, reach_m: float, around: Surroundings
) -> Callable[[int, Array, Array, NDArray[np.object_]], Array]:
    """A function (step, progress (V,), heading (V,), ego boxes (V, 1)) -> leader (V, 3) for one path."""
    corridor = path.between(start_m, start_m + reach_m).buffer(vehicle.WIDTH_M / 2, cap_style="square")
    in_corridor = [tree.query(corridor, predicate="intersects") for tree in around.trees]
    shape_progress = [
        shapely.line_locate_point(path.line, points[near])
        for points, near in zip(around.centroids, in_corridor, strict=True)
    ]

    def find(step: int, progress_m: Array, heading: Array, boxes: NDArray[np.object_]) -> Array:
        forecast = step // STEPS_PER_FORECAST
        near = in_corridor[forecast]  # in the tree's order, which decides between equally near shapes
        gap = shapely.distance(boxes, around.polygons[forecast, near])
        gap[shape_progress[forecast] <= progress_m[:, None]] = np.inf
        return leaders_of(path.length_m, progress_m, heading, gap, around, near)

    return find


def leaders_of(
    length_m: float, progress_m: Array, heading: Array, gap_m: Array, around: Surroundings, near: NDArray[np.int64]
) -> Array:
    """(V, 3) progress, speed and rear length of the leader of each proposal on a path of `length_m`.

    `gap_m` (V, N) to the shapes `near` (N,) of `around`; inf: not ahead.

    The official planner fills one entry for all proposals of a path, in order of their speed, and not all of it each
    time. So a proposal with nothing ahead sees the end of the path move at the speed of the last leader before it, a
    red light moves likewise, and after a proposal with nothing ahead leaders have the length of the path's end.
    """
    leaders = np.zeros((len(progress_m), 3))
    position_m = speed_mps = rear_m = 0.0
    for proposal, gaps in enumerate(gap_m):
        if np.isfinite(gaps).any():
            nearest = np.argmin(gaps)
            position_m = progress_m[proposal] + gaps[nearest]
            if not around.is_light[near[nearest]]:
                relative = around.heading[near[nearest]] - heading[proposal]
                speed_mps = around.speed_mps[near[nearest]] * np.cos(relative)
        else:
            position_m, rear_m = length_m, vehicle.LENGTH_M / 2
        leaders[proposal] = position_m, speed_mps, rear_m
    return leaders
