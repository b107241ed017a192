"""PPO on the denoising chain: each formula against a hand computation or a reference, the loop on a toy bandit."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from irlvla import PLAN_POSES, ppo, reinforcement
from irlvla.diffusion import Chain, PlanNormalizer, TruncatedSchedule
from irlvla.epdms.states import NUM_COLUMNS
from irlvla.frame_pairs import FramePairs

torch.set_num_threads(1)


def random_chain(generator: torch.Generator, std=(0.3, 0.2), batch=2, candidates=6) -> Chain:
    """A chain whose noise stays inside the clamp of the log-probability."""
    mean = torch.randn(batch, candidates, len(std), PLAN_POSES, 3, generator=generator)
    std = torch.tensor(std)
    noise = torch.randn(mean.shape, generator=generator).clamp(-2, 2)
    plans = torch.cat([torch.zeros_like(mean[:, :, :1]), mean + std[:, None, None] * noise], dim=2)
    log_prob = Normal(mean, std[:, None, None]).log_prob(plans[:, :, 1:])
    return Chain(plans, mean, std, log_prob, torch.randn(batch, candidates, generator=generator))


# ------------------------------------------------------------------ probabilities


def test_log_prob_is_the_mean_over_dimensions_of_torch_distributions_without_the_constant_of_the_scale():
    chain = random_chain(torch.Generator().manual_seed(0))
    std = chain.std[:, None, None].expand_as(chain.mean)
    white = (chain.plans[:, :, 1:] - chain.mean) / std
    expected = Normal(0.0, 1.0).log_prob(white).mean(dim=(-2, -1))
    torch.testing.assert_close(ppo.chain_log_prob(chain, 2), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ppo.chain_log_prob(chain, 1), expected[:, :, 1:], atol=1e-5, rtol=1e-5)


def test_ratio_of_two_policies_is_that_of_their_densities_to_the_power_of_one_over_the_dimensions():
    generator = torch.Generator().manual_seed(1)
    old = random_chain(generator, std=(0.3,))
    mean = old.mean + 0.02 * torch.randn(old.mean.shape, generator=generator)
    new = replace(old, mean=mean, log_prob=Normal(mean, 0.3).log_prob(old.plans[:, :, 1:]))
    density_ratio = (new.log_prob - old.log_prob).double().sum(dim=(-2, -1)).exp()
    ratio = (ppo.chain_log_prob(new, 1) - ppo.chain_log_prob(old, 1)).double().exp()
    torch.testing.assert_close(ratio, density_ratio ** (1 / (3 * PLAN_POSES)), atol=1e-5, rtol=1e-5)


def test_log_prob_of_a_far_sample_is_clamped_per_dimension():
    plans = torch.zeros(1, 1, 2, PLAN_POSES, 3)
    plans[0, 0, 1, 0, 0] = 100.0
    mean = torch.zeros(1, 1, 1, PLAN_POSES, 3)
    chain = Chain(plans, mean, torch.ones(1), Normal(mean, 1.0).log_prob(plans[:, :, 1:]), torch.zeros(1, 1))
    at_mean = -0.5 * math.log(2 * math.pi)
    expected = (-5.0 + (3 * PLAN_POSES - 1) * at_mean) / (3 * PLAN_POSES)
    assert ppo.chain_log_prob(chain, 1).item() == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------ advantages


def test_group_advantage_equals_the_brute_force_over_scenes_and_anchors():
    rewards = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    advantage = ppo.group_advantage(rewards)
    for b, g, k in itertools.product(range(2), range(3), range(4)):
        others = [rewards[b, i, k].item() for i in range(3)]
        assert advantage[b, g, k].item() == pytest.approx(rewards[b, g, k].item() - sum(others) / 3, abs=1e-6)


def test_group_advantage_of_a_single_sample_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        ppo.group_advantage(torch.zeros(2, 1, 4))


def test_critic_advantage_equals_the_brute_force():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.rand(2, 3, 4, generator=generator), torch.rand(2, 4, generator=generator)
    advantage = ppo.critic_advantage(rewards, values)
    for b, g, k in itertools.product(range(2), range(3), range(4)):
        assert advantage[b, g, k] == rewards[b, g, k] - values[b, k]


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_normalised_advantage_has_unit_size_and_keeps_its_signs_at_any_scale(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    advantage = scale * torch.randn(2, 3, 4, generator=generator)
    weight = torch.rand(2, 3, 4, generator=generator)
    normal = ppo.normalise(advantage, weight)
    assert ((weight * normal**2).sum() / weight.sum()).item() == pytest.approx(1.0, rel=1e-3)
    assert (normal.sign() == advantage.sign()).all()


def test_later_steps_count_more_and_may_move_further():
    torch.testing.assert_close(ppo.step_discount(3, 0.5), torch.tensor([0.25, 0.5, 1.0]))
    clip = ppo.clip_range(4, 0.001, 0.01)
    assert (clip.diff() > 0).all() and clip[0].item() == pytest.approx(0.001) and clip[-1].item() == pytest.approx(0.01)
    assert ppo.clip_range(1, 0.001, 0.01).item() == pytest.approx(0.01)


# ------------------------------------------------------------------ losses


def hand_case(log_ratio: float) -> tuple[torch.Tensor, ...]:
    """One scene, one sample, two anchors, two steps: advantages 2 and -1, weights 3/4 and 1/4."""
    old = torch.full((1, 1, 2, 2), -1.0)
    new = (old + log_ratio).requires_grad_()
    advantage, weight = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[0.75, 0.25]]])
    return new, old, advantage, weight, torch.tensor([0.5, 1.0]), torch.tensor([0.1, 0.2])


def test_policy_loss_at_ratio_one_is_minus_the_discounted_weighted_advantage():
    new, *rest = hand_case(0.0)
    result = ppo.policy_loss(new, *rest)
    result["loss"].backward()
    weighted = 0.75 * 2.0 + 0.25 * -1.0
    assert result["loss"].item() == pytest.approx(-weighted * (0.5 + 1.0) / 2)
    assert result["approx_kl"].item() == 0 and result["clipfrac"].item() == 0
    # At ratio 1 the gradient is that of the policy gradient: -weight x advantage x discount, averaged over two steps.
    expected = -torch.tensor([[[[0.75 * 2 * 0.5, 0.75 * 2], [0.25 * -1 * 0.5, 0.25 * -1]]]]) / 2
    torch.testing.assert_close(new.grad, expected)


def test_policy_loss_off_ratio_is_clipped_only_where_that_is_pessimistic():
    ratio = 1.3
    new, *rest = hand_case(math.log(ratio))
    result = ppo.policy_loss(new, *rest)
    result["loss"].backward()
    good = 0.75 * 2 * (0.5 * 1.1 + 1.0 * 1.2)  # gains beyond the range are cut off
    bad = 0.25 * -1 * (0.5 * ratio + 1.0 * ratio)  # losses count in full
    assert result["loss"].item() == pytest.approx(-(good + bad) / 2, rel=1e-5)
    assert result["clipfrac"].item() == 1.0
    assert result["approx_kl"].item() == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-4)
    assert (new.grad[0, 0, 0] == 0).all() and (new.grad[0, 0, 1] > 0).all()


def test_choice_loss_at_the_old_choice_is_the_exact_policy_gradient():
    logits = torch.tensor([[[0.3, -0.2, 1.0]]], requires_grad=True)
    rewards = torch.tensor([[[1.0, 0.0, 0.5]]])
    p = logits.detach().softmax(-1)
    advantage = rewards - (p * rewards).sum()
    ppo.choice_loss(logits, logits.detach(), advantage, 0.2)["loss"].backward()
    torch.testing.assert_close(logits.grad, -p * advantage)  # d/dlogits of -sum_k p_k r_k


def test_value_loss_is_half_the_squared_error_to_every_sample():
    values, rewards = torch.tensor([[0.5, 1.0]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    assert ppo.value_loss(values, rewards)["loss"].item() == pytest.approx(0.5 * (0.25 + 0.25 + 0.0 + 1.0) / 4)


def test_behaviour_cloning_loss_is_the_kl_divergence_of_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    new, old = random_chain(generator), random_chain(generator)
    weight = torch.full((2, 2, 3), 1 / 3)
    std = new.std[:, None, None].expand_as(new.mean)
    steps = kl_divergence(Normal(old.mean, std), Normal(new.mean, std)).mean()
    logits = [chain.logits.view(2, 2, 3) for chain in (old, new)]
    choice = kl_divergence(Categorical(logits=logits[0]), Categorical(logits=logits[1])).mean()
    result = ppo.behaviour_cloning_loss(new, old, weight, 2)
    assert result["steps"].item() == pytest.approx(steps.item(), rel=1e-5)
    assert result["choice"].item() == pytest.approx(choice.item(), rel=1e-5)


def test_explained_variance_is_one_for_a_perfect_critic_zero_for_a_constant_and_nan_for_constant_rewards():
    rewards = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert ppo.explained_variance(rewards, rewards) == pytest.approx(1.0)
    assert ppo.explained_variance(torch.full((50,), 0.3), rewards) == pytest.approx(0.0, abs=1e-5)
    assert math.isnan(ppo.explained_variance(rewards, torch.ones(50)))


# ------------------------------------------------------------------ the loop


class Bandit(nn.Module):
    """A planner of two learned plans, whatever the noisy one; the scene's status decides which anchor pays."""

    def __init__(self):
        super().__init__()
        self.normalizer = PlanNormalizer()  # the identity
        self.targets = nn.Parameter(torch.zeros(2, PLAN_POSES, 3))
        self.score = nn.Linear(2, 2)

    def denoiser(self, tokens):
        def denoise(noisy, t):
            samples = noisy.shape[1] // 2
            logits = self.score(tokens["status"][:, 0]).repeat(1, samples)
            return self.targets.repeat(samples, 1, 1).expand_as(noisy), logits

        return denoise


