"""A head that regresses one plan from the policy's tokens: the baseline without diffusion, anchors and scores.

Like NAVSIM's latent TransFuser, but on the same tokens, with the same decoder blocks, as the diffusion planner; so what
the two differ in is the planner alone.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from irlvla import PLAN_POSES
from irlvla.diffusion import PlanNormalizer
from irlvla.models.decoder import SOURCES, DecoderBlock, Tokens, mlp
from irlvla.models.saved import SavedModule


class RegressionHead(SavedModule):
    """Tokens -> one plan. The ego status is the query that attends to the other tokens.

    Args:
        channels, heads, feedforward, plan_blocks, dropout: as of the planner.
        sources: kinds of tokens to look at.
    """

    def __init__(
        self,
        *,
        channels: int,
        heads: int,
        feedforward: int,
        plan_blocks: int,
        dropout: float = 0.0,
        sources: Sequence[str] = SOURCES,
    ):
        super().__init__(locals())
        self.normalizer = PlanNormalizer()
        self.blocks = nn.ModuleList(
            DecoderBlock(channels, heads, feedforward, sources, dropout) for _ in range(plan_blocks)
        )
        self.norm = nn.LayerNorm(channels)
        self.plan = mlp(channels, 2 * channels, PLAN_POSES * 3)

    def forward(self, tokens: Tokens) -> Tensor:
        """Plans (B, T, 3) in metres and radians."""
        features = tokens["status"]  # (B, 1, D)
        for block in self.blocks:
            features = block(features, block.see(tokens))
        return self.normalizer.denormalize(self.plan(self.norm(features[:, 0])).unflatten(-1, (PLAN_POSES, 3)))
