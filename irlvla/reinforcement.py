"""Reinforcement learning of the planner: sample chains, reward them, improve the policy by PPO (`ppo.py`).

The reward is a function of scene and plan: the reward world model, or the simulator's EPDMS itself. Scenes are rows of
cached tokens; encoders are frozen.

Of a scene's anchors only the few that the policy is likeliest to choose are sampled: what it would hardly ever choose
has next to no weight in the losses, but would cost as much.

    B scenes   K anchors, A of them sampled   G noise samples   N = G A candidates   S denoising steps, noisiest first
    T plan poses
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from irlvla import ppo
from irlvla.diffusion import Chain, TruncatedSchedule, replay_chain, sample_chain
from irlvla.epdms.scores import SUB_SCORES
from irlvla.frame_pairs import FramePairs
from irlvla.models.planner import Planner
from irlvla.models.policy import Policy, best_plan
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.reward_model import compose
from irlvla.reward_data import Candidates, score_candidates
from irlvla.rolling_back import rolled_back_m

Tokens = dict[str, Tensor]  # name -> (B, L, D)
# Scene rows (B,), plans (B, N, T, 3) in metres, extended comfort (B, N) or NaN, see `frame_pairs.py` -> rewards (B, N).
Reward = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Figures = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """Numbers of the training; sources in docs/choices.md."""

    iterations: int
    scenes_per_iteration: int  # B
    anchors: int  # A
    samples: int  # G
    epochs: int
    minibatch_scenes: int
    trained_steps: int  # the last ones of the chain
    eta: float
    std_floor: float  # normalised plan units
    baseline: Literal["group", "critic"]
    gamma: float  # per denoising step
    clip_first: float
    clip_last: float
    choice_clip: float
    target_kl: float  # the epochs of an iteration end when the approximate KL of the steps exceeds it
    learning_rate: float  # at the first iteration; both rates fall linearly to zero
    critic_learning_rate: float
    cloning_weight: float  # of the denoising steps
    choice_cloning_weight: float
    rolling_back_cost: float  # reward lost per metre that a plan comes behind its start
    max_grad_norm: float


@dataclass(frozen=True)
class RollOut:
    """Chains of the old policy in B scenes, with what the updates compare against."""

    chain: Chain  # of the old policy, N plans
    reference: Chain  # of the imitation policy along the same plans
    anchors: Tensor  # (B, A) which of the K were sampled
    log_prob: Tensor  # (B, G, A, S) of the trained steps
    logits: Tensor  # (B, G, A)
    rewards: Tensor  # (B, G, A)

    def rows(self, rows: Tensor) -> "RollOut":
        """The roll-outs of some scenes."""
        chains = [
            replace(c, plans=c.plans[rows], mean=c.mean[rows], log_prob=c.log_prob[rows], logits=c.logits[rows])
            for c in (self.chain, self.reference)
        ]
        return RollOut(*chains, self.anchors[rows], self.log_prob[rows], self.logits[rows], self.rewards[rows])


class Critic(nn.Module):
    """Value of a scene for each anchor, from the means of its token groups; it does not see the plans."""

    def __init__(self, channels: int, num_groups: int, num_anchors: int, hidden: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(channels * num_groups),
            nn.Linear(channels * num_groups, hidden),
            nn.GELU(),
            nn.Linear(hidden, num_anchors),
        )

    def forward(self, tokens: Tokens, anchors: Tensor) -> Tensor:
        """Values (B, A) of the anchors (B, A)."""
        values = self.layers(torch.cat([tokens[name].mean(dim=1) for name in sorted(tokens)], dim=-1))
        return values.gather(1, anchors)


def take(cached: Tokens, rows: Tensor) -> Tokens:
    """The scenes `rows` of cached tokens, in single precision."""
    return {name: values[rows].float() for name, values in cached.items()}


def model_reward(reward_model: RewardEnsemble, cached: Tokens, pessimism: float = 0.0) -> Reward:
    """Rewards by the reward world model, from the cached tokens alone; what its members disagree on counts less."""

    @torch.no_grad()
    def reward(scenes: Tensor, plans: Tensor, extended: Tensor | None = None) -> Tensor:
        return reward_model.reward(take(cached, scenes), plans, pessimism, extended)

    return reward


def simulator_reward(tokens: Sequence[str], contexts: Path, human_filter: bool, jobs: int) -> Reward:
    """Rewards by EPDMS itself on the scenes' scoring contexts: RLVR, for comparison."""

    def reward(scenes: Tensor, plans: Tensor, extended: Tensor | None = None) -> Tensor:
        candidates = [
            Candidates(tokens[scene], some, ("sampled",) * len(some))
            for scene, some in zip(scenes.tolist(), plans.detach().numpy(), strict=True)
        ]
        work = (joblib.delayed(score_candidates)(scene, contexts, human_filter) for scene in candidates)
        tables = joblib.Parallel(n_jobs=jobs)(work)
        scores = {name: torch.tensor(np.stack([table[name].to_numpy() for table in tables])) for name in SUB_SCORES}
        return compose(scores, extended)

    return reward


