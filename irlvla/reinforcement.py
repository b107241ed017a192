"""Reinforcement learning of the planner: sample chains, reward them, improve the policy by PPO (`ppo.py`).

The reward is a function of scene and plan: the reward world model, or the simulator's EPDMS itself. Scenes are rows of
cached tokens; encoders are frozen.

    B scenes   G noise samples   K anchors   S trained denoising steps, noisiest first   T plan poses   N = G K
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from irlvla import PLAN_POSES, ppo
from irlvla.ppo import Transitions

Tokens = dict[str, Tensor]  # name -> (B, L, D)
Reward = Callable[[Tensor, Tensor], Tensor]  # scene rows (B,), plans (B, N, T, 3) in metres -> rewards (B, N)


@dataclass(frozen=True)
class RollOut:
    """Chains of the old policy in B scenes, with what the updates compare against."""

    plans: Tensor  # (B, G, K, S + 1, T, 3) normalised; the last one is the denoised candidate
    log_prob: Tensor  # (B, G, K, S)
    logits: Tensor  # (B, G, K)
    rewards: Tensor  # (B, G, K)
    reference: Transitions  # of the imitation policy along the same chains


class ChainPolicy(Protocol):
    """What PPO needs of a policy."""

    num_anchors: int
    num_steps: int

    def start(self, noise: Tensor) -> Tensor:
        """Noisy plans (..., K, T, 3) from which the chains start, for standard normal `noise` of that shape."""

    def step(self, tokens: Tokens, plans: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Denoising step 0 ... num_steps - 1 of plans (B, N, T, 3): mean of that shape, std (), score logits (B, N)."""

    def metres(self, plans: Tensor) -> Tensor:
        """Normalised plans (..., T, 3) in the ego frame [m, rad]."""


class Critic(nn.Module):
    """Value of a scene for each anchor, from the means of its token groups; it does not see the plans."""

    def __init__(self, channels: int, names: tuple[str, ...], num_anchors: int, hidden: int = 128):
        super().__init__()
        self.names = names
        self.layers = nn.Sequential(
            nn.LayerNorm(channels * len(names)),
            nn.Linear(channels * len(names), hidden),
            nn.GELU(),
            nn.Linear(hidden, num_anchors),
        )

    def forward(self, tokens: Tokens) -> Tensor:
        """Values (B, K)."""
        return self.layers(torch.cat([tokens[name].mean(dim=1) for name in self.names], dim=-1))


def transitions(policy: ChainPolicy, tokens: Tokens, plans: Tensor) -> Transitions:
    """Transitions of `policy` along the last S steps of chains `plans` (B, G, K, S + 1, T, 3)."""
    num_trained = plans.shape[3] - 1
    first = policy.num_steps - num_trained
    steps = [policy.step(tokens, plans[:, :, :, i].flatten(1, 2), first + i) for i in range(num_trained)]
    shape = plans.shape[:3]
    means = [mean.unflatten(1, shape[1:]) for mean, _, _ in steps]
    return Transitions(torch.stack(means, dim=3), torch.stack([s[1] for s in steps]), steps[-1][2].view(shape))


@torch.no_grad()
def sample_chains(
    policy: ChainPolicy, tokens: Tokens, samples: int, trained_steps: int, factor: Tensor, generator: torch.Generator
) -> Tensor:
    """Chains (B, G, K, S + 1, T, 3) of the last `trained_steps` steps, from fresh noise."""
    batch, poses = len(next(iter(tokens.values()))), len(factor)
    shape = (batch, samples, policy.num_anchors, poses, 3)
    plans = policy.start(torch.randn(shape, generator=generator))
    chain = [plans]
    for step in range(policy.num_steps):
        mean, std, _ = policy.step(tokens, chain[-1].flatten(1, 2), step)
        noise = factor @ torch.randn(shape, generator=generator)
        chain.append(mean.view(shape) + std * noise)
    return torch.stack(chain[policy.num_steps - trained_steps :], dim=3)


@torch.no_grad()
def roll_out(
    policy: ChainPolicy,
    reference: ChainPolicy,
    reward: Reward,
    tokens: Tokens,
    scenes: Tensor,
    plans: Tensor,
    factor: Tensor,
) -> RollOut:
    """What the updates need of chains `plans` in `scenes` (B,): old probabilities, rewards, imitation's transitions."""
    old = transitions(policy, tokens, plans)
    rewards = reward(scenes, policy.metres(plans[:, :, :, -1]).flatten(1, 2)).view(plans.shape[:3])
    return RollOut(
        plans, ppo.chain_log_prob(plans, old, factor), old.logits, rewards, transitions(reference, tokens, plans)
    )


# ------------------------------------------------------------------ updates


def take(tokens: Tokens, rows: Tensor) -> Tokens:
    """The scenes `rows` of cached tokens, in single precision."""
    return {name: values[rows].float() for name, values in tokens.items()}


@dataclass(frozen=True)
class Settings:
    """Numbers of the update; sources in docs/choices.md."""

    iterations: int
    scenes_per_iteration: int
    samples: int  # G
    epochs: int
    minibatch_scenes: int
    trained_steps: int  # S
    baseline: Literal["group", "critic"]
    gamma: float  # per denoising step
    clip_first: float
    clip_last: float
    choice_clip: float
    target_kl: float  # an iteration's epochs end when the steps' approximate KL exceeds it
    noise_length_poses: float
    learning_rate: float
    critic_learning_rate: float
    cloning_weight: float
    max_grad_norm: float


