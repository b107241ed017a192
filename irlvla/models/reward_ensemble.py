"""An ensemble of reward models: the same network trained several times, and what its members disagree on.

Members start from other weights and see the plans in another order, nothing else. Where data decide the answer they
agree; where they do not, they differ (deep ensembles, arXiv 1612.01474). The disagreement is what the ensemble knows
about its own error, and a pessimistic reward holds it against a plan.
"""

import torch
from torch import Tensor, nn

from irlvla.models.reward_model import RewardModel, Scores, Tokens, compose, expected_scores
from irlvla.models.saved import SavedModule

Range = tuple[float, float]


class RewardEnsemble(SavedModule):
    """Tokens and plans (B, N, T, 3) -> expected sub-scores, rewards and their spread (B, N).

    Args:
        members: how many reward models; the other arguments are theirs.
    """

    def __init__(
        self,
        *,
        members: int,
        channels: int,
        heads: int,
        feedforward: int,
        blocks: int,
        x_range_m: Range,
        y_range_m: Range,
        dropout: float = 0.0,
    ):
        super().__init__(locals())
        sizes = {name: value for name, value in self.arguments.items() if name != "members"}
        self.members = nn.ModuleList(RewardModel(**sizes) for _ in range(members))

    def forward(self, tokens: Tokens, plans: Tensor) -> Scores:
        """Expected sub-scores (M, B, N) of each member."""
        answers = [expected_scores(member(tokens, plans)) for member in self.members]
        return {name: torch.stack([answer[name] for answer in answers]) for name in answers[0]}

    def reward(self, tokens: Tokens, plans: Tensor, pessimism: float = 0.0, extended: Tensor | None = None) -> Tensor:
        """(B, N) mean reward over the members, minus `pessimism` times their standard deviation.

        `extended` (B, N) is extended comfort as in `compose`.
        """
        rewards = compose(self(tokens, plans), extended)
        return rewards.mean(dim=0) - pessimism * rewards.std(dim=0, correction=0)
