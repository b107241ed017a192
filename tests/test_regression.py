"""Claims about the head without diffusion."""

import numpy as np
import tiny_policy
import torch

from irlvla import losses
from irlvla.agents import regression_plans
from irlvla.diffusion import PlanNormalizer
from irlvla.models.regression import RegressionHead

torch.set_num_threads(1)


def head(seed: int = 0) -> RegressionHead:
    torch.manual_seed(seed)
    built = RegressionHead(channels=16, heads=2, feedforward=32, plan_blocks=1)
    built.normalizer.load_state_dict(PlanNormalizer.fit(tiny_policy.human_plans(50)).state_dict())
    return built


def tokens(size: int) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return tiny_policy.policy().eval().encode(tiny_policy.batch(size))


def test_one_batch_is_learned_by_heart():
    model, seen, human = head(), tokens(3), tiny_policy.batch(3)["plan"]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(400):
        loss = losses.regression(model(seen), human, torch.ones(3, dtype=torch.bool))["trajectory"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # metres


def test_the_loss_is_the_mean_distance_over_scenes_with_a_human_plan():
    plans = torch.zeros(2, 8, 3)
    human = torch.stack([torch.full((8, 3), 1.0), torch.full((8, 3), 100.0)])
    loss = losses.regression(plans, human, torch.tensor([True, False]))["trajectory"]
    assert loss.item() == np.float32((1 + 1 + 5) / 3)  # a radian counts as five metres


def test_a_saved_head_plans_the_same_for_any_number_of_scenes(tmp_path):
    model, seen = head().eval(), tokens(40)
    model.save(tmp_path / "regression.pt")
    plans = regression_plans(RegressionHead.load(tmp_path / "regression.pt"), seen)
    assert plans.shape == (40, 8, 3)
    with torch.no_grad():
        assert np.allclose(plans, model(seen).numpy(), atol=1e-5)
