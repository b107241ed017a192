"""Reactive traffic: cars on rails that brake for the ego and for each other (intelligent driver model, IDM).

Each car of the present frame is moved onto the centreline of its lane and follows it to its end. Pedestrians,
bicycles and objects replay the log, and no car sees them; nor do cars see red lights. These, and the ego box that
stands 1.461 m too far back and one step late, are properties of the official evaluation, which this reproduces.
(Its rule that a car does not see another whose token is part of its own is left out: tokens of one length never are.)
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import cos, hypot, sin

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import vehicle
from irlvla.epdms.context import Rails, ScoringContext
from irlvla.epdms.drive import simulate
from irlvla.epdms.forecast import box_polygons
from irlvla.epdms.rail_cars import TOLERANCE_M, Car, Rail, box_polygon
from irlvla.epdms.scores import Columns, Scores, score_human, score_plans
from irlvla.epdms.states import HEADING, VX, VY, EgoBoxes

Array = NDArray[np.float64]

DEFAULT_TARGET_MPS = 10.0
RADIUS_M = 100.0  # cars farther from the ego leave the simulation
SNAP_M = 3.0  # cars farther from their rail are not simulated
PARKED_SPEED_MPS = 0.1


def react(context: ScoringContext, states: Array) -> ScoringContext:
    """The context with the traffic that an ego driven through `states` (41, 11) meets.

    Raises ValueError if the context was saved without rails.
    """
    if context.rails is None:
        raise ValueError("this context has no rails: reactive traffic needs one made by build.scoring_context")
    is_car = context.track_types == "VEHICLE"
    moved, valid = context.track_states.copy(), context.track_valid.copy()
    valid[0] &= context.rails.seen_now
    valid[1:, is_car] = False
    cars = _start_cars(context)
    parked = _parked_candidates(context)
    for step, ego in enumerate(_Ego.along(states[:-1]), start=1):
        cars = [car for car in cars if hypot(car.pose[0] - ego.pose[0], car.pose[1] - ego.pose[1]) <= RADIUS_M]
        for car in cars:
            car.advance(*_leader(car, cars, ego))
        for car in cars:
            x, y, heading = car.pose
            moved[step, car.track] = x, y, heading, car.speed_mps * cos(heading), car.speed_mps * sin(heading)
            valid[step, car.track] = True
        standing = _standing(context, parked, cars)
        moved[step, standing], valid[step, standing] = context.track_states[0, standing], True
    return replace(context, track_states=moved, track_valid=valid)


def score_reactive(
    context: ScoringContext, plan: Array, human_filter: bool = True, human: Columns | None = None
) -> Scores:
    """Scores of one plan (8, 3) in the traffic that reacts to it, its columns of length 1.

    `human` are the columns of `score_human_reactive`, to be given where several plans of a scene are scored.
    """
    traffic = react(context, simulate(plan[None], context.ego_state)[0])
    if human is None and human_filter and context.scene_type == "original":
        human = score_human_reactive(context)
    return score_plans(traffic, plan[None], human_filter, keep_overlapping_tracks=True, human=human)


def score_human_reactive(context: ScoringContext) -> Columns:
    """Columns of length 1 of the human plan, for the human filter, in the traffic that reacts to the human."""
    traffic = react(context, simulate(context.human_poses[None], context.ego_state)[0])
    return score_human(traffic, keep_overlapping_tracks=True)


@dataclass(frozen=True, eq=False)
class _Ego:
    """The ego as cars see it: its box centred at the rear axle."""

    pose: Array
    speed_mps: float
    shape: shapely.Polygon

    @classmethod
    def along(cls, states: Array) -> list["_Ego"]:
        """At each of the states (F, 11)."""
        poses, size_m = states[:, : HEADING + 1], np.array([vehicle.LENGTH_M, vehicle.WIDTH_M])
        speeds_mps = np.hypot(states[:, VX], states[:, VY]).tolist()
        return [cls(*ego) for ego in zip(poses, speeds_mps, box_polygons(poses, size_m), strict=True)]

    @property
    def reach_m(self) -> float:
        return hypot(vehicle.LENGTH_M, vehicle.WIDTH_M) / 2


@lru_cache(maxsize=1)
def _lines(rails: Rails) -> list[Rail]:
    """The rails, kept for the next plan of the scene: cars that the ego does not disturb do the same again."""
    return [Rail.of(rails.xyh[start:end]) for start, end in zip(rails.offsets, rails.offsets[1:], strict=False)]


def _start_cars(context: ScoringContext) -> list[Car]:
    """Cars of the present frame on their rails, without those that then meet the ego or an earlier car."""
    rails, lines = context.rails, _lines(context.rails)
    snapped = box_polygons(rails.start_pose, context.track_lwh)
    taken = [shapely.polygons(EgoBoxes.from_states(context.ego_state).corners)]
    cars, target_mps = [], DEFAULT_TARGET_MPS
    for track in np.flatnonzero((rails.rail >= 0) & (_off_rail_m(context) <= SNAP_M)):
        if shapely.intersects(taken, snapped[track]).any():
            continue
        taken.append(snapped[track])
        limit = rails.speed_limit_mps[rails.rail[track]]
        target_mps = limit if limit > 0 else target_mps  # without a limit: that of the car before
        speed = float(np.hypot(*context.track_states[0, track, 3:]))
        rail = lines[rails.rail[track]]
        car = Car(track, rail, context.track_lwh[track], rails.start_progress_m[track], speed, target_mps)
        car.shape_or_none = snapped[track]
        cars.append(car)
    return cars


def _off_rail_m(context: ScoringContext) -> Array:
    """(Q,) distance of the present centres from their rails."""
    return np.linalg.norm(context.rails.start_pose[:, :2] - context.track_states[0, :, :2], axis=1)


def _parked_candidates(context: ScoringContext) -> NDArray[np.int64]:
    """Cars of the present frame that may stay where they are when they are not simulated."""
    rails: Rails = context.rails
    is_slow = np.hypot(context.track_states[0, :, 3], context.track_states[0, :, 4]) < PARKED_SPEED_MPS
    beside_rail = (rails.rail >= 0) & (_off_rail_m(context) > SNAP_M)
    is_car = rails.seen_now & (context.track_types == "VEHICLE")
    return np.flatnonzero(is_car & (is_slow & ~rails.on_road | beside_rail))


def _standing(context: ScoringContext, parked: NDArray[np.int64], cars: list[Car]) -> list[int]:
    """Those of the parked cars that touch no simulated car and no parked one before them."""
    simulated = {car.track for car in cars}
    parked = [track for track in parked if track not in simulated]
    if not parked:
        return []
    boxes = [box_polygon(car.pose, *car.lwh_m[:2]) for car in cars]
    standing = []
    for track in parked:
        box = box_polygon(context.track_states[0, track, :3], *context.track_lwh[track, :2])
        if not shapely.intersects(boxes, box).any():
            standing.append(track)
            boxes.append(box)
    return standing


def _leader(car: Car, cars: list[Car], ego: _Ego) -> tuple[float, float]:
    """Gap [m] to what is next on the rest of the car's rail and its speed along the car's heading.

    With nothing there, the end of the rail counts as a car that stands half its length beyond.
    """
    known, others = car.rail.meetings, [other for other in cars if other is not car]
    asked = [other for other in others if (car.key, other.key) not in known]
    if car.rail.is_near(ego.pose[:2], ego.reach_m + car.reach_aside_m):
        asked.append(ego)
    met = _meeting(car, asked)
    known.update({(car.key, other.key): other in met for other in asked if other is not ego})
    on_rail = [ego] if ego in met else []
    on_rail += [other for other in others if known[car.key, other.key]]
    if not on_rail:
        return car.rail.path.length_m - car.progress_m - car.lwh_m[0] / 2, 0.0
    nearest = on_rail[0]
    if len(on_rail) > 1:
        nearest = on_rail[shapely.STRtree([other.shape for other in on_rail]).nearest(car.shape)]
    return shapely.distance(car.shape, nearest.shape), nearest.speed_mps * cos(nearest.pose[2] - car.pose[2])


def _meeting(car: Car, others: list) -> list:
    """Those of `others` whose shape meets the lane of the car's width along the rest of its rail."""
    if not others:
        return []
    ahead = car.rail.ahead(car.progress_m)
    centers = np.array([other.pose[:2] for other in others])
    reach = np.array([other.reach_m for other in others]) + car.reach_aside_m
    squares = ((ahead[:, None] - centers) ** 2).sum(axis=-1).min(axis=0)
    near = [others[i] for i in np.flatnonzero(squares <= reach**2)]
    if not near:
        return []
    line = shapely.linestrings(ahead)
    near = [other for other in near if shapely.dwithin(line, other.shape, car.lwh_m[1] / 2 + TOLERANCE_M)]
    if not near:
        return []
    lane = line.buffer(car.lwh_m[1] / 2, cap_style="flat")
    return [other for other in near if shapely.intersects(lane, other.shape)]
