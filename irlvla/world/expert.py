"""The human driver of the logs: SUMO's ego, made comfortable.

SUMO decides where and when; its raw motion breaks comfort limits. The path is smoothed along its length,
then the motion on it is re-timed by a quadratic programme with bounded acceleration and jerk

    min  sum |s - s_sumo|^2 + 0.4 |a|^2 + 0.3 |j|^2    (plus slack penalties)
    s.t. s' = v, v' = a, a' = j,  0 <= v <= sqrt(A_LATERAL / curvature),  s <= what leader and stop line leave.
"""

from dataclasses import dataclass

import clarabel
import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter1d

from irlvla.geometry import Array
from irlvla.vehicle import REAR_AXLE_TO_CENTER_M, REAR_AXLE_TO_FRONT_M

STEP_S = 0.1
PATH_SPACING_M = 0.25
PATH_SMOOTHING_M = 1.6  # standard deviation of the Gaussian along the path
LATERAL_ACCELERATION = 2.4  # [m/s2]
YAW_RATE = 0.5  # [rad/s]; EPDMS starts every plan with straight wheels, so fast tight turns run wide
WEIGHT_ACCELERATION, WEIGHT_JERK = 0.4, 0.3
SLACK_COST = 200.0


@dataclass(frozen=True)
class Manner:
    """How a driver uses the pedals."""

    acceleration_mps2: tuple[float, float]  # least and greatest
    jerk_mps3: float
    smoothing: float = 1.0  # factor of the prices of acceleration and jerk


ACCELERATION = (-3.0, 1.8)  # [m/s2], well inside EPDMS' -4.05 ... 2.40
JERK = 2.4  # [m/s3]; EPDMS allows 4.13
CALM = Manner(ACCELERATION, JERK)
BRISK = Manner((-3.0, 3.0), 4.0)  # a few starts and stops leave them, so that every command occurs
HARD = Manner((-6.5, 1.8), 10.0, smoothing=0.15)


@dataclass(frozen=True)
class Track:
    """The ego at 10 Hz: rear axle in the global frame, K states."""

    poses: Array  # (K, 3)
    speed_mps: Array  # (K,)
    acceleration_mps2: Array  # (K,) along the heading
    curvature: Array  # (K,) [1/m]

    def velocity(self, k: int) -> Array:
        """(2,) ego axes; the rear axle does not slip."""
        return np.array([self.speed_mps[k], 0.0])

    def acceleration(self, k: int) -> Array:
        """(2,) ego axes."""
        return np.array([self.acceleration_mps2[k], self.curvature[k] * self.speed_mps[k] ** 2])


@dataclass(frozen=True)
class Path:
    """A smooth line by arc length: rows of x, y, heading (unwrapped), curvature every PATH_SPACING_M or so."""

    distance: Array  # (P,)
    xy: Array  # (P, 2)
    heading: Array  # (P,)
    curvature: Array  # (P,)

    def at(self, distance: Array) -> tuple[Array, Array]:
        """Poses (K, 3) and curvature (K,)."""
        columns = (self.xy[:, 0], self.xy[:, 1], self.heading)
        poses = np.column_stack([np.interp(distance, self.distance, column) for column in columns])
        return poses, np.interp(distance, self.distance, self.curvature)


def smooth_path(front_xy: Array, heading_rad: Array) -> tuple[Path, Array]:
    """Rear-axle path of a car whose box centre follows the line of the front bumpers (K, 2); each moment's distance.

    The line goes on straight for 30 m beyond both ends. The rear axle is dragged behind the centre (a tractrix), so
    the heading is its tangent: no side slip.
    """
    step = np.linalg.norm(np.diff(front_xy, axis=0), axis=1)
    moving = np.append(True, step > 1e-4)
    raw = np.append(0, np.cumsum(step))
    beyond = 30.0
    first, last = (np.array([np.cos(h), np.sin(h)]) for h in (heading_rad[0], heading_rad[-1]))
    xy = np.vstack([front_xy[0] - beyond * first, front_xy[moving], front_xy[-1] + beyond * last])
    along = np.concatenate([[0], raw[moving] + beyond, [raw[-1] + 2 * beyond]])
    grid = np.arange(0, along[-1], PATH_SPACING_M)
    even = np.column_stack([np.interp(grid, along, xy[:, axis]) for axis in range(2)])
    center = gaussian_filter1d(even, PATH_SMOOTHING_M / PATH_SPACING_M, axis=0, mode="nearest", truncate=5)
    trim = int(10 / PATH_SPACING_M)  # the ends shrink under the filter
    rear = dragged(center, REAR_AXLE_TO_CENTER_M)[trim:-trim]
    tangent = np.gradient(rear, axis=0)
    heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    distance = np.append(0, np.cumsum(np.linalg.norm(np.diff(rear, axis=0), axis=1)))
    path = Path(distance, rear, heading, np.gradient(heading, distance))
    behind = REAR_AXLE_TO_FRONT_M - REAR_AXLE_TO_CENTER_M
    return path, np.interp(raw + beyond - behind, grid[trim:-trim], distance)


