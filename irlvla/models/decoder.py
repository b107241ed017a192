"""The decoder block of the paper: plans look at the scene's tokens, one kind after the other.

D channels, N plans, L tokens. Tokens are a dict of (B, L, D): "meta", "bev" (side * side cells, x-major), "map",
"objects", "status" (L = 1).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

Tokens = dict[str, Tensor]
KeysValues = tuple[Tensor, Tensor]  # (B, heads, L, D / heads) each

SOURCES = ("meta", "bev", "map", "objects")  # order of the cross-attentions in the paper's figure


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class CrossAttention(nn.Module):
    """[norm, cross-attention] with a residual connection.

    Keys and values are an argument: they are the same for every look at the same tokens, and cost more than a look.
    """

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be divided into {heads} attention heads")
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """Of tokens (B, L, D)."""
        return self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def queries(self, features: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)"""
        return self.query(self.norm(features)).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, features: Tensor, seen: KeysValues) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        attended = F.scaled_dot_product_attention(self.queries(features), *seen)
        return features + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))


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

    def see(self, tokens: Tokens) -> dict[str, KeysValues]:
        """Keys and values of the sources that this block looks at."""
        return {name: look.keys_values(tokens[name]) for name, look in self.looks.items()}

    def forward(self, features: Tensor, seen: dict[str, KeysValues]) -> Tensor:
        """(B, N, D), what `see` gave -> (B, N, D)"""
        for name, look in self.looks.items():
            features = look(features, seen[name])
        return features + self.feedforward(self.norm(features))
