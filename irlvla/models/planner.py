"""The planner: encodes plans, lets them look at the scene's tokens, and predicts clean plans with scores.

D channels, N plans; tokens as in `decoder.py`.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from irlvla import PLAN_POSES
from irlvla.diffusion import TRUNCATION, Denoise, PlanNormalizer
from irlvla.models.decoder import SOURCES, DecoderBlock, KeysValues, Tokens, mlp
from irlvla.models.trajectory_encoder import Range, TrajectoryEncoder, fourier_features


class Planner(nn.Module):
    """Noisy normalised plans at time t -> clean normalised plans and a score each.

    Args:
        blocks: decoder blocks in a row; each is followed by a scale and shift from time and ego status.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        feedforward: int,
        blocks: int,
        x_range_m: Range,
        y_range_m: Range,
        sources: Sequence[str] = SOURCES,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.normalizer = PlanNormalizer()
        self.encoder = TrajectoryEncoder(channels, x_range_m, y_range_m)
        self.time = mlp(2 * 6, channels, channels)
        self.blocks = nn.ModuleList(DecoderBlock(channels, heads, feedforward, sources, dropout) for _ in range(blocks))
        self.modulations = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        self.clean = mlp(channels, 2 * channels, PLAN_POSES * 3)
        self.score = mlp(channels, channels, 1)
        for layer in (*self.modulations, self.clean[-1]):  # start as the identity: clean plan = noisy plan
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def denoiser(self, tokens: Tokens) -> Denoise:
        """`forward` in the scenes of these tokens, which all steps of a chain see with the same keys and values."""
        return partial(self, tokens["bev"], tokens["status"], [block.see(tokens) for block in self.blocks])

    def forward(
        self, bev: Tensor, status: Tensor, seen: Sequence[dict[str, KeysValues]], noisy: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """noisy (B, N, T, 3), t (B,) in 0 ... TRUNCATION - 1 -> clean plans (B, N, T, 3), logits (B, N)."""
        condition = status + self.time(fourier_features(t[:, None] / TRUNCATION, 6))[:, None]  # (B, 1, D)
        features = self.encoder(self.normalizer.denormalize(noisy), bev, status) + condition
        for block, modulation, looked_at in zip(self.blocks, self.modulations, seen, strict=True):
            scale, shift = modulation(F.gelu(condition)).chunk(2, dim=-1)
            features = block(features, looked_at) * (1 + scale) + shift
        features = self.norm(features)
        return noisy + self.clean(features).unflatten(-1, (PLAN_POSES, 3)), self.score(features).squeeze(-1)
