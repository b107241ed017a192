"""PPO on the denoising chain of the planner, as pure functions; `reinforcement.py` holds the loop.

One scene is one episode. Its actions are, for each of G x K candidates (G noise samples of K anchors),
S denoising steps, each a Gaussian over the next, less noisy plan; then the choice of one of the K
denoised candidates, a categorical over the planner's scores. The reward is that of the chosen plan.

Two things keep the variance low. A learned reward is cheap, so every candidate gets one and the choice
is averaged over exactly instead of sampled. And a candidate is compared with what its own anchor earns
in its own scene: a critic's value, or the mean of its G noise samples.

Sources: per-step discount, clip range growing along the chain, clamped log-probabilities averaged over
the pose dimensions and the behaviour-cloning term are DPPO's (Ren et al., 2024); the group baseline is
GRPO's (Shao et al., 2024) and, within one anchor, DiffusionDriveV2's (2025); reading order after CleanRL.

    B scenes   G noise samples   K anchors   S trained denoising steps, noisiest first   T plan poses   N = G K
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from irlvla.diffusion import Chain

Losses = dict[str, Tensor]
LOG_PROB_BOUNDS = (-5.0, 2.0)  # DPPO; here of standardised deviations, see `chain_log_prob`
CLIP_GROWTH = 3.0  # DPPO: exponential rate at which the clip range grows along the chain


# ------------------------------------------------------------------ probabilities


def chain_log_prob(chain: Chain, trained_steps: int) -> Tensor:
    """Log-probabilities (B, N, S) of the last `trained_steps` steps of a chain.

    Each dimension's term is clamped to LOG_PROB_BOUNDS, then the mean over the 3 T dimensions is taken, so that
    ratios do not explode with the plan's length. The terms are those of the standardised deviation: the standard
    deviations are not learned, their constants cancel in every ratio and would only shift what the clamp cuts off.
    """
    terms = chain.log_prob + chain.std.log()[:, None, None]
    return terms[:, :, -trained_steps:].clamp(*LOG_PROB_BOUNDS).mean(dim=(-2, -1))


# ------------------------------------------------------------------ advantages


def group_advantage(rewards: Tensor) -> Tensor:
    """Rewards (B, G, K) minus the mean over the G noise samples of the same anchor in the same scene.

    Raises ValueError for G = 1, where every advantage would be zero.
    """
    if rewards.shape[1] < 2:
        raise ValueError("a group baseline needs at least two noise samples of each anchor")
    return rewards - rewards.mean(dim=1, keepdim=True)


def critic_advantage(rewards: Tensor, values: Tensor) -> Tensor:
    """Rewards (B, G, K) minus the critic's values (B, K): the episode is one plan, so the return is the reward."""
    return rewards - values[:, None]


def normalise(advantage: Tensor, weight: Tensor) -> Tensor:
    """Advantage over its root mean square under `weight`; the sign stays, unlike with a shift by the mean."""
    mean_square = (weight * advantage**2).sum() / weight.sum()
    return advantage / (mean_square.sqrt() + 1e-8)


def step_discount(steps: int, gamma: float) -> Tensor:
    """gamma^(steps left) (S,): early steps, whose effect the later ones can undo, count less."""
    return gamma ** torch.arange(steps - 1, -1, -1, dtype=torch.float32)


def clip_range(steps: int, first: float, last: float) -> Tensor:
    """Clip range (S,), growing exponentially from `first` to `last` along the chain; one step has `last`."""
    if steps == 1:
        return torch.tensor([last])
    position = torch.arange(steps, dtype=torch.float32) / (steps - 1)
    return first + (last - first) * torch.expm1(CLIP_GROWTH * position) / math.expm1(CLIP_GROWTH)


# ------------------------------------------------------------------ losses


def clipped(ratio: Tensor, advantage: Tensor, clip: Tensor | float) -> Tensor:
    """PPO's pessimistic objective min(r A, clip(r, 1 - c, 1 + c) A)."""
    return torch.minimum(ratio * advantage, torch.clamp(ratio, 1 - clip, 1 + clip) * advantage)


def policy_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, weight: Tensor, discount: Tensor, clip: Tensor
) -> Losses:
    """Loss of the denoising steps: log-probabilities (B, G, K, S), advantage and weight (B, G, K), discount, clip (S,).

    `weight` is the probability with which the old policy chooses the candidate: it sums to one over K.
    `approx_kl` is Schulman's estimator mean(r - 1 - log r), `clipfrac` the share of steps outside the range.
    """
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    objective = clipped(ratio, advantage[..., None], clip) * discount
    with torch.no_grad():
        approx_kl = (ratio - 1 - log_ratio).mean()
        clipfrac = ((ratio - 1).abs() > clip).float().mean()
    return {
        "loss": -(weight[..., None] * objective).sum(dim=2).mean(),
        "approx_kl": approx_kl,
        "clipfrac": clipfrac,
    }


def choice_loss(logits: Tensor, old_logits: Tensor, advantage: Tensor, clip: float) -> Losses:
    """Loss of the choice among K candidates, averaged exactly over the old choice: all arguments (B, G, K)."""
    new, old = logits.log_softmax(dim=-1), old_logits.log_softmax(dim=-1)
    objective = clipped((new - old).exp(), advantage, clip)
    return {
        "loss": -(old.exp() * objective).sum(dim=-1).mean(),
        "entropy": -(new.exp() * new).sum(dim=-1).mean(),
        "approx_kl": (old.exp() * (old - new)).sum(dim=-1).mean().detach(),
    }


def value_loss(values: Tensor, rewards: Tensor) -> Losses:
    """Half the squared error of the critic's values (B, K) against the rewards (B, G, K)."""
    return {"loss": 0.5 * F.mse_loss(values[:, None].expand_as(rewards), rewards)}


def behaviour_cloning_loss(new: Chain, reference: Chain, weight: Tensor, trained_steps: int) -> Losses:
    """KL(imitation || policy) along the same chains: what is left of -E[log policy(a)], a from the imitation policy.

    `steps` of the denoising and `choice` among the candidates, to be weighed by the caller.

    Steps have equal standard deviations under both, so their KL is half the squared distance of the standardised
    means; it is averaged over pose dimensions like the log-probability, and over candidates by `weight` (B, G, K).
    """
    white = ((new.mean - reference.mean) / new.std[:, None, None])[:, :, -trained_steps:]
    steps = 0.5 * (white**2).mean(dim=(-3, -2, -1)).view(weight.shape)
    log_new, log_old = (chain.logits.view(weight.shape).log_softmax(dim=-1) for chain in (new, reference))
    loss_steps = (weight * steps).sum(dim=-1).mean()
    loss_choice = (log_old.exp() * (log_old - log_new)).sum(dim=-1).mean()
    return {"steps": loss_steps, "choice": loss_choice}


def explained_variance(values: Tensor, rewards: Tensor) -> float:
    """1 - Var(reward - value) / Var(reward): 1 for a perfect critic, 0 for a constant, NaN for constant rewards."""
    variance = rewards.var(correction=0)
    return float("nan") if variance == 0 else float(1 - (rewards - values).var(correction=0) / variance)