def dragged(line: Array, length_m: float) -> Array:
    """Points (P, 2) pulled along `line` (P, 2) on a rod of `length_m`: the tractrix."""
    first = line[1] - line[0]
    tail = line[0] - length_m * first / np.linalg.norm(first)
    tails = []
    for head in line:
        rod = head - tail
        tail = head - length_m * rod / np.linalg.norm(rod)
        tails.append(tail)
    return np.array(tails)


def retime(
    wanted: Array, speed_start: float, speed_limit: Array, furthest: Array, manner: Manner = CALM
) -> tuple[Array, Array, Array]:
    """Distance, speed, acceleration (K,) at 10 Hz that follow `wanted` (K,) within the bounds.

    `speed_limit` and `furthest` (K,) are soft (with a high price), so a solution always exists.
    Raises RuntimeError if the solver fails.
    """
    n, base = len(wanted), wanted[0]
    # Variables: s, v, a, j, slack of the speed limit, slack of the distance limit; each at n moments.
    smooth = manner.smoothing
    weights = (1.0, 0.0, smooth * WEIGHT_ACCELERATION, smooth * WEIGHT_JERK, SLACK_COST, SLACK_COST)
    P = 2 * sp.diags(np.repeat(weights, n), format="csc")
    q = np.concatenate([-2 * (wanted - base), np.zeros(5 * n)])
    start = sp.csr_matrix((np.ones(2), ([0, 1], [0, n])), shape=(2, 6 * n))
    bounds, limits = _bounds(n, speed_limit, furthest - base, manner)
    A = sp.vstack([_dynamics(n), start, bounds], format="csc")
    b = np.concatenate([np.zeros(3 * (n - 1)), [0, speed_start], limits])
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    cones = [clarabel.ZeroConeT(3 * (n - 1) + 2), clarabel.NonnegativeConeT(7 * n)]
    solution = clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()
    if str(solution.status) not in ("Solved", "AlmostSolved"):
        raise RuntimeError(f"re-timing failed: {solution.status}")
    s, v, a = np.array(solution.x).reshape(6, n)[:3]
    return np.maximum.accumulate(s) + base, np.maximum(v, 0), a


def _dynamics(n: int) -> sp.spmatrix:
    """Rows that are zero where s, v, a follow from a jerk held for one step."""
    dt, eye = STEP_S, sp.eye(n, format="csr")
    now, after, none = eye[:-1], eye[1:], sp.csr_matrix((n - 1, n))
    return sp.vstack([
        sp.hstack([now - after, dt * now, dt**2 / 2 * now, dt**3 / 6 * now, none, none]),
        sp.hstack([none, now - after, dt * now, dt**2 / 2 * now, none, none]),
        sp.hstack([none, none, now - after, dt * now, none, none]),
    ])  # fmt: skip


def _bounds(n: int, speed_limit: Array, furthest: Array, manner: Manner) -> tuple[sp.spmatrix, Array]:
    """Rows A and values b of A x <= b."""
    eye, zero, ones = sp.eye(n, format="csr"), sp.csr_matrix((n, n)), np.ones(n)
    rows = sp.vstack([
        sp.hstack([zero, -eye, zero, zero, zero, zero]),
        sp.hstack([zero, eye, zero, zero, -eye, zero]),
        sp.hstack([eye, zero, zero, zero, zero, -eye]),
        sp.hstack([zero, zero, eye, zero, zero, zero]),
        sp.hstack([zero, zero, -eye, zero, zero, zero]),
        sp.hstack([zero, zero, zero, eye, zero, zero]),
        sp.hstack([zero, zero, zero, -eye, zero, zero]),
    ])  # fmt: skip
    slowest, fastest = manner.acceleration_mps2
    jerk = manner.jerk_mps3 * ones
    values = [0 * ones, speed_limit, furthest, fastest * ones, -slowest * ones, jerk, jerk]
    return rows, np.concatenate(values)


def comfortable_track(
    front_xy: Array, heading_rad: Array, speed_mps: Array, allowed_mps: Array, room_m: Array, manner: Manner = CALM
) -> Track:
    """Expert of SUMO's raw motion (K states at 10 Hz).

    `allowed_mps` (K,) is the speed limit, `room_m` (K,) how much further the car could be at each moment.
    """
    path, wanted = smooth_path(front_xy, heading_rad)
    distance = wanted
    for _ in range(2):  # the curvature is met where the re-timed car is, not where SUMO's was
        ahead = [path.at(distance + d)[1] for d in (-1.0, 0.0, 1.0, 2.0)]
        curvature = np.maximum(np.max(np.abs(ahead), axis=0), 1e-3)
        limit = np.minimum(np.sqrt(LATERAL_ACCELERATION / curvature), YAW_RATE / curvature)
        limit = np.minimum(limit, np.maximum(allowed_mps, speed_mps))
        distance, speed, acceleration = retime(wanted, speed_mps[0], limit, wanted + room_m, manner)
    poses, curvature = path.at(distance)
    return Track(poses, speed, acceleration, curvature)
