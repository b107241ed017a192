"""The decoder block of the paper: plans look at the scene's tokens, one kind after the other.

D channels, N plans, L tokens. Tokens are a dict of (B, L, D): "meta", "bev" (side * side cells, x-major), "map",
"objects", "status" (L = 1).
"""

from collections.abc import Sequence

from torch import Tensor, nn

Tokens = dict[str, Tensor]

SOURCES = ("meta", "bev", "map", "objects")  # order of the cross-attentions in the paper's figure


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


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
