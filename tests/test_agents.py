"""Agents: what the blind ones do, and that live driving and cached tokens give the same plan."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_policy
import torch
from straight_road import CAR, road_scene

from irlvla import PLAN_POSES, agents, seeing_agents
from irlvla.epdms.build import scoring_context
from irlvla.models import baselines, checks
from irlvla.models.semantic import CommandModel

torch.set_num_threads(1)


def status_rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    status = np.zeros((n, 4, 8))
    status[:, :, 1] = 1
    status[:, :, 4] = rng.uniform(0, 14, (n, 1))
    return status


def command_model() -> CommandModel:
    torch.manual_seed(0)
    cameras = ("CAM_F0", "CAM_L0", "CAM_R0")
    sizes = {"tokens_per_view": 2, "vision_dim": 32, "vision_layers": 1, "text_dim": 32, "text_layers": 1}
    return CommandModel.small(cameras, (32, 96), **sizes).eval()


def test_constant_velocity_goes_straight_at_the_present_speed():
    status = status_rows(3)
    status[1, -1, 4:6] = 3.0, 4.0  # the speed is the length of the velocity
    plans = baselines.constant_velocity(status)
    assert plans.shape == (3, PLAN_POSES, 3) and (plans[..., 1:] == 0).all()
    assert plans[1, :, 0] == pytest.approx(5.0 * np.arange(0.5, 4.5, 0.5))


def test_ego_status_mlp_learns_to_hold_the_speed_and_repeats_itself():
    status = status_rows(600)
    plans = baselines.constant_velocity(status)
    models = [baselines.fit_ego_status_mlp(status[:500], plans[:500], seed=0) for _ in range(2)]
    predicted = models[0](status[500:])
    assert np.abs(predicted - plans[500:])[..., 0].mean() < 0.5
    np.testing.assert_array_equal(predicted, models[1](status[500:]))


def test_policy_drives_the_candidate_with_the_highest_score_and_repeats_itself():
    policy = tiny_policy.policy()
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(3))
    plans, logits = agents.policy_candidates(policy, tokens)
    assert plans.shape == (3, len(policy.anchors), PLAN_POSES, 3)
    driven = agents.policy_plans(policy, tokens)
    np.testing.assert_array_equal(driven, plans[np.arange(3), logits.argmax(axis=1)])
    np.testing.assert_array_equal(driven, agents.policy_plans(policy, tokens))


def test_batches_give_what_all_scenes_at_once_give(monkeypatch):
    policy = tiny_policy.policy()
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(3))
    together = agents.policy_plans(policy, tokens)
    monkeypatch.setattr(agents, "BATCH_SCENES", 2)
    np.testing.assert_allclose(agents.policy_plans(policy, tokens), together, atol=1e-5)


def test_chains_begin_near_the_anchors_and_end_at_other_plans():
    policy = tiny_policy.policy()
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(2))
    chains = agents.policy_chains(policy, tokens, 1.0, 0.1, torch.Generator().manual_seed(0))
    assert chains.shape == (2, policy.schedule.steps + 1, len(policy.anchors), PLAN_POSES, 3)
    again = agents.policy_chains(policy, tokens, 1.0, 0.1, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(chains, again)
    assert not np.array_equal(chains[0], chains[1])


def test_checks_drive_a_candidate_without_a_perceived_fault_where_there_is_one():
    policy, area = tiny_policy.policy().eval(), (tiny_policy.X_RANGE_M, tiny_policy.Y_RANGE_M)
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(3))
        plans, logits = policy.plan(tokens)
        faults = sum(f.int() for f in checks.perceived_faults(policy.read(tokens), plans, *area))
    driven = torch.from_numpy(agents.checked_plans(policy, tokens))
    chosen = (plans == driven[:, None]).all(dim=(-2, -1)).int().argmax(dim=1)
    rows = torch.arange(3)
    assert torch.equal(faults[rows, chosen], faults.min(dim=1).values)
    free = logits.masked_fill(faults > faults.min(dim=1, keepdim=True).values, -torch.inf)
    assert torch.equal(chosen, free.argmax(dim=1).int())


def test_vocabulary_scorer_drives_the_plan_with_the_highest_reward():
    policy = tiny_policy.policy()
    model = tiny_policy.reward_ensemble(policy, members=1)
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(2))
        vocabulary = baselines.constant_velocity(status_rows(20))
        plans = torch.from_numpy(vocabulary).float()
        rewards = model.reward(tokens, plans.expand(2, -1, -1, -1))
    driven = agents.vocabulary_plans(model, vocabulary, tokens)
    np.testing.assert_array_equal(driven, plans[rewards.argmax(dim=1)].numpy())


def test_reference_plan_is_read_at_two_hertz_with_and_without_the_pose_at_zero():
    context = scoring_context(road_scene([CAR]))
    assert context.reference_poses.shape == (41, 3)
    plan = agents.pdm_closed_plan(context)
    np.testing.assert_array_equal(plan, context.reference_poses[5::5])
    shorter = replace(context, reference_poses=context.reference_poses[1:])
    np.testing.assert_array_equal(agents.pdm_closed_plan(shorter), plan)


def test_a_live_agent_plans_in_the_ego_frame_from_a_scene_and_its_images():
    vlm = command_model()
    policy = tiny_policy.policy(meta_channels=32)
    images = np.random.default_rng(0).integers(0, 255, (3, tiny_policy.HEIGHT, tiny_policy.WIDTH, 3), dtype=np.uint8)
    scene = road_scene([CAR])
    plan = seeing_agents.policy_agent(policy, vlm)(scene, images)
    assert plan.shape == (PLAN_POSES, 3) and np.isfinite(plan).all()
    assert seeing_agents.constant_velocity_agent(scene, images)[-1] == pytest.approx([32.0, 0.0, 0.0])
