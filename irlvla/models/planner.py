"""The planner: encodes plans, lets them look at the scene's tokens, and predicts clean plans with scores.

D channels, N plans, L tokens. Tokens are a dict of (B, L, D): "meta", "bev" (side * side cells, x-major), "map",
"objects", "status" (L = 1).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irlvla import PLAN_POSES
from irlvla.diffusion import TRUNCATION, PlanNormalizer

Tokens = dict[str, Tensor]
Range = tuple[float, float]

SOURCES = ("meta", "bev", "map", "objects")  # order of the cross-attentions in the paper's figure


def fourier_features(values: Tensor, num_frequencies: int) -> Tensor:
    """(..., n) numbers of about [-1, 1] -> (..., n * 2 * num_frequencies) sines and cosines, octaves apart."""
    angles = values[..., None] * (math.pi * 2.0 ** torch.arange(num_frequencies, device=values.device))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def sample_bev(bev: Tensor, xy: Tensor, x_range_m: Range, y_range_m: Range) -> Tensor:
    """Bilinear samples (B, N, P, D) of BEV tokens (B, side * side, D) at ego-frame points (B, N, P, 2); 0 outside."""
    side = math.isqrt(bev.shape[1])
    image = bev.transpose(1, 2).unflatten(2, (side, side))
    low = xy.new_tensor([x_range_m[0], y_range_m[0]])
    size = xy.new_tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
    grid = (2 * (xy - low) / size - 1).flip(-1)  # grid_sample wants (column, row) = (y, x)
    return F.grid_sample(image, grid, align_corners=False).permute(0, 2, 3, 1)


class PlanEncoder(nn.Module):
    """Plans (B, N, T, 3) in metres -> (B, N, D): their poses, and what the BEV tokens hold at these poses."""

    def __init__(self, channels: int, x_range_m: Range, y_range_m: Range, look_at_bev: bool = True):
        super().__init__()
        self.x_range_m, self.y_range_m = tuple(x_range_m), tuple(y_range_m)
        self.num_frequencies = 6  # finest wave: 1/32 of the range, 2 m
        self.pose = nn.Linear(2 + 2 + 2 * 2 * self.num_frequencies, channels)
        self.bev = nn.Linear(channels, channels) if look_at_bev else None
        self.plan = mlp(PLAN_POSES * channels, 2 * channels, channels)

    def forward(self, plans: Tensor, bev: Tensor) -> Tensor:
        xy, heading = plans[..., :2], plans[..., 2:]
        scaled = xy / max(map(abs, (*self.x_range_m, *self.y_range_m)))
        poses = torch.cat(
            [scaled, heading.sin(), heading.cos(), fourier_features(scaled, self.num_frequencies)], dim=-1
        )
        features = self.pose(poses)
        if self.bev is not None:
            features = features + self.bev(sample_bev(bev, xy, self.x_range_m, self.y_range_m))
        return self.plan(F.gelu(features).flatten(-2))


class CrossAttention(nn.Module):
    """[norm, cross-attention] with a residual connection."""

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        return features + self.dropout(self.attention(self.norm(features), tokens, tokens, need_weights=False)[0])


class DecoderBlock(nn.Module):
    """Plan features attend to each source of tokens in turn, then pass a feed-forward network. Plans do not mix.

    `sources` names the token kinds to look at; leaving one out is the ablation of that source.
    """

    def __init__(
        self, channels: int, heads: int, feedforward: int, sources: Sequence[str] = SOURCES, dropout: float = 0.0
    ):
        super().__init__()
        unknown = set(sources) - set(SOURCES)
        if unknown:
            raise ValueError(f"unknown token sources {sorted(unknown)}, known are {SOURCES}")
        self.looks = nn.ModuleDict(
            {name: CrossAttention(channels, heads, dropout) for name in SOURCES if name in sources}
        )
        self.norm = nn.LayerNorm(channels)
        self.feedforward = nn.Sequential(mlp(channels, feedforward, channels), nn.Dropout(dropout))

    def forward(self, features: Tensor, tokens: Tokens) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        for name, look in self.looks.items():
            features = look(features, tokens[name])
        return features + self.feedforward(self.norm(features))


class Planner(nn.Module):
    """`denoise` of the policy: noisy normalised plans at time t -> clean normalised plans and a score each.

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
        self.encoder = PlanEncoder(channels, x_range_m, y_range_m, look_at_bev="bev" in sources)
        self.time = mlp(2 * 6, channels, channels)
        self.blocks = nn.ModuleList(DecoderBlock(channels, heads, feedforward, sources, dropout) for _ in range(blocks))
        self.modulations = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        self.clean = mlp(channels, 2 * channels, PLAN_POSES * 3)
        self.score = mlp(channels, channels, 1)
        for layer in (*self.modulations, self.clean[-1]):  # start as the identity: clean plan = noisy plan
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tokens, noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """noisy (B, N, T, 3), t (B,) in 0 ... TRUNCATION - 1 -> clean plans (B, N, T, 3), logits (B, N)."""
        condition = tokens["status"] + self.time(fourier_features(t[:, None] / TRUNCATION, 6))[:, None]  # (B, 1, D)
        features = self.encoder(self.normalizer.denormalize(noisy), tokens["bev"]) + condition
        for block, modulation in zip(self.blocks, self.modulations, strict=True):
            scale, shift = modulation(F.gelu(condition)).chunk(2, dim=-1)
            features = block(features, tokens) * (1 + scale) + shift
        features = self.norm(features)
        return noisy + self.clean(features).unflatten(-1, (PLAN_POSES, 3)), self.score(features).squeeze(-1)
