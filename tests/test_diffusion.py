"""Claims about normalisation, anchors and the denoising chain."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irlvla import PLAN_POSES
from irlvla.diffusion import (
    NORMALIZED_STD,
    TRUNCATION,
    PlanNormalizer,
    TruncatedSchedule,
    denoise_twice,
    fit_anchors,
    replay_chain,
    sample_chain,
)

B, K, S = 2, 3, 2


def human_plans(n: int = 200, seed: int = 0) -> np.ndarray:
    """Constant-speed, constant-curvature plans."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0, 12, n)[:, None] * np.arange(1, PLAN_POSES + 1) * 0.5
    curvature = rng.normal(0, 0.02, n)[:, None]
    heading = curvature * distance
    return np.stack([distance * np.cos(heading / 2), distance * np.sin(heading / 2), heading], axis=-1)


class Shrink(torch.nn.Module):
    """A denoiser whose clean plan is a learnable fraction of the noisy one."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, plans, t):
        return self.factor * plans + 0.01 * t[:, None, None, None], plans.sum(dim=(2, 3))


def chain_inputs(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randn(B, K, PLAN_POSES, 3, generator=generator, dtype=torch.float64)
    return anchors, torch.randn(B, K, S + 1, PLAN_POSES, 3, generator=generator, dtype=torch.float64)


def test_normalized_human_plans_are_white():
    plans = torch.from_numpy(human_plans()).double()
    normalized = PlanNormalizer.fit(plans.numpy()).double().normalize(plans).flatten(1) / NORMALIZED_STD
    assert torch.allclose(normalized.mean(dim=0), torch.zeros(24, dtype=torch.float64), atol=1e-4)
    covariance = normalized.T.cov()
    wide = covariance.diagonal() > 0.99  # axes above the floor
    assert wide.sum() >= 2
    assert torch.allclose(covariance, torch.diag(covariance.diagonal()), atol=1e-3)
    assert (covariance.diagonal() < 1.001).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 50))
def test_denormalize_inverts_normalize_for_any_plan(seed, scale):
    normalizer = PlanNormalizer.fit(human_plans(30))
    plans = torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (4, PLAN_POSES, 3))).float()
    error = (normalizer.denormalize(normalizer.normalize(plans)) - plans).abs().max()
    assert error < 1e-4 * max(scale, 1)


def test_anchors_are_the_modes_of_clearly_separated_plans():
    modes = human_plans(4, seed=3)
    rng = np.random.default_rng(0)
    plans = np.repeat(modes, 25, axis=0) + rng.normal(0, 1e-3, (100, PLAN_POSES, 3))
    anchors = fit_anchors(plans, 4, seed=0)
    assert np.allclose(anchors, modes[np.argsort(modes[:, -1, 0])], atol=5e-3)


def test_too_few_plans_for_the_anchors_are_refused():
    with pytest.raises(ValueError, match="3 plans for 4 anchors"):
        fit_anchors(human_plans(3), 4, seed=0)


def test_two_steps_run_from_the_end_of_the_truncated_schedule():
    assert TruncatedSchedule(2).timesteps == [49, 24]
    assert TruncatedSchedule(1).timesteps == [TRUNCATION - 1]


def test_steps_that_do_not_divide_the_schedule_are_refused():
    with pytest.raises(ValueError, match="do not divide"):
        TruncatedSchedule(3)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("step", [0, 1])
def test_gaussian_step_equals_the_scheduler_of_diffusers(eta, step):
    schedule = TruncatedSchedule(S)
    anchors, noise = chain_inputs()
    noisy, clean = noise[:, :, 0], anchors
    mean, std = schedule.gaussian(noisy, clean, step, eta, std_floor=0.0)
    expected = schedule.scheduler.step(clean, schedule.timesteps[step], noisy, eta=eta, variance_noise=noise[:, :, 1])
    assert torch.allclose(mean + std * noise[:, :, 1], expected.prev_sample, atol=1e-6)


def test_a_chain_without_noise_floor_ends_at_the_predicted_clean_plan():
    anchors, noise = chain_inputs()
    target = torch.ones_like(anchors)
    chain = sample_chain(lambda x, t: (target, x[..., 0, 0]), anchors, noise, TruncatedSchedule(S))
    assert torch.allclose(chain.final, target)
    assert chain.log_prob is None


def test_log_probability_of_the_chain_is_the_gaussian_density_of_its_noise():
    anchors, noise = chain_inputs()
    chain = sample_chain(Shrink(), anchors, noise, TruncatedSchedule(S), eta=1.0, std_floor=0.1)
    density = -0.5 * noise[:, :, 1:] ** 2 - chain.std[:, None, None].log() - 0.5 * np.log(2 * np.pi)
    assert (chain.std >= 0.1).all()
    assert torch.allclose(chain.log_prob, density, atol=1e-5)


def test_replay_with_unchanged_weights_gives_the_sampled_log_probability():
    anchors, noise = chain_inputs()
    with torch.no_grad():
        chain = sample_chain(Shrink(), anchors, noise, TruncatedSchedule(S), eta=1.0, std_floor=0.1)
    again = replay_chain(Shrink(), chain.plans, TruncatedSchedule(S), eta=1.0, std_floor=0.1)
    assert torch.equal(again.log_prob, chain.log_prob) and torch.equal(again.logits, chain.logits)


def test_replay_has_the_gradient_of_the_gaussian_log_density():
    anchors, noise = chain_inputs()
    schedule, denoise = TruncatedSchedule(S), Shrink()
    with torch.no_grad():
        plans = sample_chain(denoise, anchors, noise, schedule, std_floor=0.1).plans
    replay_chain(denoise, plans, schedule, std_floor=0.1).log_prob.sum().backward()

    def total(factor: float) -> float:
        denoise.factor.data.fill_(factor)
        return float(replay_chain(denoise, plans, schedule, std_floor=0.1).log_prob.detach().sum())

    numeric = (total(0.8 + 1e-5) - total(0.8 - 1e-5)) / 2e-5
    assert float(denoise.factor.grad) == pytest.approx(numeric, rel=1e-5)


def test_replay_of_a_deterministic_chain_is_refused():
    anchors, noise = chain_inputs()
    plans = sample_chain(Shrink(), anchors, noise, TruncatedSchedule(S)).plans
    with pytest.raises(ValueError, match="std_floor"):
        replay_chain(Shrink(), plans, TruncatedSchedule(S))


def test_imitation_sees_the_states_that_two_step_sampling_visits():
    anchors, noise = chain_inputs()
    schedule, visited = TruncatedSchedule(S), {"training": [], "sampling": []}

    def record(name):
        def denoise(plans, t):
            visited[name].append((plans, t))
            return 0.8 * plans + 0.01 * t[:, None, None, None], plans.sum(dim=(2, 3))

        return denoise

    denoise_twice(record("training"), anchors, noise[:, :, 0], torch.full((B,), 49), schedule)
    sample_chain(record("sampling"), anchors, noise, schedule)
    for (plans, t), (expected, expected_t) in zip(visited["training"], visited["sampling"], strict=True):
        assert torch.equal(t, expected_t) and torch.allclose(plans, expected, atol=1e-6)