def bandit_settings(baseline: str, cloning_weight: float = 0.0, sampled_anchors: int = 2) -> reinforcement.Settings:
    return reinforcement.Settings(
        iterations=100, scenes_per_iteration=16, anchors=sampled_anchors, samples=8, epochs=3, minibatch_scenes=8,
        trained_steps=2, eta=1.0, std_floor=0.3,
        baseline=baseline, gamma=0.99, clip_first=0.05, clip_last=0.1, choice_clip=0.2, target_kl=0.5,
        learning_rate=0.02, critic_learning_rate=0.01, cloning_weight=cloning_weight,
        choice_cloning_weight=cloning_weight, rolling_back_cost=0.0, max_grad_norm=10.0,
    )  # fmt: skip


def bandit_run(baseline: str, cloning_weight: float = 0.0, sampled_anchors: int = 2):
    torch.manual_seed(0)
    side = torch.tensor([-1.0, 1.0]).repeat(16)
    status = torch.stack([side, -side], dim=-1)[:, None]
    planner = Bandit().eval()
    optimum = torch.stack([torch.full((PLAN_POSES, 3), 1.0), torch.full((PLAN_POSES, 3), -0.5)])

    def reward(scenes, plans, extended):
        groups = plans.unflatten(1, (-1, 2))
        quality = torch.exp(-((groups - optimum) ** 2).mean(dim=(-2, -1)))
        pays = torch.stack([side[scenes] < 0, side[scenes] > 0], dim=-1)
        return (quality * (0.2 + 0.8 * pays[:, None])).flatten(1, 2)

    numbers = bandit_settings(baseline, cloning_weight, sampled_anchors)
    generator = torch.Generator().manual_seed(0)
    anchors, schedule = torch.zeros(2, PLAN_POSES, 3), TruncatedSchedule(2)
    policy = SimpleNamespace(planner=planner, normalizer=planner.normalizer, anchors=anchors, schedule=schedule)
    cached, alone = {"status": status}, FramePairs(torch.full((32,), -1), np.zeros((32, NUM_COLUMNS)))
    history = list(reinforcement.train(policy, reward, cached, alone, numbers, generator))
    return planner, optimum, history


