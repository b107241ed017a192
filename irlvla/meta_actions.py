"""Meta actions: the 13 speed and 9 path commands of the paper, as numeric rules on a future trajectory.

The paper names the commands and gives no numbers; the rules here are our choice (docs/choices.md). A rule sees the
plan and the present speed only, no map. In each table the first rule that holds gives the command; the last one
always holds, so every plan has exactly one speed and one path command.

Speed. v_0 is the present speed, v_1 ... v_T the mean speeds of the plan's intervals, taken at their middles
(0.25, 0.75, ... 3.75 s). A straight line through these T + 1 points has slope a and coefficient of determination R2.
A 1 s acceleration is the difference of two speeds two samples apart over their time.

    1  Emergency Decel       a 1 s acceleration <= -4.05 m/s2
    2  Full Stop             v_T < 0.5 m/s
    3  Creeping              every v < 2 m/s
    4  Aggressive Accel      a 1 s acceleration >= 2.4 m/s2
    5  Constant Speed Strict max v - min v < 1 m/s
    6  Constant Speed Loose  |a| < 0.375 m/s2
    7  Controlled Decel      a < -1.3 m/s2
    8  Regenerative Braking  a < -0.7 m/s2
    9  Mild Decel Linear     a < 0 and R2 >= 0.95
    10 Mild Decel            a < 0
    11 Mild Accel Linear     R2 >= 0.95
    12 Mild Accel NonLinear  R2 < 0.8
    13 Mild Accel            always

Path. psi_k is the unwrapped heading relative to the present one, y_k the lateral position. The shift d is the
distance of the last position from the ray that an arc with the same change of heading would end on:
d = |p_T| sin(angle(p_T) - psi_T / 2). It is 0 on any arc, and the lateral offset of an S-shaped path that ends with its
first heading; so a lane change is also seen in a bend. Where a bend begins or ends d is not 0 either, but there the
heading does not swing to the side of d and back. Plans shorter than 2 m have no direction: Straight Strict.

    1  Sharp Left / Right Turn    |psi_T| >= 30 deg
    2  Swerving                   max psi >= 5 deg and min psi <= -5 deg
    3  Left / Right LaneChange    |psi_T| < 10 deg, |d| >= 1.75 m, and psi goes 2 deg to that side and 2 deg back
    4  Slight Left / Right Turn   |psi_T| >= 5 deg
    5  Lane Micro Adjust          max |y| >= 0.5 m
    6  Straight Strict            always
"""

import numpy as np
from numpy.typing import NDArray

from irlvla import PLAN_INTERVAL_S, PLAN_POSES

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Both in the order of the paper's supplement; a command's id is its place here.
SPEED_COMMANDS = (
    "Emergency Decel", "Full Stop", "Creeping", "Regenerative Braking", "Controlled Decel", "Mild Decel Linear",
    "Mild Decel", "Mild Accel", "Mild Accel NonLinear", "Mild Accel Linear", "Aggressive Accel",
    "Constant Speed Loose", "Constant Speed Strict",
)  # fmt: skip
PATH_COMMANDS = (
    "Swerving", "Sharp Left Turn", "Slight Left Turn", "Sharp Right Turn", "Slight Right Turn", "Straight Strict",
    "Left LaneChange", "Lane Micro Adjust", "Right LaneChange",
)  # fmt: skip

EMERGENCY_MPS2 = -4.05  # nuPlan's comfort bound on longitudinal deceleration
AGGRESSIVE_MPS2 = 2.40  # nuPlan's comfort bound on longitudinal acceleration
STOPPED_MPS = 0.5  # a car that brakes with 2 m/s2 and stands at 4 s has this mean speed over the last interval
CREEPING_MPS = 2.0  # Senna's bound of standing
STRICT_RANGE_MPS = 1.0  # our choice: a third of Senna's 3 m/s between keeping and changing speed
LOOSE_MPS2 = 0.375  # our choice: 1.5 m/s over 4 s, half of Senna's 3 m/s
BRAKE_LIGHT_MPS2 = -1.3  # UN R13-H 5.2.22: stronger deceleration must show the brake light
REGENERATION_MPS2 = -0.7  # UN R13-H 5.2.22: regenerative braking below it shows no brake light
LINEAR_R2 = 0.95  # our choice: a speed quadratic in time has 0.94
NONLINEAR_R2 = 0.80  # our choice

SHARP_RAD = np.deg2rad(30.0)  # our choice: a third of a right-angled turn within 4 s
LANE_CHANGE_RAD = np.deg2rad(10.0)  # our choice: at most the turning of a gentle bend beside the change
SWING_RAD = np.deg2rad(2.0)  # our choice: half a lane within 50 m needs 2 deg at least
SLIGHT_RAD = np.deg2rad(5.0)  # Senna's angle between straight and turning
LANE_SHIFT_M = 1.75  # half a lane of 3.5 m
MICRO_SHIFT_M = 0.5  # our choice
STANDING_M = 2.0  # Senna's standing: 0.5 m/s over 4 s


