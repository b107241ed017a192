"""Truncated diffusion of plans around anchors, and its chain as a policy that PPO can train.

A plan starts as a slightly noised anchor and is denoised in S steps t_0 > ... > t_{S-1} (then t_S = -1, clean):

    x_{t_0}   = sqrt(a_{t_0}) anchor + sqrt(1 - a_{t_0}) noise_0
    x0_i      = denoise(x_{t_i}, t_i)                                                the network predicts the clean plan
    x_{t_i+1} = mean_i + std_i noise_{i+1},   mean_i, std_i of DDIM (eta) from (x_{t_i}, x0_i),  std_i >= std_floor

`a_t` is the scheduler's cumulative product of 1 - beta. Truncation and anchors: DiffusionDrive (arXiv 2411.15139);
DDIM: arXiv 2010.02502, equations 12 and 16; floors and per-step log-probabilities: DPPO (arXiv 2409.00588).
Noise is always an argument. All plans here are normalised (`PlanNormalizer`), shape (B, K, T, 3).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from irlvla import PLAN_POSES

TRAIN_TIMESTEPS = 1000
TRUNCATION = 50  # training and sampling use the first 50 steps only
PLAN_SIZE = PLAN_POSES * 3
HEADING_LEVER_M = 5.0  # 1 rad counts as 5 m: about what it moves the ends of a car
MIN_SPREAD_M = 0.05  # floor of the standard deviation along a principal axis
NORMALIZED_STD = 0.5  # as in EDM (arXiv 2206.00364); the truncated schedule's largest noise, 0.094, is then 19 % of it

# in the scenes that it is made for: plans (B, K, T, 3), t (B,) -> clean plans, logits (B, K)
Denoise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class PlanNormalizer(nn.Module):
    """Whitening of plans: principal components of the human plans, each with mean 0 and deviation NORMALIZED_STD.

    Independent noise on the T*3 normalised numbers is a smooth change of the plan in metres: it moves the poses
    together, as human plans vary. Shapes stay (..., T, 3), although a normalised number belongs to no single pose.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(PLAN_SIZE))
        self.register_buffer("to_normalized", torch.eye(PLAN_SIZE))
        self.register_buffer("to_plan", torch.eye(PLAN_SIZE))

    @classmethod
    def fit(cls, plans: NDArray) -> "PlanNormalizer":
        """From human plans (n, T, 3) in metres and radians."""
        lever = np.tile([1.0, 1.0, HEADING_LEVER_M], PLAN_POSES)
        flat = np.asarray(plans, np.float64).reshape(len(plans), PLAN_SIZE) * lever
        _, singular, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=True)
        spread = np.zeros(PLAN_SIZE)
        spread[: len(singular)] = singular / np.sqrt(max(len(plans) - 1, 1))
        spread = np.maximum(spread, MIN_SPREAD_M) / NORMALIZED_STD
        axes *= np.sign(axes[np.arange(PLAN_SIZE), np.abs(axes).argmax(axis=1)])[:, None]  # a sign without choice
        normalizer = cls()
        normalizer.mean.copy_(torch.from_numpy(flat.mean(axis=0) / lever))
        normalizer.to_normalized.copy_(torch.from_numpy(lever[:, None] * axes.T / spread))
        normalizer.to_plan.copy_(torch.from_numpy(spread[:, None] * axes / lever))
        return normalizer

    def normalize(self, plans: Tensor) -> Tensor:
        """(..., T, 3) metres and radians -> normalised."""
        return ((plans.flatten(-2) - self.mean) @ self.to_normalized).unflatten(-1, (PLAN_POSES, 3))

    def denormalize(self, normalized: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return (normalized.flatten(-2) @ self.to_plan + self.mean).unflatten(-1, (PLAN_POSES, 3))


def fit_anchors(plans: NDArray, num_anchors: int, seed: int) -> NDArray[np.float32]:
    """(K, T, 3) centres of the human plans (n, T, 3) in metres, by K-means on poses with HEADING_LEVER_M, ordered by
    their final x.

    Raises ValueError with fewer plans than anchors.
    """
    if len(plans) < num_anchors:
        raise ValueError(f"{len(plans)} plans for {num_anchors} anchors; use more scenes or fewer anchors")
    lever = np.array([1.0, 1.0, HEADING_LEVER_M])
    flat = (np.asarray(plans, np.float64) * lever).reshape(len(plans), -1)
    with threadpool_limits(1):  # several threads add in an order that varies
        centers = KMeans(num_anchors, n_init=4, random_state=seed).fit(flat).cluster_centers_
    anchors = centers.reshape(num_anchors, PLAN_POSES, 3) / lever
    return anchors[np.argsort(anchors[:, -1, 0], kind="stable")].astype(np.float32)


class TruncatedSchedule:
    """The first TRUNCATION of TRAIN_TIMESTEPS steps of a scaled-linear diffusion, sampled in `steps` DDIM steps."""

    def __init__(self, steps: int):
        if steps < 1 or TRUNCATION % steps:
            raise ValueError(f"{steps} denoising steps do not divide the {TRUNCATION} steps of the truncated schedule")
        self.steps = steps
        self.scheduler = DDIMScheduler(
            TRAIN_TIMESTEPS,
            beta_schedule="scaled_linear",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )
        self.scheduler.set_timesteps(TRAIN_TIMESTEPS * steps // TRUNCATION)
        self.timesteps: list[int] = self.scheduler.timesteps[-steps:].tolist()  # 2 steps: 49, 24

    def add_noise(self, plans: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of clean plans (B, K, T, 3) for timesteps t (B,)."""
        return self.scheduler.add_noise(plans, noise, t)

    def gaussian(self, noisy: Tensor, clean: Tensor, step: int, eta: float, std_floor: float) -> tuple[Tensor, float]:
        """Mean (like `noisy`) and standard deviation of the plans after the given step (0 ... steps - 1)."""
        cumulative = self.scheduler.alphas_cumprod
        alpha = float(cumulative[self.timesteps[step]])
        alpha_next = float(cumulative[self.timesteps[step + 1]]) if step + 1 < self.steps else 1.0
        std = eta * np.sqrt((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next))
        noise = (noisy - alpha**0.5 * clean) / (1 - alpha) ** 0.5
        mean = alpha_next**0.5 * clean + max(1 - alpha_next - std**2, 0.0) ** 0.5 * noise
        return mean, max(float(std), std_floor)


def denoise_twice(
    denoise: Denoise, anchors: Tensor, noise: Tensor, t: Tensor, schedule: TruncatedSchedule
) -> tuple[Tensor, Tensor]:
    """What imitation trains: clean plans (2, B, K, T, 3) and logits (2, B, K) predicted from two states of the chain.

    First from the anchors (B, K, T, 3) noised to times t (B,); then from where a DDIM step with that prediction leads
    at t // 2. In sampling, every step but the first starts from such a state, between anchor and prediction: a denoiser
    that has only seen noised anchors is off there. No gradient passes from the second prediction to the first.
    """
    noisy = schedule.add_noise(anchors, noise, t)
    clean, logits = denoise(noisy, t)
    alpha, alpha_next = (
        schedule.scheduler.alphas_cumprod[times.cpu()].to(noisy)[:, None, None, None] for times in (t, t // 2)
    )
    remaining = (noisy - alpha.sqrt() * clean.detach()) / (1 - alpha).sqrt()
    later = alpha_next.sqrt() * clean.detach() + (1 - alpha_next).sqrt() * remaining
    clean_later, logits_later = denoise(later, t // 2)
    return torch.stack([clean, clean_later]), torch.stack([logits, logits_later])


@dataclass(frozen=True)
class Chain:
    """S denoising steps of K plans. `log_prob` is elementwise, to be clamped and averaged by its user."""

    plans: Tensor  # (B, K, S + 1, T, 3) noised anchors first, final plans last
    mean: Tensor  # (B, K, S, T, 3) of plans[:, :, 1:]
    std: Tensor  # (S,)
    log_prob: Tensor | None  # (B, K, S, T, 3) of plans[:, :, 1:]; None if a step is deterministic
    logits: Tensor  # (B, K) score of each plan, from the last step

    @property
    def final(self) -> Tensor:
        """(B, K, T, 3)"""
        return self.plans[:, :, -1]


def _chain(
    denoise: Denoise,
    start: Tensor,
    schedule: TruncatedSchedule,
    eta: float,
    std_floor: float,
    following: Callable[[int, Tensor, float], Tensor],
) -> Chain:
    """The chain from `start` (B, K, T, 3); `following` (step, mean, std) gives the plans after a step."""
    plans, means, stds = [start], [], []
    for step, timestep in enumerate(schedule.timesteps):
        time = torch.full((len(start),), timestep, device=start.device)
        clean, logits = denoise(plans[-1], time)
        mean, std = schedule.gaussian(plans[-1], clean, step, eta, std_floor)
        means.append(mean)
        stds.append(std)
        plans.append(following(step, mean, std))
    visited, mean = torch.stack(plans, dim=2), torch.stack(means, dim=2)
    std = torch.tensor(stds, dtype=mean.dtype, device=mean.device)
    log_prob = None
    if min(stds) > 0:
        log_prob = torch.distributions.Normal(mean, std[:, None, None]).log_prob(visited[:, :, 1:])
    return Chain(visited, mean, std, log_prob, logits)


def sample_chain(
    denoise: Denoise,
    anchors: Tensor,
    noise: Tensor | None,
    schedule: TruncatedSchedule,
    eta: float = 0.0,
    std_floor: float = 0.0,
) -> Chain:
    """Denoise anchors (B, K, T, 3) with unit noise (B, K, S + 1, T, 3): the first for the anchors, then one a step.

    None: without noise, as a policy drives.
    """
    if noise is None:
        noise = anchors.new_zeros(*anchors.shape[:2], schedule.steps + 1, *anchors.shape[2:])
    first = torch.full((len(anchors),), schedule.timesteps[0], device=anchors.device)
    start = schedule.add_noise(anchors, noise[:, :, 0], first)

    def drawn(step: int, mean: Tensor, std: float) -> Tensor:
        return mean + std * noise[:, :, step + 1]

    return _chain(denoise, start, schedule, eta, std_floor, drawn)


def replay_chain(
    denoise: Denoise,
    plans: Tensor,
    schedule: TruncatedSchedule,
    eta: float = 0.0,
    std_floor: float = 0.0,
) -> Chain:
    """The chain of given `Chain.plans` (B, K, S + 1, T, 3) under the present weights, with gradients.

    Raises ValueError if a step is deterministic, because its log-probability does not exist.
    """

    def visited(step: int, mean: Tensor, std: float) -> Tensor:
        return plans[:, :, step + 1]

    chain = _chain(denoise, plans[:, :, 0], schedule, eta, std_floor, visited)
    if chain.log_prob is None:
        raise ValueError("a step of this chain is deterministic: give std_floor > 0")
    return chain