@torch.no_grad()
def roll_out(
    planner: Planner,
    reference: Planner,
    reward: Reward,
    cached: Tokens,
    pairs: FramePairs,
    scenes: Tensor,
    anchors: Tensor,
    schedule: TruncatedSchedule,
    s: Settings,
    generator: torch.Generator,
) -> RollOut:
    """Chains from fresh noise in `scenes` (B,), their probabilities and rewards; anchors (K, T, 3) normalised."""
    tokens, follows = take(cached, scenes), pairs.previous[scenes] >= 0
    denoise = planner.denoiser(tokens)
    everywhere = anchors.expand(len(scenes), -1, -1, -1)
    likeliest = sample_chain(denoise, everywhere, None, schedule).logits.topk(s.anchors).indices.sort().values
    starts = anchors[likeliest].repeat(1, s.samples, 1, 1)  # (B, N, T, 3), anchors run fastest
    noise = torch.randn(*starts.shape[:2], schedule.steps + 1, *starts.shape[2:], generator=generator)
    chain = sample_chain(denoise, starts, noise, schedule, s.eta, s.std_floor)
    imitated = replay_chain(reference.denoiser(tokens), chain.plans, schedule, s.eta, s.std_floor)
    plans = planner.normalizer.denormalize(chain.final)
    earlier = torch.zeros_like(plans[:, 0])  # of no meaning where no scene precedes
    if follows.any():
        before = take(cached, pairs.previous[scenes[follows]])
        driven = sample_chain(planner.denoiser(before), everywhere[follows], None, schedule)
        earlier[follows] = best_plan(planner.normalizer.denormalize(driven.final), driven.logits)
    rewards = reward(scenes, plans, pairs.extended_comfort(scenes, plans, earlier))
    rewards = rewards - s.rolling_back_cost * rolled_back_m(plans)
    flat = ppo.chain_log_prob(chain, s.trained_steps), chain.logits, rewards
    return RollOut(chain, imitated, likeliest, *(values.unflatten(1, (s.samples, s.anchors)) for values in flat))


def advantages(old: RollOut, values: Tensor, baseline: str) -> tuple[Tensor, Tensor]:
    """Advantages (B, G, A) of the chains and of the choice, each of unit size under the old choice."""
    weight = old.logits.softmax(dim=-1)
    chain = ppo.group_advantage(old.rewards) if baseline == "group" else ppo.critic_advantage(old.rewards, values)
    choice = old.rewards - (weight * old.rewards).sum(dim=-1, keepdim=True)
    return ppo.normalise(chain, weight), ppo.normalise(choice, weight)


