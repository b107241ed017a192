"""Reranking: the choice that weighs reward against the policy's own choice, and goes on as it began."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_policy
import torch
from straight_road import CAR, road_scene, straight_on

from irlvla import PLAN_POSES, seeing_agents
from irlvla.agents import policy_plans
from irlvla.epdms.build import ego_states
from irlvla.epdms.scores import SUB_SCORES
from irlvla.frame_pairs import FramePairs
from irlvla.reranking import RatedCandidates, rated_candidates, reranked_plans
from irlvla.scenes.scene import Scene
from irlvla.seeing_agents import reranked_agent

torch.set_num_threads(1)

SPEED_MPS = 8.0  # of `road_scene`
STEADY, BRAKING = straight_on(road_scene()), straight_on(road_scene())
BRAKING[:, 0] -= 0.6 * (0.5 * np.arange(1, PLAN_POSES + 1)) ** 2
ALONE = FramePairs(torch.full((3,), -1), np.zeros((3, 11)))  # three scenes that follow on nothing


def rated(*preferences: float) -> RatedCandidates:
    """A scene per number: two plans of equal reward, STEADY and BRAKING, by how much the policy prefers the second."""
    plans = torch.from_numpy(np.stack([STEADY, BRAKING])).float().expand(len(preferences), -1, -1, -1)
    logits = torch.tensor([[0.0, preference] for preference in preferences])
    return RatedCandidates(plans, logits, {name: torch.ones(1, len(preferences), 2) for name in SUB_SCORES})


@pytest.fixture
def rated_by_model():
    """Candidates of a small policy in three scenes, their rewards by a small ensemble, and what the policy drives."""
    policy = tiny_policy.policy()
    model = tiny_policy.reward_ensemble(policy, members=2)
    with torch.no_grad():
        tokens = policy.encode(tiny_policy.batch(3))
        plans, _ = policy.plan(tokens)
        rewards = model.reward(tokens, plans)
    return rated_candidates(policy, model, tokens, tokens), rewards, policy_plans(policy, tokens)


def test_plan_maximises_reward_less_temperature_times_divergence_from_the_policys_choice(rated_by_model):
    found, rewards, _ = rated_by_model
    temperature, old = 0.01, found.logits.log_softmax(dim=1)
    choice = found.logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([choice], 0.05)
    for _ in range(1000):  # the optimum by gradient ascent, not by the formula
        new = choice.log_softmax(dim=1)
        objective = (new.exp() * (rewards - temperature * (new - old))).sum()
        optimizer.zero_grad()
        (-objective).backward()
        optimizer.step()
    expected = found.plans[torch.arange(3), choice.argmax(dim=1)]
    np.testing.assert_array_equal(reranked_plans(found, ALONE, temperature), expected.numpy())


def test_temperature_leads_from_the_highest_reward_to_the_policys_own_choice(rated_by_model):
    found, rewards, own = rated_by_model
    cold, hot = (reranked_plans(found, ALONE, temperature) for temperature in (1e-9, float("inf")))
    np.testing.assert_array_equal(cold, found.plans[torch.arange(3), rewards.argmax(dim=1)].numpy())
    np.testing.assert_array_equal(hot, own)
    assert not np.array_equal(cold, hot)


def test_of_two_plans_of_equal_reward_the_one_that_goes_on_as_before_is_driven():
    states = ego_states(road_scene([CAR]))[[2, 3, 3]]
    pairs = FramePairs(torch.tensor([-1, 0, -1]), states)
    driven = reranked_plans(rated(-1.0, 1.0, 1.0), pairs)  # the policy prefers to brake in the second and third scene
    np.testing.assert_allclose(driven, np.stack([STEADY, STEADY, BRAKING]), atol=1e-5)


def test_a_strong_preference_is_not_outweighed_by_comfort():
    pairs = FramePairs(torch.tensor([-1, 0]), ego_states(road_scene([CAR]))[[2, 3]])
    comfort = 2 / 16  # what extended comfort adds to a score that is 1 otherwise
    driven = reranked_plans(rated(-1.0, 1.1 * comfort / 0.1), pairs, temperature=0.1)
    np.testing.assert_allclose(driven[1], BRAKING, atol=1e-5)


def later(scene: Scene, seconds: float) -> Scene:
    """The scene driven on at its present velocity."""
    poses = scene.ego_poses + np.array([SPEED_MPS * seconds, 0.0, 0.0])
    return replace(scene, ego_poses=poses, timestamp_us=scene.timestamp_us + int(seconds * 1e6))


@pytest.mark.parametrize(
    ("follows", "driven"),
    [
        (lambda scene: later(scene, 0.5), STEADY),
        (lambda scene: later(scene, 1.0), BRAKING),
        (lambda scene: replace(later(scene, 0.5), log_name="another"), BRAKING),
    ],
    ids=["half_a_second_later", "a_second_later", "of_another_drive"],
)
def test_a_live_agent_goes_on_with_its_last_plan_of_the_same_drive(monkeypatch, follows, driven):
    answers = iter([rated(-1.0), rated(1.0)])
    monkeypatch.setattr(seeing_agents, "encode_scene", lambda *_: {})
    monkeypatch.setattr(seeing_agents, "rated_candidates", lambda *_: next(answers))
    agent, scene = reranked_agent(None, None, None), road_scene([CAR])
    np.testing.assert_allclose(agent(scene, None), STEADY, atol=1e-5)
    np.testing.assert_allclose(agent(follows(scene), None), driven, atol=1e-5)
