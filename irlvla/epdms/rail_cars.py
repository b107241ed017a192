"""A car on its rail: where it is, what others see of it, and its next step by the intelligent driver model (IDM)."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from math import cos, pi, sin, sqrt

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla.epdms.path import Path
from irlvla.epdms.states import STEP_S

Array = NDArray[np.float64]

MIN_GAP_M, HEADWAY_S, EXPONENT = 1.0, 1.5, 4
MAX_ACCELERATION_MPS2, MAX_DECELERATION_MPS2 = 1.0, 2.0
SIMPLIFY_M = 1e-5
TOLERANCE_M = 1e-6  # of tests that only leave out what is too far


class Car:
    """A car on its rail. `shape` is what others see: its box and the strip of rail that it covers in the headway."""

    def __init__(self, track: int, rail: "Rail", lwh_m: Array, progress_m: float, speed_mps: float, target_mps: float):
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
        return shapely.union(covered, box_polygon(self.pose, *self.lwh_m[:2])).simplify(SIMPLIFY_M)

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
class Rail:
    """A centreline, and what is known of the cars on it, by their keys: shapes, and whether others are in their way."""

    path: Path
    shapes: dict[tuple[float, ...], shapely.Geometry] = field(default_factory=dict)
    meetings: dict[tuple[tuple[float, ...], tuple[float, ...]], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, centerline: Array) -> "Rail":
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


def box_polygon(pose: tuple[float, float, float] | Array, length_m: float, width_m: float) -> shapely.Polygon:
    """As `forecast.box_polygons`, for one box."""
    x, y, heading = pose
    ahead_x, ahead_y = length_m / 2 * cos(heading), length_m / 2 * sin(heading)
    left_x, left_y = width_m / 2 * cos(heading + pi / 2), width_m / 2 * sin(heading + pi / 2)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return shapely.polygons([(x + (b * left_x + a * ahead_x), y + (b * left_y + a * ahead_y)) for a, b in signs])