@pytest.mark.parametrize("baseline", ["group", "critic"])
def test_ppo_finds_the_optimum_of_a_bandit(baseline):
    policy, optimum, history = bandit_run(baseline)
    assert (policy.targets - optimum).abs().mean() < 0.15  # 0.75 at the start
    left, right = policy.score(torch.tensor([[-1.0, 1.0], [1.0, -1.0]])).softmax(-1)
    assert left[0] > 0.9 and right[1] > 0.9
    assert history[-1]["reward_chosen"] > history[0]["reward_chosen"] + 0.2
    assert history[0]["kl_to_il"] < history[-1]["kl_to_il"]


def bandit_roll_out(planner: Bandit, reward, status, anchors, **changed):
    """A roll-out of two scenes with no noise but the floor's; no frame before either is known."""
    numbers = replace(bandit_settings("group"), eta=0.0, **changed)
    cached, alone = {"status": status}, FramePairs(torch.full((2,), -1), np.zeros(0))
    scenes, schedule, generator = torch.arange(2), TruncatedSchedule(2), torch.Generator().manual_seed(0)
    known = (cached, alone, scenes, anchors, schedule, numbers, generator)
    return reinforcement.roll_out(planner.eval(), planner, reward, *known)


def test_only_the_likeliest_anchors_are_sampled():
    class Near(Bandit):
        """Moves no plan, and prefers those near the scene's status."""

        def denoiser(self, tokens):
            return lambda noisy, t: (noisy, -(noisy.mean(dim=(-2, -1)) - tokens["status"][:, 0]).abs())

    def reward(scenes, plans, extended):
        return plans.mean(dim=(-2, -1))

    status, anchors = torch.tensor([0.2, 1.9])[:, None, None], torch.arange(4.0)[:, None, None].expand(4, PLAN_POSES, 3)
    old = bandit_roll_out(Near(), reward, status, anchors, samples=3, std_floor=1e-3)
    assert old.anchors.tolist() == [[0, 1], [1, 2]]
    assert torch.allclose(old.rewards, old.anchors[:, None].float(), atol=0.5)


