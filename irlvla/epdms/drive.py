"""From plans to driven states: an LQR tracker and a kinematic bicycle, 40 steps of 0.1 s.

The controller is nuPlan's: reference speed and curvature profiles are fitted to the whole plan once; then, at each
step, one-step LQRs for acceleration and steering rate. Everything is relative to the ego's start position, so that
UTM coordinates do not cost digits.

Legend: N plans, S = 41 states, K = 40 displacements between them.
"""

from functools import cache
from math import atan2, cos, pi, sin, tan

import numpy as np
from numba import njit
from numpy.typing import NDArray

from irlvla import PLAN_INTERVAL_S, PLAN_POSES
from irlvla.epdms.states import NUM_COLUMNS, NUM_STATES, STEP_S, check
from irlvla.geometry import global_from_local
from irlvla.vehicle import WHEEL_BASE_M

Array = NDArray[np.float64]

JERK_PENALTY = 1e-4
CURVATURE_RATE_PENALTY = 1e-2
INITIAL_CURVATURE_PENALTY = 1e-10
HORIZON = 10  # steps the controller looks ahead
SPEED_WEIGHT, ACCELERATION_WEIGHT = 10.0, 1.0
LATERAL_WEIGHT, HEADING_WEIGHT, STEERING_RATE_WEIGHT = 1.0, 10.0, 1.0
STOPPING_SPEED_MPS = 0.2
STOPPING_GAIN = 0.5
ACCELERATION_LAG_S = 0.2
STEERING_LAG_S = 0.05
MAX_STEERING_RAD = pi / 3