def label(plans: Array, speed_mps: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Speed and path command ids (N,), (N,) of plans (N, T, 3) in the ego frame that start with speed (N,) [m/s].

    Raises ValueError where a shape is wrong or a value is not finite.
    """
    plans, speed_mps = np.asarray(plans, dtype=float), np.asarray(speed_mps, dtype=float)
    if plans.ndim != 3 or plans.shape[1:] != (PLAN_POSES, 3) or speed_mps.shape != plans.shape[:1]:
        raise ValueError(f"plans {plans.shape}, speed {speed_mps.shape}: need (N, {PLAN_POSES}, 3) and (N,)")
    if not (np.isfinite(plans).all() and np.isfinite(speed_mps).all()):
        raise ValueError("plans or speeds are not finite")
    return _first(_speed_rules(plans, speed_mps), SPEED_COMMANDS), _first(_path_rules(plans), PATH_COMMANDS)


def names(speed_id: int, path_id: int) -> str:
    """The answer in words, as the language model gives it."""
    return f"{SPEED_COMMANDS[speed_id]}, {PATH_COMMANDS[path_id]}"


def interval_speeds(plans: Array) -> Array:
    """Mean speeds (N, T) [m/s] of the plans' intervals."""
    steps = np.diff(plans[..., :2], axis=1, prepend=0.0)
    return np.linalg.norm(steps, axis=-1) / PLAN_INTERVAL_S


def unwrapped_headings(plans: Array) -> Array:
    """Headings (N, T) [rad] relative to the present one, without jumps of a full turn."""
    turns = np.diff(plans[..., 2], axis=1, prepend=0.0)
    return np.cumsum(np.arctan2(np.sin(turns), np.cos(turns)), axis=1)


def _speed_rules(plans: Array, speed_mps: Array) -> list[tuple[str, Mask]]:
    time_s = np.concatenate([[0.0], PLAN_INTERVAL_S * (np.arange(PLAN_POSES) + 0.5)])
    speeds = np.concatenate([speed_mps[:, None], interval_speeds(plans)], axis=1)  # (N, T + 1)
    acceleration_1s = (speeds[:, 2:] - speeds[:, :-2]) / (time_s[2:] - time_s[:-2])
    slope, r2 = _line_fit(time_s, speeds)
    return [
        ("Emergency Decel", acceleration_1s.min(axis=1) <= EMERGENCY_MPS2),
        ("Full Stop", speeds[:, -1] < STOPPED_MPS),
        ("Creeping", speeds.max(axis=1) < CREEPING_MPS),
        ("Aggressive Accel", acceleration_1s.max(axis=1) >= AGGRESSIVE_MPS2),
        ("Constant Speed Strict", np.ptp(speeds, axis=1) < STRICT_RANGE_MPS),
        ("Constant Speed Loose", np.abs(slope) < LOOSE_MPS2),
        ("Controlled Decel", slope < BRAKE_LIGHT_MPS2),
        ("Regenerative Braking", slope < REGENERATION_MPS2),
        ("Mild Decel Linear", (slope < 0) & (r2 >= LINEAR_R2)),
        ("Mild Decel", slope < 0),
        ("Mild Accel Linear", r2 >= LINEAR_R2),
        ("Mild Accel NonLinear", r2 < NONLINEAR_R2),
        ("Mild Accel", np.ones(len(plans), dtype=bool)),
    ]


def _path_rules(plans: Array) -> list[tuple[str, Mask]]:
    moving = interval_speeds(plans).sum(axis=1) * PLAN_INTERVAL_S >= STANDING_M
    heading = unwrapped_headings(plans)
    end, turn = plans[:, -1], heading[:, -1]
    shift_m = np.hypot(end[:, 0], end[:, 1]) * np.sin(np.arctan2(end[:, 1], end[:, 0]) - turn / 2)
    swerving = (heading.max(axis=1) >= SLIGHT_RAD) & (heading.min(axis=1) <= -SLIGHT_RAD)
    ahead = np.abs(turn) < LANE_CHANGE_RAD
    high, low = heading.max(axis=1), heading.min(axis=1)
    to_left = ahead & (shift_m >= LANE_SHIFT_M) & (high >= SWING_RAD) & (high - turn >= SWING_RAD)
    to_right = ahead & (shift_m <= -LANE_SHIFT_M) & (low <= -SWING_RAD) & (low - turn <= -SWING_RAD)
    return [
        ("Straight Strict", ~moving),
        ("Sharp Left Turn", turn >= SHARP_RAD),
        ("Sharp Right Turn", turn <= -SHARP_RAD),
        ("Swerving", swerving),
        ("Left LaneChange", to_left),
        ("Right LaneChange", to_right),
        ("Slight Left Turn", turn >= SLIGHT_RAD),
        ("Slight Right Turn", turn <= -SLIGHT_RAD),
        ("Lane Micro Adjust", np.abs(plans[..., 1]).max(axis=1) >= MICRO_SHIFT_M),
        ("Straight Strict", np.ones(len(plans), dtype=bool)),
    ]


def _line_fit(time_s: Array, speeds: Array) -> tuple[Array, Array]:
    """Least-squares slope (N,) and R2 (N,) of speeds (N, T + 1) over time; R2 of a constant speed is 1."""
    time_c, speed_c = time_s - time_s.mean(), speeds - speeds.mean(axis=1, keepdims=True)
    slope = speed_c @ time_c / (time_c @ time_c)
    residual, total = ((speed_c - slope[:, None] * time_c) ** 2).sum(axis=1), (speed_c**2).sum(axis=1)
    return slope, 1 - np.divide(residual, total, out=np.zeros_like(total), where=total > 0)


def _first(rules: list[tuple[str, Mask]], commands: tuple[str, ...]) -> NDArray[np.int64]:
    """Id (N,) of the first rule that holds."""
    order = np.array([commands.index(name) for name, _ in rules])
    return order[np.argmax([mask for _, mask in rules], axis=0)]