def test_a_reward_is_lowered_by_the_cost_of_the_metres_that_a_plan_rolls_back():
    class StandsOrRollsBack(Bandit):
        """Its two candidates stand, and roll back by half a metre."""

        def denoiser(self, tokens):
            plans = torch.zeros(2, PLAN_POSES, 3)
            plans[1, :, 0] = -0.5
            return lambda noisy, t: (plans.expand_as(noisy), torch.zeros(noisy.shape[:2]))

    def reward(scenes, plans, extended):
        return torch.full(plans.shape[:2], 0.8)

    status, anchors = torch.zeros(2, 1, 1), torch.zeros(2, PLAN_POSES, 3)
    old = bandit_roll_out(
        StandsOrRollsBack(), reward, status, anchors, samples=1, std_floor=1e-6, rolling_back_cost=0.2
    )
    assert torch.allclose(old.rewards, torch.tensor([0.8, 0.7]).expand(2, 1, 2), atol=1e-4)


def test_more_anchors_than_the_policy_has_are_refused():
    with pytest.raises(ValueError, match="ppo.anchors: 3 of a policy that has 2"):
        bandit_run("group", sampled_anchors=3)


def test_behaviour_cloning_holds_the_policy_near_imitation():
    free, _, _ = bandit_run("group")
    held, _, _ = bandit_run("group", cloning_weight=10.0)
    assert held.targets.abs().mean() < 0.3 * free.targets.abs().mean()


def test_a_second_run_from_the_same_seed_gives_the_same_bits():
    first, _, history = bandit_run("critic")
    second, _, again = bandit_run("critic")
    assert torch.equal(first.targets, second.targets) and history == again
