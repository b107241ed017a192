"""Reactive traffic: cars on rails that brake for the ego and for each other (intelligent driver model, IDM).

Each car of the present frame is moved onto the centreline of its lane and follows it to its end. Pedestrians,
bicycles and objects replay the log, and no car sees them; nor do cars see red lights. These, and the ego box that
stands 1.461 m too far back and one step late, are properties of the official evaluation, which this reproduces.
(Its rule that a car does not see another whose token is part of its own is left out: tokens of one length never are.)
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import cos, hypot, pi, sin, sqrt

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import vehicle
from irlvla.epdms.context import Rails, ScoringContext
from irlvla.epdms.drive import simulate
from irlvla.epdms.forecast import box_polygons
from irlvla.epdms.path import Path
from irlvla.epdms.scores import Columns, Scores, score_human, score_plans
from irlvla.epdms.states import HEADING, STEP_S, VX, VY, EgoBoxes

Array = NDArray[np.float64]

DEFAULT_TARGET_MPS = 10.0
MIN_GAP_M, HEADWAY_S, EXPONENT = 1.0, 1.5, 4
MAX_ACCELERATION_MPS2, MAX_DECELERATION_MPS2 = 1.0, 2.0
RADIUS_M = 100.0  # cars farther from the ego leave the simulation
SNAP_M = 3.0  # cars farther from their rail are not simulated
PARKED_SPEED_MPS = 0.1
SIMPLIFY_M = 1e-5
TOLERANCE_M = 1e-6  # of tests that only leave out what is too far


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


class _Car:
    """A car on its rail. `shape` is what others see: its box and the strip of rail that it covers in the headway."""

    def __init__(self, track: int, rail: "_Rail", lwh_m: Array, progress_m: float, speed_mps: float, target_mps: float):
        self.track, self.rail, self.lwh_m, self.target_mps = track, rail, lwh_m, target_mps
        self.progress_m, self.speed_mps = progress_m, speed_mps
        self.pose = rail.pose(progress_m)
        self.shape_or_none: shapely.Geometry | None = None
        self.key: tuple[float, ...] = (track,)  # cars of a scene with the same key are at one place, with one shape

    @property
    def reach_m(self) -> float:
        """No part of `shape` is farther from the car's centre."""
        return self.lwh_m[0] / 2 + self.lwh_m[1] + HEADWAY_S * self.speed_mps

    @property
    def reach_aside_m(self) -> float:
        """No point of the lane along the rest of the rail is farther from the rail's next vertex."""
        return (self.lwh_m[1] + self.rail.max_step_m) / 2 + TOLERANCE_M

    @property
    def shape(self) -> shapely.Geometry:
        if self.shape_or_none is None:
            known = self.rail.shapes
            self.shape_or_none = known[self.key] = known.get(self.key) or self._shape()
        return self.shape_or_none

    def _shape(self) -> shapely.Geometry:
        half = self.lwh_m[0] / 2
        strip = self.rail.between(self.progress_m - half, self.progress_m + half + HEADWAY_S * self.speed_mps)
        covered = strip.buffer(self.lwh_m[1] / 2, cap_style="flat")
        return shapely.union(covered, _box(self.pose, *self.lwh_m[:2])).simplify(SIMPLIFY_M)

    def advance(self, gap_m: float, leader_mps: float) -> None:
        """One Euler step of IDM behind a leader `gap_m` ahead that moves with `leader_mps` along this car's heading."""
        speed = self.speed_mps
        closing = speed * (speed - leader_mps) / (2 * sqrt(MAX_ACCELERATION_MPS2 * MAX_DECELERATION_MPS2))
        wanted = MIN_GAP_M + speed * HEADWAY_S + closing
        free = 1 - (speed / self.target_mps) ** EXPONENT
        acceleration = MAX_ACCELERATION_MPS2 * (free - (wanted / max(gap_m, MIN_GAP_M)) ** 2)
        acceleration = min(max(acceleration, -MAX_DECELERATION_MPS2), MAX_ACCELERATION_MPS2)
        self.progress_m += STEP_S * speed
        self.speed_mps = max(speed + STEP_S * acceleration, 0.0)
        self.pose = self.rail.pose(self.progress_m)
        self.shape_or_none = None
        self.key = (self.track, self.progress_m, self.speed_mps)


