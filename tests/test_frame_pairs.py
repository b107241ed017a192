"""Extended comfort in reinforcement: exact for pairs of frames, absent where no frame precedes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from epdms_scenes import road, straight_plan
from torch import nn

from irlvla import PLAN_POSES
from irlvla.diffusion import PlanNormalizer, TruncatedSchedule
from irlvla.epdms.scores import EXTENDED_COMFORT_WEIGHT, SUB_SCORES, WEIGHTS
from irlvla.epdms.states import X
from irlvla.frame_pairs import FramePairs
from irlvla.models.reward_model import compose
from irlvla.reinforcement import Settings, roll_out

STEADY, BRAKING = straight_plan(10.0), straight_plan(10.0)
BRAKING[:, 0] = 10.0 * (time := 0.5 * np.arange(1, PLAN_POSES + 1)) - 0.6 * time**2


@pytest.fixture
def samples() -> pd.DataFrame:
    """Frame b follows a; c, whose previous frame is no sample, follows nothing here."""
    return pd.DataFrame({"token": ["a", "b", "c"], "previous": [np.nan, "a", "elsewhere"]})


@pytest.fixture
def pairs(samples, tmp_path) -> FramePairs:
    for token, x in {"a": -5.0, "b": 0.0}.items():  # at 10 m/s, half a second apart
        context = road()
        state = context.ego_state.copy()
        state[X] = x
        replace(context, ego_state=state).save(tmp_path / f"{token}.npz")
    return FramePairs.load(samples, ["c", "a", "b"], tmp_path)


def plans(*some: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(some)).float()


def test_previous_frames_are_rows_of_the_scenes_given(pairs):
    assert pairs.previous.tolist() == [-1, -1, 1]
    assert pairs.ego_states[:, X].tolist() == [0.0, -5.0, 0.0]


def test_a_plan_that_goes_on_is_comfortable_and_one_that_suddenly_brakes_is_not(pairs):
    extended = pairs.extended_comfort(torch.tensor([2]), plans(STEADY, BRAKING)[None], plans(STEADY))
    assert extended.tolist() == [[1.0, 0.0]]


def test_without_a_previous_frame_extended_comfort_is_unknown(pairs):
    extended = pairs.extended_comfort(
        torch.tensor([0, 1]), plans(STEADY, BRAKING).expand(2, -1, -1, -1), plans(STEADY, STEADY)
    )
    assert extended.isnan().all()
    driven = pairs.of_driven(plans(STEADY, BRAKING, STEADY))
    assert driven.isnan().tolist() == [True, True, False] and driven[2] == 0


def test_scenes_come_in_the_order_in_which_they_follow_each_other(pairs):
    assert [rows.tolist() for rows in pairs.in_order()] == [[0, 1], [2]]
    chain = FramePairs(torch.tensor([2, -1, 1, -1]), pairs.ego_states)
    assert [rows.tolist() for rows in chain.in_order()] == [[1, 3], [2], [0]]


def test_a_table_without_previous_tokens_and_a_scene_that_it_lacks_are_errors(samples, tmp_path):
    with pytest.raises(ValueError, match="run 01_data again"):
        FramePairs.load(samples.drop(columns="previous"), ["a"], tmp_path)
    with pytest.raises(KeyError, match="nowhere"):
        FramePairs.load(samples, ["a", "nowhere"], tmp_path)


def test_composition_counts_extended_comfort_as_epdms_does_where_it_is_known():
    scores = {name: torch.tensor([0.5, 0.5, 0.5]) for name in SUB_SCORES}
    total = sum(WEIGHTS.values())
    alone = 0.5**4 * 0.5
    expected = [alone] + [
        0.5**4 * (0.5 * total + EXTENDED_COMFORT_WEIGHT * ec) / (total + EXTENDED_COMFORT_WEIGHT) for ec in (0, 1)
    ]
    assert compose(scores, torch.tensor([torch.nan, 0.0, 1.0])).tolist() == pytest.approx(expected)


class TwoPlans(nn.Module):
    """A planner of two fixed plans that prefers the first in scenes of status 0, else the second."""

    normalizer = PlanNormalizer()  # the identity

    def denoiser(self, tokens):
        prefers = (1 - 2 * tokens["status"][:, 0, :1]) * torch.tensor([1.0, -1.0])

        def denoise(noisy, t):
            samples = noisy.shape[1] // 2
            return plans(STEADY, BRAKING).repeat(samples, 1, 1).expand_as(noisy), prefers.repeat(1, samples)

        return denoise


@pytest.mark.parametrize("prefers, comfortable", [(0.0, [1.0, 0.0]), (1.0, [0.0, 0.0])])
def test_sampled_plans_are_compared_with_what_the_policy_drives_half_a_second_before(pairs, prefers, comfortable):
    seen = []

    def reward(scenes, sampled, extended):
        seen.append(extended)
        return torch.zeros(sampled.shape[:2])

    settings = Settings(
        iterations=1, scenes_per_iteration=3, anchors=2, samples=2, epochs=1, minibatch_scenes=3, trained_steps=2,
        eta=0.0, std_floor=1e-6, baseline="group", gamma=1.0, clip_first=0.1, clip_last=0.1, choice_clip=0.1,
        target_kl=1.0, learning_rate=0.0, critic_learning_rate=0.0, cloning_weight=0.0, choice_cloning_weight=0.0,
        rolling_back_cost=0.0, max_grad_norm=1.0,
    )  # fmt: skip
    cached = {"status": torch.full((3, 1, 2), prefers)}
    planner, anchors = TwoPlans(), torch.zeros(2, PLAN_POSES, 3)
    generator = torch.Generator().manual_seed(0)
    roll_out(
        planner,
        planner,
        reward,
        cached,
        pairs,
        torch.tensor([2, 0]),
        anchors,
        TruncatedSchedule(2),
        settings,
        generator,
    )
    assert seen[0][0].tolist() == comfortable * 2
    assert seen[0][1].isnan().all()
