"""Plans that roll back: measured along their own course, and dear to PPO although EPDMS allows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from epdms_scenes import road
from torch import nn

from irlvla import PLAN_POSES
from irlvla.diffusion import PlanNormalizer, TruncatedSchedule
from irlvla.epdms.states import AX, NUM_COLUMNS, VX
from irlvla.frame_pairs import FramePairs
from irlvla.reinforcement import Settings, roll_out
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


class TwoPlans(nn.Module):
    """A planner whose two candidates are to stand and to roll back half a metre."""

    normalizer = PlanNormalizer()  # the identity
    plans = torch.from_numpy(np.stack([along(0.0), along(-0.5)])).float()

    def denoiser(self, tokens):
        return lambda noisy, t: (self.plans.expand_as(noisy), torch.zeros(noisy.shape[:2]))


def test_rewards_of_ppo_are_lowered_by_the_cost_of_the_metres_rolled_back():
    settings = Settings(
        iterations=1, scenes_per_iteration=2, anchors=2, samples=1, epochs=1, minibatch_scenes=2, trained_steps=2,
        eta=0.0, std_floor=1e-6, baseline="group", gamma=1.0, clip_first=0.1, clip_last=0.1, choice_clip=0.1,
        target_kl=1.0, learning_rate=0.0, critic_learning_rate=0.0, cloning_weight=0.0, choice_cloning_weight=0.0,
        rolling_back_cost=0.2, max_grad_norm=1.0,
    )  # fmt: skip
    planner, alone = TwoPlans(), FramePairs(torch.full((2,), -1), np.zeros((2, NUM_COLUMNS)))
    old = roll_out(
        planner,
        planner,
        lambda scenes, plans, extended: torch.full(plans.shape[:2], 0.8),
        {"status": torch.zeros(2, 1, 1)},
        alone,
        torch.arange(2),
        torch.zeros(2, PLAN_POSES, 3),
        TruncatedSchedule(2),
        settings,
        torch.Generator().manual_seed(0),
    )
    assert torch.allclose(old.rewards, torch.tensor([0.8, 0.7]).expand(2, 1, 2), atol=1e-4)
