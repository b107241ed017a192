"""A route of the closed loop: what defines it, and where the ego is along its line. `route_suite.py` holds many."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPACING_M = 1.0
SEARCH_POINTS = 10  # points ahead that one tick may pass; in 0.1 s a car in town passes fewer


@dataclass(frozen=True)
class RouteSpec:
    """A route by what makes it: town and seed fix its start, its way and its traffic."""

    id: str
    town: str
    scenario: str  # of `world.scenarios.SCENARIOS`: first manoeuvre and what is scripted
    seed: int
    length_m: float


@dataclass(frozen=True)
class RouteLine:
    """P points one metre apart from the ego's start to the goal."""

    points: Array  # (P, 3) x, y, heading, global

    @classmethod
    def along(cls, line: Array) -> "RouteLine":
        """Even points along a polyline (n, 2 or more columns)."""
        steps = np.hypot(*np.diff(line[:, :2], axis=0).T)
        keep = np.concatenate([[True], steps > 1e-6])
        stations = np.concatenate([[0.0], np.cumsum(steps[keep[1:]])])
        wanted = np.arange(np.floor(stations[-1] / SPACING_M) + 1) * SPACING_M
        xy = np.stack([np.interp(wanted, stations, line[keep, axis]) for axis in range(2)], axis=-1)
        heading = np.arctan2(*np.diff(xy, axis=0).T[::-1])
        return cls(np.column_stack([xy, np.append(heading, heading[-1])]))

    @property
    def length_m(self) -> float:
        return (len(self.points) - 1) * SPACING_M

    @property
    def goal(self) -> Array:
        """(2,) the last point."""
        return self.points[-1, :2]

    @cached_property
    def directions(self) -> Array:
        """(P, 2) unit vectors along the line."""
        return np.stack([np.cos(self.points[:, 2]), np.sin(self.points[:, 2])], axis=-1)

    def advance(self, index: int, xy: Array) -> int:
        """Index of the last point that `xy` (2,) has passed, given the one passed before; it never decreases."""
        ahead = slice(index, index + SEARCH_POINTS + 1)
        passed = ((xy - self.points[ahead, :2]) * self.directions[ahead]).sum(axis=1) > 0
        return index + int(np.flatnonzero(passed)[-1]) if passed.any() else index

    def distance_m(self, xy: Array) -> float:
        """Distance of `xy` (2,) to the nearest point."""
        return float(np.hypot(*(self.points[:, :2] - xy).T).min())
