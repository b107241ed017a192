"""Plans that roll back: measured along their own course, and allowed by EPDMS."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from epdms_scenes import road

from irlvla import PLAN_POSES
from irlvla.epdms.states import AX, VX
from irlvla.reward_data import score_single_plans
from irlvla.rolling_back import TOLERANCE_M, rolled_back_m, rolls_back


def along(*forward_m: float) -> np.ndarray:
    """A straight plan at these distances ahead of the start; the last one is kept."""
    plan = np.zeros((PLAN_POSES, 3))
    plan[:, 0] = [*forward_m, *[forward_m[-1]] * (PLAN_POSES - len(forward_m))]
    return plan


@pytest.mark.parametrize(
    "plan, metres",
    [
        (along(0.0), 0.0),
        (along(2.0, 4.0, 3.0), 0.0),  # ends ahead of where it began
        (along(-0.3, -0.5, 1.0), 0.5),
        (along(1.0, -0.2), 0.2),
    ],
)
def test_a_plan_rolls_back_as_far_as_it_comes_behind_its_start(plan, metres):
    assert rolled_back_m(torch.from_numpy(plan)).item() == pytest.approx(metres)


def test_a_turn_back_is_driven_forwards_and_does_not_count():
    turn = np.linspace(np.pi / 8, np.pi, PLAN_POSES)  # half a circle to the left, radius 6 m, ends beside the start
    plan = np.stack([6 * np.sin(turn), 6 * (1 - np.cos(turn)), turn], axis=-1)
    back = plan + [-3.0, 0.0, 0.0]  # half of it lies behind the start, and is reached by a step backwards
    assert rolled_back_m(torch.from_numpy(np.stack([plan, back]))).tolist() == pytest.approx([0.0, 0.70], abs=0.01)


def test_the_drawing_of_a_standing_car_is_no_rolling_back():
    plans = np.stack([along(-0.9 * TOLERANCE_M), along(-1.1 * TOLERANCE_M)])
    assert rolls_back(plans).tolist() == [False, True]


def test_epdms_gives_a_plan_that_rolls_back_as_much_as_one_that_stands(tmp_path):
    context = road()
    state = context.ego_state.copy()
    state[VX] = state[AX] = 0.0
    replace(context, ego_state=state).save(tmp_path / "rest.npz")
    back = along(*-0.15 * np.arange(1, PLAN_POSES + 1) ** 1.2)
    scores = score_single_plans(["rest", "rest"], np.stack([along(0.0), back]), tmp_path, jobs=1)
    assert rolls_back(np.stack([back])).all()
    assert scores["score"].iloc[1] == pytest.approx(scores["score"].iloc[0])