def losses(
    planner: Planner,
    critic: Critic,
    tokens: Tokens,
    old: RollOut,
    chain_advantage: Tensor,
    choice_advantage: Tensor,
    schedule: TruncatedSchedule,
    s: Settings,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss of a minibatch, and the figures to report."""
    new = replay_chain(planner.denoiser(tokens), old.chain.plans, schedule, s.eta, s.std_floor)
    weight = old.logits.softmax(dim=-1)
    log_prob = ppo.chain_log_prob(new, s.trained_steps).view(old.log_prob.shape)
    discount = ppo.step_discount(s.trained_steps, s.gamma)
    clip = ppo.clip_range(s.trained_steps, s.clip_first, s.clip_last)
    steps = ppo.policy_loss(log_prob, old.log_prob, chain_advantage, weight, discount, clip)
    choice = ppo.choice_loss(new.logits.view(old.logits.shape), old.logits, choice_advantage, s.choice_clip)
    value = ppo.value_loss(critic(tokens, old.anchors), old.rewards)
    cloning = ppo.behaviour_cloning_loss(new, old.reference, weight, s.trained_steps)
    # The critic shares no weight with the planner, so its loss needs no coefficient.
    held = s.cloning_weight * cloning["steps"] + s.choice_cloning_weight * cloning["choice"]
    loss = steps["loss"] + choice["loss"] + value["loss"] + held
    return loss, {
        "policy_loss": steps["loss"],
        "approx_kl": steps["approx_kl"],
        "clipfrac": steps["clipfrac"],
        "choice_loss": choice["loss"],
        "choice_kl": choice["approx_kl"],
        "entropy": choice["entropy"],
        "value_loss": value["loss"],
        "kl_to_il": cloning["steps"],
        "choice_kl_to_il": cloning["choice"],
    }


def update(
    planner: Planner,
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    b_tokens: Tokens,
    b_old: RollOut,
    b_chain: Tensor,
    b_choice: Tensor,
    schedule: TruncatedSchedule,
    s: Settings,
    generator: torch.Generator,
) -> Figures:
    """Epochs x minibatches on one roll-out with its advantages; number of epochs and the mean figures of the last."""
    for epoch in range(1, s.epochs + 1):
        figures = []
        for rows in torch.randperm(len(b_old.rewards), generator=generator).split(s.minibatch_scenes):
            mb_tokens, mb_old = take(b_tokens, rows), b_old.rows(rows)
            loss, mb_figures = losses(planner, critic, mb_tokens, mb_old, b_chain[rows], b_choice[rows], schedule, s)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(planner.parameters(), s.max_grad_norm)
            optimizer.step()
            figures.append({name: value.item() for name, value in mb_figures.items()})
        means = {name: sum(row[name] for row in figures) / len(figures) for name in figures[0]}
        last_epoch = {"epochs": epoch, **means}
        if means["approx_kl"] > s.target_kl:
            break
    return last_epoch


def train(
    policy: Policy, reward: Reward, cached: Tokens, pairs: FramePairs, s: Settings, generator: torch.Generator
) -> Iterator[Figures]:
    """Improve the planner of `policy` in place by PPO; yields the figures of each iteration when it is done.

    Args:
        policy: its present planner is the imitation policy that behaviour cloning refers to; in evaluation mode, as
            dropout would make the old and the new policy differ by chance.
        cached: tokens of all training scenes; `reward` gets row numbers into them.
        pairs: which of these scenes follow which, for extended comfort.
        generator: its seed is also that of the critic's first weights.

    Raises ValueError if the planner is in training mode or if there are fewer anchors than the settings ask for.
    """
    planner, schedule, anchors = policy.planner, policy.schedule, policy.normalizer.normalize(policy.anchors)
    if planner.training:
        raise ValueError("the planner must be in evaluation mode: policy.eval()")
    if s.anchors > len(anchors):
        raise ValueError(f"ppo.anchors: {s.anchors} of a policy that has {len(anchors)}; ask for fewer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        critic = Critic(next(iter(cached.values())).shape[-1], len(cached), len(anchors))
    reference = copy.deepcopy(planner).requires_grad_(False)
    trained = ((planner, s.learning_rate), (critic, s.critic_learning_rate))
    optimizer = torch.optim.Adam([{"params": module.parameters(), "lr": rate} for module, rate in trained], fused=True)
    annealing = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=s.iterations)
    num_scenes = len(next(iter(cached.values())))
    for iteration in range(s.iterations):
        # roll-out
        scenes = torch.randperm(num_scenes, generator=generator)[: s.scenes_per_iteration]
        b_tokens = take(cached, scenes)
        b_old = roll_out(planner, reference, reward, cached, pairs, scenes, anchors, schedule, s, generator)
        # advantages
        with torch.no_grad():
            b_values = critic(b_tokens, b_old.anchors)
        b_chain, b_choice = advantages(b_old, b_values, s.baseline)
        # epochs x minibatches
        updated = update(planner, critic, optimizer, b_tokens, b_old, b_chain, b_choice, schedule, s, generator)
        annealing.step()
        # figures
        chosen = (b_old.logits.softmax(dim=-1) * b_old.rewards).sum(dim=-1)
        values = b_values[:, None].expand_as(b_old.rewards)
        yield {
            "iteration": iteration,
            "reward_mean": b_old.rewards.mean().item(),
            "reward_chosen": chosen.mean().item(),
            "explained_variance": ppo.explained_variance(values, b_old.rewards),
            **updated,
        }
