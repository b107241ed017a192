"""The reward world model: its features and composition by hand, against EPDMS, and that it can learn and be judged."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch.nn import functional

from irlvla import PLAN_POSES, reward_training
from irlvla.epdms.scores import MULTIPLIERS, SUB_SCORES, WEIGHTS
from irlvla.geometry import box_corners, global_from_local
from irlvla.losses import weighted
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.reward_model import (
    LOSS_WEIGHTS,
    RewardModel,
    compose,
    expected_scores,
    reward_losses,
)
from irlvla.models.trajectory_encoder import footprint, motion, sample_bev
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

torch.set_num_threads(1)


SIZES = dict(channels=16, heads=2, feedforward=32, blocks=1, x_range_m=(-8.0, 56.0), y_range_m=(-32.0, 32.0))


def tiny_model() -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(**SIZES).eval()


def tiny_ensemble(members: int = 2) -> RewardEnsemble:
    torch.manual_seed(0)
    return RewardEnsemble(members=members, **SIZES).eval()


def tiny_tokens(batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = {"meta": 4, "bev": 64, "map": 5, "objects": 7, "status": 1}
    return {name: torch.randn(batch, length, 16, generator=generator) for name, length in lengths.items()}


def straight_plans(speeds_mps: list[float]) -> torch.Tensor:
    time_s = torch.arange(1, PLAN_POSES + 1) * 0.5
    plans = torch.zeros(1, len(speeds_mps), PLAN_POSES, 3)
    plans[0, :, :, 0] = torch.tensor(speeds_mps)[:, None] * time_s
    return plans


def random_scores(shape, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    three = ("no_at_fault_collisions", "driving_direction_compliance")
    return {
        name: torch.rand(shape, generator=generator)
        if name == "ego_progress"
        else torch.randint(0, 3 if name in three else 2, shape, generator=generator) / (2 if name in three else 1)
        for name in SUB_SCORES
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_composition_is_the_formula_of_epdms_without_extended_comfort(values):
    scores = dict(zip(SUB_SCORES, values, strict=True))
    product = np.prod([scores[name] for name in MULTIPLIERS])
    average = sum(WEIGHTS[name] * scores[name] for name in WEIGHTS) / 14
    assert compose(scores) == pytest.approx(product * average, abs=1e-12)


def test_samples_of_the_bev_and_their_slopes_are_those_of_grid_sample():
    torch.manual_seed(0)
    x_range_m, y_range_m = (-8.0, 56.0), (-32.0, 32.0)
    bev = torch.randn(2, 16, 8, requires_grad=True)
    points = (torch.rand(2, 3, 5, 2) * 120 - 50).requires_grad_()  # also far outside, where samples are 0
    image = bev.transpose(1, 2).unflatten(2, (4, 4))
    grid = ((points - torch.tensor([24.0, 0.0])) / 32).flip(-1)  # (column, row) = (y, x)
    expected = functional.grid_sample(image, grid, align_corners=False).permute(0, 2, 3, 1)
    found = sample_bev(bev, points, x_range_m, y_range_m)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    slopes = [torch.autograd.grad(result.square().sum(), (bev, points)) for result in (expected, found)]
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-4, rtol=1e-4)


def test_footprint_is_the_box_of_geometry_and_its_centre():
    pose = np.array([12.0, -3.0, 0.7])
    center = global_from_local(pose, np.array([REAR_AXLE_TO_CENTER_M, 0.0, 0.0]))
    expected = np.vstack([box_corners(center, LENGTH_M, WIDTH_M), center[:2]])
    np.testing.assert_allclose(footprint(torch.from_numpy(pose)).numpy(), expected, atol=1e-6)


def test_motion_of_constant_velocity_has_that_velocity_and_no_acceleration():
    features = motion(straight_plans([8.0]))[0, 0]
    torch.testing.assert_close(features[:, 0], torch.full((PLAN_POSES,), 0.8))
    assert (features[:, 1:] == 0).all()


def test_expected_scores_by_hand_for_even_logits():
    logits = {name: torch.zeros(1, 1, RewardModel.outputs(name)) for name in SUB_SCORES}
    assert all(value.item() == pytest.approx(0.5) for value in expected_scores(logits).values())
    assert compose(expected_scores(logits)).item() == pytest.approx(0.5**5)


def test_sure_and_right_answers_cost_nothing_and_sure_and_wrong_ones_much():
    scores = random_scores((3, 40)) | {"ego_progress": torch.ones(3, 40)}
    right = {
        name: 30 * torch.nn.functional.one_hot((2 * scores[name]).long(), 3).float()
        if RewardModel.outputs(name) == 3
        else 60 * (scores[name][..., None] - 0.5)
        for name in SUB_SCORES
    }
    losses = reward_losses(right, scores)
    assert set(losses) == {*SUB_SCORES, "reward"} and all(loss < 1e-6 for loss in losses.values())
    wrong = reward_losses({name: -values for name, values in right.items()}, scores)
    assert all(wrong[name] > 5 for name in SUB_SCORES)


def test_progress_loss_is_least_where_the_prediction_is_the_mean():
    scores = random_scores((1, 2)) | {"ego_progress": torch.tensor([[0.2, 0.8]])}
    logits = {name: torch.zeros(1, 2, RewardModel.outputs(name)) for name in SUB_SCORES}
    logits["ego_progress"].requires_grad_()
    reward_losses(logits, scores)["ego_progress"].backward()
    assert logits["ego_progress"].grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def test_default_weights_name_the_sub_scores_and_unknown_names_are_refused():
    losses = reward_losses(tiny_model()(tiny_tokens(1), straight_plans([3.0])), random_scores((1, 1)))
    assert weighted(losses, LOSS_WEIGHTS | {"reward": 0.0}) > 0
    with pytest.raises(ValueError, match="weights for"):
        weighted(losses, LOSS_WEIGHTS | {"NC": 1.0})


def test_a_plans_reward_does_not_depend_on_the_other_plans_nor_on_other_scenes():
    model, tokens = tiny_ensemble(), tiny_tokens(2)
    plans = straight_plans([2.0, 5.0, 9.0]).expand(2, -1, -1, -1)
    together = model.reward(tokens, plans)
    alone = model.reward({name: values[1:] for name, values in tokens.items()}, plans[1:, 2:])
    assert together.shape == (2, 3) and ((together >= 0) & (together <= 1)).all()
    torch.testing.assert_close(together[1:, 2:], alone)


def test_reward_sees_the_bev_under_the_plan():
    model, tokens = tiny_model(), tiny_tokens(1)
    plans = straight_plans([1.0, 12.0])
    changed = {**tokens, "bev": tokens["bev"].clone()}
    changed["bev"].view(1, 8, 8, 16)[:, 6:] += 1.0  # cells beyond x = 40 m, where only the fast plan goes
    before, after = (model.encoder(plans, t["bev"], t["status"]) for t in (tokens, changed))
    assert torch.equal(before[0, 0], after[0, 0]) and not torch.equal(before[0, 1], after[0, 1])


def test_a_saved_model_is_rebuilt_from_its_file(tmp_path):
    model, tokens, plans = tiny_ensemble(3), tiny_tokens(1), straight_plans([2.0, 7.0])
    model.save(tmp_path / "rwm.pt")
    loaded = RewardEnsemble.load(tmp_path / "rwm.pt")
    assert len(loaded.members) == 3
    assert torch.equal(model.reward(tokens, plans), loaded.reward(tokens, plans))


def test_the_reward_of_an_ensemble_is_the_mean_of_its_members_and_pessimism_takes_off_their_spread():
    model, tokens, plans = tiny_ensemble(3), tiny_tokens(1), straight_plans([2.0, 7.0])
    alone = torch.stack([compose(expected_scores(member(tokens, plans))) for member in model.members])
    torch.testing.assert_close(model.reward(tokens, plans), alone.mean(dim=0))
    torch.testing.assert_close(model.reward(tokens, plans, 2.0), alone.mean(dim=0) - 2 * alone.std(dim=0, correction=0))
    assert (alone.std(dim=0) > 0).all()  # members start from different weights
    _, reward, spread = reward_training.predict(model, tokens, plans)
    np.testing.assert_allclose(reward, alone.mean(dim=0).detach(), atol=1e-6)
    np.testing.assert_allclose(spread, alone.std(dim=0, correction=0).detach(), atol=1e-6)


def test_one_member_has_no_spread():
    model, tokens, plans = tiny_ensemble(1), tiny_tokens(1), straight_plans([2.0, 7.0])
    assert torch.equal(model.reward(tokens, plans, 5.0), model.reward(tokens, plans))


def test_errors_are_grouped_from_agreement_to_disagreement():
    spread, true = np.array([[0.3, 0.0, 0.2, 0.1]]), np.zeros((1, 4))
    groups = reward_training.error_by_spread(np.array([[0.8, 0.1, -0.4, 0.2]]), spread, true, parts=2)
    assert groups["spread"] == pytest.approx([0.05, 0.25]) and groups["error"] == pytest.approx([0.15, 0.6])


def test_the_model_overfits_one_batch():
    ensemble, tokens = tiny_ensemble(1), tiny_tokens(2)
    model = ensemble.members[0]
    plans = straight_plans([0.5 * i for i in range(16)]).expand(2, -1, -1, -1)
    scores = random_scores((2, 16))
    dataset = reward_training.ScoredPlanDataset(tokens, plans, scores)
    batch = torch.utils.data.default_collate([dataset[0], dataset[1]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        losses = reward_training.batch_losses(model, batch)
        optimizer.zero_grad()
        weighted(losses, LOSS_WEIGHTS | {"reward": 1.0}).backward()
        optimizer.step()
    assert losses["reward"] < 0.003
    predicted, *_ = reward_training.predict(ensemble, tokens, plans)
    quality = reward_training.sub_score_quality(predicted, {n: v.numpy() for n, v in scores.items()})
    assert min(quality[name]["auc"] for name in SUB_SCORES if name != "ego_progress") > 0.98


def test_drawn_plans_keep_their_own_scores():
    scores = {name: torch.arange(32.0).view(1, 32) for name in SUB_SCORES}
    plans = torch.arange(32.0)[None, :, None, None].expand(1, 32, PLAN_POSES, 3)
    sample = reward_training.ScoredPlanDataset(tiny_tokens(1), plans, scores, num_plans=8)[0]
    assert sample["plans"].shape == (8, PLAN_POSES, 3) and len(set(sample["ego_progress"].tolist())) == 8
    assert torch.equal(sample["plans"][:, 0, 0], sample["ego_progress"])


# ------------------------------------------------------------------ how it is judged


def test_rank_correlation_agrees_with_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    predicted, true = rng.random((5, 30)), rng.integers(0, 4, (5, 30)).astype(float)
    ours = reward_training.correlation_of_ranks(predicted, true)
    assert ours == pytest.approx([spearmanr(p, y).statistic for p, y in zip(predicted, true, strict=True)])


def test_rank_correlation_is_zero_for_a_constant_prediction_and_undefined_for_constant_truth():
    values = np.arange(6.0)[None]
    assert reward_training.correlation_of_ranks(np.ones((1, 6)), values)[0] == 0
    assert np.isnan(reward_training.correlation_of_ranks(values, np.ones((1, 6)))[0])


def test_calibration_error_by_hand():
    predicted, true = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0])
    assert reward_training.calibration_error(predicted, true) == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert reward_training.calibration_error(np.array([1.0]), np.array([1.0])) == 0


def test_a_choice_within_five_hundredths_of_the_best_is_good():
    true = np.array([[0.90, 0.94, 0.2], [0.5, 0.9, 0.2]])
    predicted = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    quality = reward_training.ranking_quality(predicted, true)
    assert quality["good_choice"] == 0.5 and quality["chosen_score"] == pytest.approx(0.7)


def test_nearest_anchor_mean_by_hand():
    anchors = np.zeros((2, PLAN_POSES, 3))
    anchors[1, :, 0] = 10
    train = np.zeros((1, 4, PLAN_POSES, 3))
    train[0, 2:, :, 0] = 9
    plans = np.zeros((1, 2, PLAN_POSES, 3))
    plans[0, 1, :, 0] = 30
    mean = reward_training.nearest_anchor_mean(train, np.array([[0.0, 0.5, 1.0, 0.8]]), plans, anchors)
    np.testing.assert_allclose(mean, [[0.25, 0.9]])
