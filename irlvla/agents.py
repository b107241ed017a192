"""Who drives: every planner of the tables, over cached tokens.

All are deterministic: the diffusion starts at the noise-free anchors, takes noise-free steps, and the candidate with
the highest score is driven. Imitation trains the score to find the candidate nearest to the human; reinforcement
learning trains it on to find the one of the highest reward. Who asks the reward model as well: `reranking.py`; the same
planners live: `seeing_agents.py`.

    n scenes   K candidates   V modes of a vocabulary   S denoising steps
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla import PLAN_POSES
from irlvla.epdms.context import ScoringContext
from irlvla.models.checks import checked, perceived_faults
from irlvla.models.policy import Policy, best_plan
from irlvla.models.regression import RegressionHead
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.side_by_side import side_by_side

Array = NDArray[np.float64]
Tokens = dict[str, Tensor]

BATCH_SCENES = 32


def batches(cached: Tokens, scenes: int = BATCH_SCENES) -> Iterator[Tokens]:
    """Cached tokens of n scenes in single precision, so many at a time."""
    for rows in torch.arange(len(cached["status"])).split(scenes):
        yield {name: values[rows].float() for name, values in cached.items()}


@torch.no_grad()
def policy_candidates(policy: Policy, cached: Tokens) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Denoised candidates (n, K, T, 3) in metres and radians, and their logits (n, K), without any noise."""
    results = [policy.plan(tokens) for tokens in batches(cached)]
    return tuple(torch.cat(parts).numpy() for parts in zip(*results, strict=True))


def policy_plans(policy: Policy, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) what the policy drives."""
    plans, logits = policy_candidates(policy, cached)
    return best_plan(torch.from_numpy(plans), torch.from_numpy(logits)).numpy()


@torch.no_grad()
def checked_plans(policy: Policy, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) what the policy drives if candidates with perceived faults come after all others (`checks.py`)."""
    area, chosen = (policy.planner.encoder.x_range_m, policy.planner.encoder.y_range_m), []
    for tokens in batches(cached):
        plans, logits = policy.plan(tokens)
        faults = perceived_faults(policy.read(tokens), plans, *area)
        chosen.append(best_plan(plans, checked(logits, faults)))
    return torch.cat(chosen).numpy()


@torch.no_grad()
def regression_plans(head: RegressionHead, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) plans of the head without diffusion."""
    return torch.cat([head(tokens) for tokens in batches(cached)]).numpy()


@torch.no_grad()
def policy_chains(
    policy: Policy, cached: Tokens, eta: float, std_floor: float, generator: torch.Generator
) -> NDArray[np.float32]:
    """(n, S + 1, K, T, 3) plans in metres and radians after 0 ... S denoising steps with fresh noise."""
    results = []
    for tokens in batches(cached):
        chain = policy.chain(tokens, policy.noise(len(tokens["status"]), generator), eta, std_floor)
        results.append(policy.normalizer.denormalize(chain.plans).transpose(1, 2))
    return torch.cat(results).numpy()


def vocabulary_plans(reward_model: RewardEnsemble, vocabulary: Array, cached: Tokens) -> NDArray[np.float32]:
    """(n, T, 3) plan of the vocabulary (V, T, 3) with the highest predicted reward.

    One scene at a time: thousands of plans in many scenes overflow the processor's caches.
    """
    plans = torch.as_tensor(vocabulary, dtype=torch.float32)
    jobs = {i: partial(_most_promising, reward_model, plans, scene) for i, scene in enumerate(batches(cached, 1))}
    return plans[torch.cat(list(side_by_side(jobs).values()))].numpy()


@torch.no_grad()
def _most_promising(reward_model: RewardEnsemble, plans: Tensor, tokens: Tokens) -> Tensor:
    """(1,) row of plans (V, T, 3) in a scene."""
    return reward_model.reward(tokens, plans[None]).argmax(dim=1)


def human_plan(context: ScoringContext) -> Array:
    """(T, 3) what the human drove."""
    return context.human_poses


def pdm_closed_plan(context: ScoringContext) -> Array:
    """(T, 3) PDM-Closed's plan, a planner that knows map and objects; it is EPDMS' reference for progress."""
    return context.reference_poses[::-1][: 5 * PLAN_POSES : 5][::-1]  # 4.0, 3.5 ... 0.5 s of 10 Hz poses
