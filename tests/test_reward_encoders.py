"""Encoders of the reward model's own: trained through its loss, saved beside it, and found by the stages after it."""

import copy

import numpy as np
import pytest
import tiny_policy
import torch

from irlvla.epdms.scores import SUB_SCORES
from irlvla.losses import weighted
from irlvla.models.reward_model import LOSS_WEIGHTS, RewardModel, reward_losses
from irlvla.reward_encoders import OWN, ScoredImageDataset, SeeingRewardModel, reward_encoders, save_encoders
from irlvla.reward_training import ScoredPlanDataset
from irlvla.scenes.dataset import INPUTS
from irlvla.tokens import TokenStore

torch.set_num_threads(1)


class Scenes(torch.utils.data.Dataset):
    """Random inputs and targets in the form of `SceneDataset`."""

    def __init__(self, *tokens: str):
        self.tokens, self.batch = np.array(tokens), tiny_policy.batch(len(tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: values[row] for name, values in self.batch.items()}


def scored(scenes: int, plans: int = 6) -> ScoredPlanDataset:
    torch.manual_seed(0)
    human = torch.from_numpy(tiny_policy.human_plans(scenes * plans)).float().unflatten(0, (scenes, plans))
    scores = {name: torch.randint(0, 2, (scenes, plans)).float() for name in SUB_SCORES}
    return ScoredPlanDataset({}, human, scores)


def seeing_model() -> SeeingRewardModel:
    policy = tiny_policy.policy()
    sizes = {name: policy.arguments[name] for name in ("channels", "x_range_m", "y_range_m")}
    return SeeingRewardModel(policy, RewardModel(heads=2, feedforward=32, blocks=1, **sizes))


def test_a_sample_pairs_the_images_of_a_scene_with_its_own_plans():
    scenes, plans = Scenes("a", "b", "c"), scored(2)
    sample = ScoredImageDataset(scenes, ["c", "a"], plans)[0]
    assert torch.equal(sample["images"], scenes[2]["images"]) and torch.equal(sample["plans"], plans.plans[0])
    assert set(sample) == {*INPUTS, "plans", *SUB_SCORES}


def test_a_scored_scene_without_images_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="scored scene x .1 in all. has no images"):
        ScoredImageDataset(Scenes("a"), ["a", "x"], scored(2))


def test_the_loss_of_the_reward_teaches_backbone_and_bird_s_eye_view():
    model = seeing_model().train()
    before = copy.deepcopy(model.encoder.state_dict())
    batch = torch.utils.data.default_collate(
        [ScoredImageDataset(Scenes("a", "b"), ["a", "b"], scored(2))[i] for i in (0, 1)]
    )
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(120):
        loss = weighted(reward_losses(model(batch), batch), LOSS_WEIGHTS | {"reward": 1.0})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    changed = [name for name, values in model.encoder.named_parameters() if not torch.equal(before[name], values)]
    assert any(name.startswith("backbone") for name in changed) and any(name.startswith("bev") for name in changed)


def test_later_stages_read_the_own_encoders_where_there_are_some_and_the_policy_s_otherwise(tmp_path):
    (tmp_path / OWN).mkdir(parents=True)
    assert reward_encoders(tmp_path) == tmp_path / "imitation"
    policy = tiny_policy.policy()
    save_encoders(tmp_path, policy, [Scenes("a", "b"), Scenes("c")])
    assert reward_encoders(tmp_path) == tmp_path / OWN
    stored = TokenStore(tmp_path / OWN / "tokens.npz").batch(["c"])
    with torch.no_grad():
        again = policy.encode(tiny_policy.batch(1))
    assert all(torch.allclose(stored[kind], again[kind], atol=0.02, rtol=0.002) for kind in again)