def simulate(plans: Array, ego_state: Array) -> Array:
    """Drive plans (N, 8, 3) (ego frame, 2 Hz) from `ego_state` (11,); returns states (N, 41, 11), global frame.

    Raises ValueError naming the field for a wrong shape or a value that is not finite.
    """
    plans = check("plans", plans, (None, PLAN_POSES, 3))
    ego_state = check("ego_state", ego_state, (NUM_COLUMNS,))
    knots = _with_start(plans, ego_state[2])  # (N, 9, 3)
    steps_per_pose = round(PLAN_INTERVAL_S / STEP_S)
    step = np.arange(NUM_STATES)
    left = np.minimum(step // steps_per_pose, PLAN_POSES - 1)
    fraction = (step / steps_per_pose - left)[:, None]
    poses = knots[:, left] + fraction * (knots[:, left + 1] - knots[:, left])
    return _drive(poses, ego_state)


def simulate_10hz(plans: Array, ego_state: Array) -> Array:
    """Drive plans (N, 40, 3) or, with a start pose of their own, (N, 41, 3), given at 10 Hz in the ego frame.

    PDM-Closed proposals start on their path, not at the ego: they have 41 poses. Otherwise as `simulate`.
    """
    has_start = np.ndim(plans) == 3 and np.shape(plans)[1] == NUM_STATES
    plans = check("plans", plans, (None, NUM_STATES - 1 + has_start, 3))
    ego_state = check("ego_state", ego_state, (NUM_COLUMNS,))
    knots = _with_start(plans, ego_state[2])
    return _drive(knots[:, 1:] if has_start else knots, ego_state)


def _with_start(plans: Array, heading: float) -> Array:
    """Plans (N, L, 3) in global axes, origin at the ego, its pose in front; headings unwrapped."""
    start = np.array([0.0, 0.0, heading])
    poses = global_from_local(start, plans)
    poses = np.concatenate([np.broadcast_to(start, (len(plans), 1, 3)), poses], axis=1)
    poses[..., 2] = np.unwrap(poses[..., 2], axis=1)
    return poses


def _drive(poses: Array, ego_state: Array) -> Array:
    """Track `poses` (N, 41, 3), global axes, metres from the ego's start; returns global states."""
    states = np.empty((len(poses), NUM_STATES, NUM_COLUMNS))
    states[:, 0] = ego_state
    states[:, 0, :2] = 0.0
    moves = np.diff(poses, axis=1)
    along = moves[..., 0] * np.cos(poses[:, :-1, 2]) + moves[..., 1] * np.sin(poses[:, :-1, 2])
    speeds = along @ _speed_from_displacement().T
    _track(np.ascontiguousarray(poses), speeds, states)
    states[..., :2] += ego_state[:2]
    return states


@cache
def _speed_from_displacement() -> Array:
    """(K, K) matrix from displacements along the heading to the fitted speed profile.

    Least squares over the initial speed v0 and accelerations a: |p - dt v|^2 + JERK_PENALTY |R a|^2 with
    v_i = v0 + dt sum_{j<i} a_j. The headings drop out (cos^2 + sin^2 = 1), so one matrix serves all plans.
    R is meant to take differences, but the official code overwrites all its +1 entries except the last one:
    in effect the accelerations themselves are penalised, and only the last row is a difference.
    """
    size = NUM_STATES - 1
    integrate = np.tri(size) * STEP_S
    integrate[:, 0] = 1.0  # speeds from (v0, a)
    displacement = STEP_S * integrate
    penalised = -np.eye(size)[1:-1]  # (K - 2, K) on (v0, a)
    penalised[-1, -1] = 1.0
    normal = displacement.T @ displacement + JERK_PENALTY * penalised.T @ penalised
    return integrate @ np.linalg.solve(normal, displacement.T)


@njit(cache=True)
def _wrap(angle: float) -> float:
    return atan2(sin(angle), cos(angle))


@njit(cache=True)
def _fit_curvature(poses: Array, speeds: Array, curvature: Array) -> None:
    """Curvature profile (K,) of one plan: min sum (dh_i - dt v_i c_i)^2 + penalties, dh the heading displacements.

    In the curvatures themselves (not in initial value and rates) the normal equations are tridiagonal.
    """
    size = len(curvature)
    smooth = CURVATURE_RATE_PENALTY / STEP_S**2
    upper = np.empty(size)
    for i in range(size):
        gain = STEP_S * speeds[i]
        diagonal = gain * gain
        if i == 0:
            diagonal += INITIAL_CURVATURE_PENALTY
        else:
            diagonal += smooth
        if i < size - 1:
            diagonal += smooth
        value = gain * _wrap(poses[i + 1, 2] - poses[i, 2])
        if i > 0:  # eliminate the lower diagonal (-smooth)
            diagonal += smooth * upper[i - 1]
            value += smooth * curvature[i - 1]
        upper[i] = -smooth / diagonal
        curvature[i] = value / diagonal
    for i in range(size - 2, -1, -1):
        curvature[i] -= upper[i] * curvature[i + 1]


@njit(cache=True)
def _steering_rate(
    lateral: float, heading: float, steering: float, speed: float, acceleration: float, curvature: Array, i: int
) -> float:
    """One-step LQR over the lateral error, heading error and steering angle, HORIZON steps ahead.

    x_end = A x + B u + g with A = [[1, a01, a02], [0, 1, a12], [0, 0, 1]], u held constant.
    """
    a01 = a02 = a12 = b0 = b1 = b2 = g0 = g1 = 0.0
    last = len(curvature) - 1
    for k in range(HORIZON):
        move = (speed + k * acceleration * STEP_S) * STEP_S
        turn = move / WHEEL_BASE_M
        a01, a02, a12 = a01 + move, a02 + move * a12, a12 + turn
        b0, b1, b2 = b0 + move * b1, b1 + turn * b2, b2 + STEP_S
        g0, g1 = g0 + move * g1, g1 - move * curvature[min(i + k, last)]
    lateral_end = lateral + a01 * heading + a02 * steering + g0
    heading_end = _wrap(heading + a12 * steering + g1)
    gain = LATERAL_WEIGHT * b0 * b0 + HEADING_WEIGHT * b1 * b1 + STEERING_RATE_WEIGHT
    return -(LATERAL_WEIGHT * b0 * lateral_end + HEADING_WEIGHT * b1 * heading_end) / gain


@njit(cache=True)
def _track(poses: Array, speeds: Array, states: Array) -> None:
    """Fill states[:, 1:] (columns of `states.py`) of all plans; speeds (N, K) is the fitted profile."""
    size = speeds.shape[1]
    curvature = np.empty(size)
    look_ahead_s = HORIZON * STEP_S
    speed_gain = look_ahead_s * SPEED_WEIGHT / (look_ahead_s * SPEED_WEIGHT * look_ahead_s + ACCELERATION_WEIGHT)
    for n in range(len(poses)):
        _fit_curvature(poses[n], speeds[n], curvature)
        for i in range(size):
            x, y, heading, speed = states[n, i, 0], states[n, i, 1], states[n, i, 2], states[n, i, 3]
            acceleration, steering = states[n, i, 5], states[n, i, 7]
            reference = speeds[n, min(i + HORIZON, size - 1)]
            if reference <= STOPPING_SPEED_MPS and speed <= STOPPING_SPEED_MPS:
                acceleration_command = -STOPPING_GAIN * (speed - reference)
                rate_command = 0.0
            else:
                acceleration_command = -speed_gain * (speed - reference)
                target = poses[n, i, 2]
                lateral = -(x - poses[n, i, 0]) * sin(target) + (y - poses[n, i, 1]) * cos(target)
                rate_command = _steering_rate(
                    lateral, _wrap(heading - target), steering, speed, acceleration_command, curvature, i
                )
            acceleration += STEP_S / (STEP_S + ACCELERATION_LAG_S) * (acceleration_command - acceleration)
            rate = STEP_S / (STEP_S + STEERING_LAG_S) * rate_command
            new_steering = min(max(steering + rate * STEP_S, -MAX_STEERING_RAD), MAX_STEERING_RAD)
            new_speed = speed + acceleration * STEP_S
            yaw_rate = new_speed * tan(new_steering) / WHEEL_BASE_M
            state = states[n, i + 1]
            state[0] = x + speed * cos(heading) * STEP_S
            state[1] = y + speed * sin(heading) * STEP_S
            state[2] = _wrap(heading + speed * tan(steering) / WHEEL_BASE_M * STEP_S)
            state[3], state[4] = new_speed, 0.0
            state[5], state[6] = acceleration, 0.0
            state[7], state[8] = new_steering, rate
            state[9] = yaw_rate
            state[10] = (yaw_rate - states[n, i, 9]) / STEP_S
