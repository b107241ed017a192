"""Asking the reward model when driving: which of the policy's finished candidates promises the most?

The choice among candidates is trained from what the planner knows before its last denoising step. The reward model can
be asked about the candidates themselves, in the car as well, since it reads the same tokens. Extended comfort (EC) is
added where the plan of half a second before is known: it compares two plans of the ego and needs no model
(`frame_pairs.py`).

    n scenes   K candidates   M members of the reward model   T plan poses
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla.agents import BATCH_SCENES, Tokens, batches, policy_candidates
from irlvla.frame_pairs import FramePairs
from irlvla.models.policy import Policy, best_plan
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.reward_model import Scores, compose

REWARD_TEMPERATURE = 1 / 80  # chosen on validation towns (docs/choices.md)


@dataclass(frozen=True)
class RatedCandidates:
    """What a policy proposes in n scenes, and what the reward model says of it."""

    plans: Tensor  # (n, K, T, 3) metres, radians
    logits: Tensor  # (n, K) of the policy's choice
    scores: Scores  # expected sub-scores (M, n, K)

    def chosen(self, rows: Tensor, extended: Tensor, temperature: float) -> Tensor:
        """(B, T, 3) plans driven in the scenes `rows` (B,); `extended` (B, K) is EC of their candidates, or NaN.

        Of all choices q among a scene's candidates, q ~ p exp(reward / temperature) has the highest mean reward minus
        temperature times KL(q || p) from the policy's choice p (e.g. arXiv 2305.18290, equation 4). Its mode is driven.
        """
        rewards = compose({name: values[:, rows] for name, values in self.scores.items()}, extended).mean(dim=0)
        return best_plan(self.plans[rows], self.logits[rows].log_softmax(dim=1) + rewards / temperature)


@torch.no_grad()
def rated_candidates(policy: Policy, reward_model: RewardEnsemble, cached: Tokens, judged: Tokens) -> RatedCandidates:
    """Candidates without noise in n scenes. `cached` and `judged` are their tokens, as policy and reward model read
    them.
    """
    plans, logits = map(torch.from_numpy, policy_candidates(policy, cached))
    groups = zip(batches(judged), plans.split(BATCH_SCENES), strict=True)
    answers = [reward_model(tokens, some) for tokens, some in groups]
    return RatedCandidates(plans, logits, {name: torch.cat([a[name] for a in answers], dim=1) for name in answers[0]})


def reranked_plans(
    rated: RatedCandidates, pairs: FramePairs, temperature: float = REWARD_TEMPERATURE
) -> NDArray[np.float32]:
    """(n, T, 3) what is driven in each scene, given what is driven in the frame before where that is among them.

    `temperature` is the reward that outweighs a factor e of probability; infinite: the policy's own choice.
    """
    driven = torch.zeros_like(rated.plans[:, 0])
    for rows in pairs.in_order():
        extended = pairs.extended_comfort(rows, rated.plans[rows], driven[pairs.previous[rows].clamp(min=0)])
        driven[rows] = rated.chosen(rows, extended, temperature)
    return driven.numpy()