@dataclass(frozen=True)
class _Rail:
    """A centreline, and what is known of the cars on it, by their keys: shapes, and whether others are in their way."""

    path: Path
    shapes: dict[tuple[float, ...], shapely.Geometry] = field(default_factory=dict)
    meetings: dict[tuple[tuple[float, ...], tuple[float, ...]], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, centerline: Array) -> "_Rail":
        """The rail of a centreline: without its last vertex, as in the official code, and without doubled ones."""
        moves = np.linalg.norm(np.diff(centerline[:, :2], axis=0), axis=1)
        kept = np.flatnonzero(~np.isclose(moves, 0.0))
        return cls(Path(centerline[kept] if len(kept) > 1 else centerline))

    @cached_property
    def _bounds(self) -> list[float]:
        xy = self.path.poses[:, :2]
        return [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()]

    def is_near(self, point: Array, distance_m: float) -> bool:
        """False if every vertex is farther from the point (2,), by the box around the rail."""
        (x, y), (left, low, right, high) = point.tolist(), self._bounds
        return left - distance_m <= x <= right + distance_m and low - distance_m <= y <= high + distance_m

    @cached_property
    def max_step_m(self) -> float:
        return float(np.diff(self.path.progress_m).max())

    @cached_property
    def _columns(self) -> tuple[list[float], ...]:
        """Distance, x, y and unwrapped heading of the vertices, as lists: single numbers come faster out of them."""
        return (
            self.path.progress_m.tolist(),
            *self.path.poses[:, :2].T.tolist(),
            np.unwrap(self.path.poses[:, 2]).tolist(),
        )

    def pose(self, progress_m: float) -> tuple[float, float, float]:
        """x, y, heading (wrapped) at a distance, which is clamped to the rail's ends."""
        progress, x, y, heading = self._columns
        progress_m = min(max(progress_m, 0.0), progress[-1])
        i = min(bisect_right(progress, progress_m), len(progress) - 1)
        share = (progress_m - progress[i - 1]) / (progress[i] - progress[i - 1])
        angle = heading[i - 1] + share * (heading[i] - heading[i - 1])
        return x[i - 1] + share * (x[i] - x[i - 1]), y[i - 1] + share * (y[i] - y[i - 1]), (angle + pi) % (2 * pi) - pi

    def ahead(self, progress_m: float) -> Array:
        """(P, 2) vertices of the rest of the rail, the present point first."""
        following = bisect_right(self._columns[0], progress_m)
        if following == len(self.path.poses):
            return self.path.poses[-2:, :2]
        return np.concatenate([[self.pose(progress_m)[:2]], self.path.poses[following:, :2]])

    def between(self, start_m: float, end_m: float) -> shapely.LineString:
        """The rail between two distances, which are clamped to its ends."""
        progress = self._columns[0]
        start_m, end_m = max(start_m, 0.0), min(max(end_m, 0.0), progress[-1])
        first, last = bisect_right(progress, start_m), bisect_left(progress, end_m)
        if first == len(progress):
            return shapely.linestrings(self.path.poses[-2:, :2])
        if last == 0:
            return shapely.linestrings(self.path.poses[:2, :2])
        start, end = self.pose(start_m)[:2], self.pose(end_m)[:2]
        return shapely.linestrings(np.concatenate([[start], self.path.poses[first:last, :2], [end]]))


def _box(pose: tuple[float, float, float] | Array, length_m: float, width_m: float) -> shapely.Polygon:
    """As `box_polygons`, for one box."""
    x, y, heading = pose
    ahead_x, ahead_y = length_m / 2 * cos(heading), length_m / 2 * sin(heading)
    left_x, left_y = width_m / 2 * cos(heading + pi / 2), width_m / 2 * sin(heading + pi / 2)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return shapely.polygons([(x + (b * left_x + a * ahead_x), y + (b * left_y + a * ahead_y)) for a, b in signs])


@lru_cache(maxsize=1)
def _lines(rails: Rails) -> list[_Rail]:
    """The rails, kept for the next plan of the scene: cars that the ego does not disturb do the same again."""
    return [_Rail.of(rails.xyh[start:end]) for start, end in zip(rails.offsets, rails.offsets[1:], strict=False)]


def _start_cars(context: ScoringContext) -> list[_Car]:
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
        car = _Car(track, rail, context.track_lwh[track], rails.start_progress_m[track], speed, target_mps)
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


def _standing(context: ScoringContext, parked: NDArray[np.int64], cars: list[_Car]) -> list[int]:
    """Those of the parked cars that touch no simulated car and no parked one before them."""
    simulated = {car.track for car in cars}
    parked = [track for track in parked if track not in simulated]
    if not parked:
        return []
    boxes = [_box(car.pose, *car.lwh_m[:2]) for car in cars]
    standing = []
    for track in parked:
        box = _box(context.track_states[0, track, :3], *context.track_lwh[track, :2])
        if not shapely.intersects(boxes, box).any():
            standing.append(track)
            boxes.append(box)
    return standing


def _leader(car: _Car, cars: list[_Car], ego: _Ego) -> tuple[float, float]:
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


def _meeting(car: _Car, others: list) -> list:
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