def advantages(old: RollOut, values: Tensor, baseline: str) -> tuple[Tensor, Tensor]:
    """Advantages (B, G, K) of the chains and of the choice, on one scale each."""
    weight = old.logits.softmax(dim=-1)
    chain = ppo.group_advantage(old.rewards) if baseline == "group" else ppo.critic_advantage(old.rewards, values)
    choice = old.rewards - (weight * old.rewards).sum(dim=-1, keepdim=True)
    return ppo.normalise(chain, weight), ppo.normalise(choice, weight)


def losses(
    policy: ChainPolicy,
    critic: Critic,
    tokens: Tokens,
    old: RollOut,
    chain: Tensor,
    choice: Tensor,
    factor: Tensor,
    s: Settings,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss of a minibatch, and the figures to report; `chain` and `choice` are the advantages."""
    new = transitions(policy, tokens, old.plans)
    weight = old.logits.softmax(dim=-1)
    discount = ppo.step_discount(s.trained_steps, s.gamma)
    clip = ppo.clip_range(s.trained_steps, s.clip_first, s.clip_last)
    log_prob = ppo.chain_log_prob(old.plans, new, factor)
    step_loss = ppo.policy_loss(log_prob, old.log_prob, chain, weight, discount, clip)
    choice_loss = ppo.choice_loss(new.logits, old.logits, choice, s.choice_clip)
    value_loss = ppo.value_loss(critic(tokens), old.rewards)
    cloning = ppo.behaviour_cloning_loss(new, old.reference, weight, factor)
    # The critic shares no weight with the policy, so its loss needs no coefficient.
    loss = step_loss["loss"] + choice_loss["loss"] + value_loss["loss"] + s.cloning_weight * cloning["loss"]
    return loss, {
        "policy_loss": step_loss["loss"],
        "approx_kl": step_loss["approx_kl"],
        "clipfrac": step_loss["clipfrac"],
        "choice_loss": choice_loss["loss"],
        "choice_kl": choice_loss["approx_kl"],
        "entropy": choice_loss["entropy"],
        "value_loss": value_loss["loss"],
        "kl_to_il": cloning["steps"],
        "choice_kl_to_il": cloning["choice"],
    }


def rows_of(old: RollOut, rows: Tensor) -> RollOut:
    """The roll-outs of the scenes `rows`."""
    reference = Transitions(old.reference.mean[rows], old.reference.std, old.reference.logits[rows])
    return RollOut(old.plans[rows], old.log_prob[rows], old.logits[rows], old.rewards[rows], reference)


def train(
    policy: ChainPolicy, critic: Critic, reward: Reward, cached: Tokens, settings: Settings, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    """Improve `policy` and `critic` in place by PPO; yields the figures of each iteration when it is done.

    Args:
        policy: a module whose trainable parameters are those that require a gradient; its present state is the
            imitation policy that behaviour cloning refers to.
        cached: tokens of all training scenes; `reward` gets row numbers into them.
    """
    s, reference = settings, copy.deepcopy(policy).requires_grad_(False)
    trainable = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": trainable, "lr": s.learning_rate}, {"params": critic.parameters(), "lr": s.critic_learning_rate}],
        weight_decay=0.0,
    )
    factor = ppo.noise_factor(PLAN_POSES, s.noise_length_poses)
    num_scenes = len(next(iter(cached.values())))
    for iteration in range(s.iterations):
        # roll-out
        scenes = torch.randperm(num_scenes, generator=generator)[: s.scenes_per_iteration]
        b_tokens = take(cached, scenes)
        b_plans = sample_chains(policy, b_tokens, s.samples, s.trained_steps, factor, generator)
        b_old = roll_out(policy, reference, reward, b_tokens, scenes, b_plans, factor)
        # advantages
        with torch.no_grad():
            b_values = critic(b_tokens)
        b_chain, b_choice = advantages(b_old, b_values, s.baseline)
        # epochs x minibatches
        for epoch in range(s.epochs):  # noqa: B007
            rows_in_turn = torch.randperm(len(scenes), generator=generator).split(s.minibatch_scenes)
            figures = []
            for rows in rows_in_turn:
                mb_tokens, mb_old = take(b_tokens, rows), rows_of(b_old, rows)
                loss, mb_figures = losses(policy, critic, mb_tokens, mb_old, b_chain[rows], b_choice[rows], factor, s)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(trainable, s.max_grad_norm)
                optimizer.step()
                figures.append({name: value.item() for name, value in mb_figures.items()})
            last_epoch = {name: sum(row[name] for row in figures) / len(figures) for name in figures[0]}
            if last_epoch["approx_kl"] > s.target_kl:
                break
        chosen = (b_old.logits.softmax(dim=-1) * b_old.rewards).sum(dim=-1)
        yield {
            "iteration": iteration,
            "reward_mean": float(b_old.rewards.mean()),
            "reward_chosen": float(chosen.mean()),
            "explained_variance": ppo.explained_variance(b_values[:, None].expand_as(b_old.rewards), b_old.rewards),
            "epochs": epoch + 1,
            **last_epoch,
        }
