"""The reward world model: EPDMS sub-scores of any plan, from the policy's own tokens.

No map, no tracks and no annotation are needed at reward time, only what the cameras gave. A trajectory encoder reads
the plan and the BEV tokens under it, a decoder block (meta, BEV, map, objects) relates it to the scene, both of the
planner's kind; one head per sub-score answers. The reward is composed from the answers as EPDMS composes it. Extended
comfort is not among them: it takes the plan of the frame before, and then needs no model (`frame_pairs.py`).

    B scenes   N plans   D channels
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from irlvla.epdms.scores import EXTENDED_COMFORT_WEIGHT, MULTIPLIERS, SUB_SCORES, WEIGHTS
from irlvla.models.decoder import SOURCES, DecoderBlock, mlp
from irlvla.models.saved import SavedModule
from irlvla.models.trajectory_encoder import TrajectoryEncoder

Tokens = dict[str, Tensor]
Range = tuple[float, float]
Scores = dict[str, Tensor]

THREE_CLASSES = ("no_at_fault_collisions", "driving_direction_compliance")  # 0, 1/2, 1
LOSS_WEIGHTS = {  # DiffVLA's (arXiv 2505.19381, released code)
    "no_at_fault_collisions": 0.1,
    "drivable_area_compliance": 0.4,
    "driving_direction_compliance": 0.1,
    "traffic_light_compliance": 0.1,
    "ego_progress": 0.1,
    "time_to_collision_within_bound": 0.2,
    "lane_keeping": 0.2,
    "history_comfort": 0.2,
}


def compose(scores: Mapping[str, Tensor], extended: Tensor | None = None) -> Tensor:
    """EPDMS of sub-scores (or their expected values), all of one shape.

    `extended` is extended comfort, of the same shape or one that broadcasts; where it is NaN, or without it, the score
    is composed without extended comfort.
    """
    multipliers = math.prod(scores[name] for name in MULTIPLIERS)
    averaged, weights = sum(weight * scores[name] for name, weight in WEIGHTS.items()), sum(WEIGHTS.values())
    if extended is not None:
        averaged = averaged + EXTENDED_COMFORT_WEIGHT * extended.nan_to_num()
        weights = weights + EXTENDED_COMFORT_WEIGHT * ~extended.isnan()
    return multipliers * averaged / weights


class RewardModel(SavedModule):
    """Tokens and plans -> logits per sub-score; `reward` composes them.

    Args:
        channels, heads, feedforward: D, attention heads and hidden width, D as in the tokens.
        blocks: decoder blocks in a row.
        x_range_m, y_range_m: the area of the BEV tokens.
        sources: kinds of tokens to look at besides the BEV under the plan and the ego status.
    """

    def __init__(
        self,
        *,
        channels: int,
        heads: int,
        feedforward: int,
        blocks: int,
        x_range_m: Range,
        y_range_m: Range,
        sources: Sequence[str] = SOURCES,
        dropout: float = 0.0,
    ):
        super().__init__(locals())
        self.encoder = TrajectoryEncoder(channels, x_range_m, y_range_m)
        self.blocks = nn.ModuleList(DecoderBlock(channels, heads, feedforward, sources, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        self.heads = nn.ModuleDict({name: mlp(channels, channels, self.outputs(name)) for name in SUB_SCORES})

    @staticmethod
    def outputs(name: str) -> int:
        """Logits of a sub-score: one per class of three, else one."""
        return 3 if name in THREE_CLASSES else 1

    def forward(self, tokens: Tokens, plans: Tensor) -> Scores:
        """Plans (B, N, T, 3) in the ego frame [m, rad] -> logits (B, N, 3) or (B, N, 1) by sub-score."""
        features = self.encoder(plans, tokens["bev"], tokens["status"])
        for block in self.blocks:
            features = block(features, block.see(tokens))
        features = self.norm(features)
        return {name: head(features) for name, head in self.heads.items()}


def expected_scores(logits: Scores) -> Scores:
    """Expected value (B, N) of each sub-score: of the classes 0, 1/2, 1, of a probability, or of the regression."""
    return {
        name: values.softmax(dim=-1)[..., 1] * 0.5 + values.softmax(dim=-1)[..., 2]
        if name in THREE_CLASSES
        else values.squeeze(-1).sigmoid()
        for name, values in logits.items()
    }


def reward_losses(logits: Scores, scores: Scores) -> Scores:
    """Mean loss of each sub-score against the true ones (B, N), and of the reward composed from them ("reward").

    Cross-entropy for classes; for progress, which lies in [0, 1], binary cross-entropy with the value as target, least
    where the prediction is its mean; squared error for the reward.
    """
    losses = {}
    for name, values in logits.items():
        if name in THREE_CLASSES:
            losses[name] = F.cross_entropy(values.flatten(0, -2), (2 * scores[name]).round().long().flatten())
        else:
            losses[name] = F.binary_cross_entropy_with_logits(values.squeeze(-1), scores[name])
    return losses | {"reward": F.mse_loss(compose(expected_scores(logits)), compose(scores))}
