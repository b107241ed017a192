"""Meta actions: a hand-made plan per command, completeness and mirror symmetry for any plan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS, label, names

FINE_S = np.linspace(0.0, 4.0, 401)
MIRRORED = {
    "Sharp Left Turn": "Sharp Right Turn",
    "Slight Left Turn": "Slight Right Turn",
    "Left LaneChange": "Right LaneChange",
}


def drive(speed_mps, yaw_rate_rps=0.0):
    """Plan (1, 8, 3) and present speed (1,) of speed and yaw rate over FINE_S, integrated by trapezoids."""
    speed_mps, yaw_rate_rps = np.broadcast_arrays(speed_mps, yaw_rate_rps, FINE_S)[:2]

    def integral(f):
        return np.concatenate([[0.0], np.cumsum((f[1:] + f[:-1]) / 2 * np.diff(FINE_S))])

    heading = integral(yaw_rate_rps)
    poses = np.stack([integral(speed_mps * np.cos(heading)), integral(speed_mps * np.sin(heading)), heading], axis=-1)
    return poses[None, 50::50], speed_mps[:1]


SPEED_CASES = {
    "Emergency Decel": np.maximum(15 - 5 * FINE_S, 0),
    "Full Stop": np.maximum(6 - 2 * FINE_S, 0),
    "Creeping": 0.4 * FINE_S,
    "Regenerative Braking": 12 - FINE_S,
    "Controlled Decel": 14 - 2 * FINE_S,
    "Mild Decel Linear": 10 - 0.5 * FINE_S,
    "Mild Decel": 10 - np.maximum(FINE_S - 2, 0),
    "Mild Accel": 5 + 1.8 * np.maximum(FINE_S - 1.5, 0),
    "Mild Accel NonLinear": 5 + 2.3 * np.maximum(FINE_S - 2, 0),
    "Mild Accel Linear": 5 + FINE_S,
    "Aggressive Accel": 5 + 3 * FINE_S,
    "Constant Speed Loose": 10 + np.sin(np.pi * FINE_S / 2),
    "Constant Speed Strict": 10 + 0.1 * FINE_S,
}
PATH_CASES = {
    "Swerving": drive(10.0, 0.4 * np.sin(np.pi * FINE_S) * np.where(FINE_S < 2, 1, -1)),
    "Sharp Left Turn": drive(6.0, np.deg2rad(20)),
    "Slight Left Turn": drive(6.0, np.deg2rad(4)),
    "Sharp Right Turn": drive(6.0, np.deg2rad(-20)),
    "Slight Right Turn": drive(6.0, np.deg2rad(-4)),
    "Straight Strict": drive(10.0, np.deg2rad(0.2)),
    "Left LaneChange": drive(12.0, 0.13 * np.sin(np.pi * FINE_S / 2)),
    "Lane Micro Adjust": drive(12.0, 0.03 * np.sin(np.pi * FINE_S / 2)),
    "Right LaneChange": drive(12.0, -0.13 * np.sin(np.pi * FINE_S / 2)),
}

plans = arrays(float, (3, 8, 3), elements=st.floats(-60, 60))
speeds = arrays(float, 3, elements=st.floats(0, 30))


def test_every_command_has_a_case():
    assert set(SPEED_CASES) == set(SPEED_COMMANDS) and len(SPEED_COMMANDS) == 13
    assert set(PATH_CASES) == set(PATH_COMMANDS) and len(PATH_COMMANDS) == 9


@pytest.mark.parametrize("command", SPEED_COMMANDS)
def test_speed_profile_has_its_command_on_straight_and_bent_paths(command):
    for yaw_rate_rps in (0.0, 0.1):
        speed, _ = label(*drive(SPEED_CASES[command], yaw_rate_rps))
        assert SPEED_COMMANDS[speed[0]] == command


@pytest.mark.parametrize("command", PATH_COMMANDS)
def test_path_has_its_command(command):
    assert PATH_COMMANDS[label(*PATH_CASES[command])[1][0]] == command


def test_lane_change_in_a_gentle_bend_is_seen_and_the_bend_alone_is_none():
    bend = np.deg2rad(1.5)
    change = bend + 0.13 * np.sin(np.pi * FINE_S / 2)
    assert PATH_COMMANDS[label(*drive(12.0, change))[1][0]] == "Left LaneChange"
    assert PATH_COMMANDS[label(*drive(15.0, bend))[1][0]] == "Slight Left Turn"


@pytest.mark.parametrize("turning", [FINE_S > 2.5, FINE_S < 1.5])
def test_bend_that_begins_late_or_ends_early_is_no_lane_change(turning):
    plan, speed = drive(15.0, np.deg2rad(6) * turning)
    shift_m = np.hypot(*plan[0, -1, :2]) * np.sin(np.arctan2(plan[0, -1, 1], plan[0, -1, 0]) - plan[0, -1, 2] / 2)
    assert abs(shift_m) > 1.75
    assert PATH_COMMANDS[label(plan, speed)[1][0]] == "Slight Left Turn"


def test_standing_car_is_stopped_and_straight_whatever_its_heading_noise():
    plan = np.zeros((1, 8, 3))
    plan[..., 2] = 0.7
    speed, path = label(plan, np.zeros(1))
    assert names(speed[0], path[0]) == "Full Stop, Straight Strict"


def test_heading_jump_of_a_full_turn_changes_nothing():
    plan, speed = drive(10.0, np.deg2rad(60))
    wrapped = plan.copy()
    wrapped[..., 2] = (plan[..., 2] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(wrapped - plan).max() > 6
    assert label(wrapped, speed)[1] == label(plan, speed)[1]


@given(plans, speeds)
def test_any_plan_has_exactly_one_pair_and_its_mirror_image_the_mirrored_one(plan, speed):
    speed_id, path_id = label(plan, speed)
    assert speed_id.shape == path_id.shape == (3,)
    assert np.isin(speed_id, range(13)).all() and np.isin(path_id, range(9)).all()
    mirror_speed, mirror_path = label(plan * [1, -1, -1], speed)
    swap = MIRRORED | {right: left for left, right in MIRRORED.items()}
    assert (mirror_speed == speed_id).all()
    assert [PATH_COMMANDS[i] for i in mirror_path] == [swap.get(PATH_COMMANDS[i], PATH_COMMANDS[i]) for i in path_id]


@given(plans, speeds)
def test_a_batch_is_labelled_as_its_plans_alone(plan, speed):
    batch = np.stack(label(plan, speed))
    alone = np.concatenate([np.stack(label(plan[i : i + 1], speed[i : i + 1])) for i in range(3)], axis=1)
    assert (batch == alone).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 7, 3)), np.zeros((8, 3)), np.full((2, 8, 3), np.nan)])
def test_wrong_shape_or_nan_is_an_error(bad):
    with pytest.raises(ValueError, match="plans"):
        label(bad, np.zeros(2))
