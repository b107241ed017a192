"""A way beside a recorded path: out to another place within a plan's time, and smoothly back.

left [m]         _____
             .--'     '--.            two quintics in the distance along the path
____________/             \\__________ path
         begin    turn     end
"""

from dataclasses import dataclass

import numpy as np

from irlvla.geometry import Array
from irlvla.world.expert import LATERAL_ACCELERATION, YAW_RATE, Track

SPACING_M = 0.25
BACK_JERK = 4.0  # [m/s3] sideways, on the way back
BACK_CURVATURE = 0.08  # [1/m]
BRAKE_BEFORE_BENDS = 1.2  # [m/s2]
FASTEST_MPS = 30.0


@dataclass(frozen=True)
class Detour:
    """Rows every SPACING_M of the recorded path."""

    distance: Array  # (P,) along the recorded path
    poses: Array  # (P, 3) rear axle, heading unwrapped
    limit_mps: Array  # (P,) at which every bend ahead can still be taken

    def pose(self, s: float) -> Array:
        """(3,) at distance `s` along the recorded path."""
        return np.array([np.interp(s, self.distance, column) for column in self.poses.T])

    def limit(self, s: float) -> float:
        return float(np.interp(s, self.distance, self.limit_mps))


def travelled(track: Track) -> Array:
    """(K,) distance along the path at each state."""
    return np.append(0, np.cumsum(np.linalg.norm(np.diff(track.poses[:, :2], axis=0), axis=1)))


def detour(track: Track, begin_m: float, turn_m: float, left_m: float, heading_rad: float, speed_mps: float) -> Detour:
    """The path of a track with a detour that is `left_m` beside it at `turn_m`, at `heading_rad` to it.

    It leaves the path at `begin_m`; `speed_mps` is that at the turn, the faster the longer is the way back.
    """
    moved = travelled(track)
    keep = np.append(True, np.diff(moved) > 1e-6)
    distance = np.arange(begin_m, moved[-1], SPACING_M)
    x, y, heading = (np.interp(distance, moved[keep], column) for column in track.poses[keep].T)
    slope = np.tan(heading_rad)
    out_m, back_m = max(turn_m - begin_m, 1.0), way_back_m(left_m, slope, speed_mps)
    out, back = quintic(out_m, (0.0, 0.0), (left_m, slope)), quintic(back_m, (left_m, slope), (0.0, 0.0))
    legs = [distance < turn_m, distance < turn_m + back_m]
    value = np.polynomial.polynomial.polyval
    left, left_slope = (
        np.select(legs, [value(distance - begin_m, first), value(distance - turn_m, second)])
        for first, second in ((out, back), (_slope(out), _slope(back)))
    )
    bend = np.gradient(heading, distance)
    along = heading + np.arctan2(left_slope, 1 - bend * left)
    poses = np.column_stack([x - left * np.sin(heading), y + left * np.cos(heading), along])
    return Detour(distance, poses, _speed_limit(distance, np.gradient(along, distance)))


def way_back_m(left_m: float, slope: float, speed_mps: float) -> float:
    """Length of a quintic from there to the path whose sideways jerk and curvature stay in bounds.

    A quintic over the length L has at most 60 d / L^3 as third and 5.8 d / L^2 as second derivative from an offset d,
    and 36 h / L^2 and 4 h / L from a slope h.
    """
    jerk = BACK_JERK / max(speed_mps, 1.0) ** 3
    offset, slope = abs(left_m), abs(slope)
    return max(
        np.cbrt(60 * offset / jerk), np.sqrt(36 * slope / jerk),
        np.sqrt(5.8 * offset / BACK_CURVATURE), 4 * slope / BACK_CURVATURE, 4.0,
    )  # fmt: skip


def quintic(length: float, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Coefficients (6,) of offset over 0 ... length with (offset, slope) at both ends and no curvature there."""
    powers = np.arange(6)
    rows = [np.zeros(6) for _ in range(6)]
    for row, x in ((0, 0.0), (3, length)):
        rows[row] = x**powers
        rows[row + 1] = powers * x ** np.maximum(powers - 1, 0)
        rows[row + 2] = powers * (powers - 1) * x ** np.maximum(powers - 2, 0)
    return np.linalg.solve(np.array(rows), [start[0], start[1], 0.0, end[0], end[1], 0.0])


def _slope(coefficients: Array) -> Array:
    return np.polynomial.polynomial.polyder(coefficients)


def _speed_limit(distance: Array, curvature: Array) -> Array:
    """What the bends allow, lowered before them so that braking stays gentle."""
    bend = np.maximum(np.abs(curvature), 1e-4)
    limit = np.minimum(np.minimum(np.sqrt(LATERAL_ACCELERATION / bend), YAW_RATE / bend), FASTEST_MPS)
    for i in range(len(limit) - 2, -1, -1):
        braking = 2 * BRAKE_BEFORE_BENDS * (distance[i + 1] - distance[i])
        limit[i] = min(limit[i], np.sqrt(limit[i + 1] ** 2 + braking))
    return limit
