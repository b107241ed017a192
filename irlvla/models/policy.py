"""The vision-language-action policy: three encoders, then a diffusion planner (stage 1 trains it, stage 3 improves it).

encode(batch) -> dict of tokens: meta (B, Lm, D), bev (B, Lb, D), map (B, M, D), objects (B, A + 1, D), status (B, 1, D)
read(tokens) -> objects, map lines, BEV classes
planner.denoiser(tokens)(noisy plans, t) -> clean plans, scores
plan(tokens, noise) -> K plans in metres with scores
"""

from collections.abc import Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irlvla import HISTORY_FRAMES, PLAN_POSES
from irlvla.diffusion import (
    TRUNCATION,
    Chain,
    PlanNormalizer,
    TruncatedSchedule,
    denoise_twice,
    fit_anchors,
    sample_chain,
)
from irlvla.models.backbone import ImageBackbone
from irlvla.models.bev import BevEncoder
from irlvla.models.decoder import SOURCES, mlp
from irlvla.models.perception import Perception, QueryDecoder
from irlvla.models.planner import Planner
from irlvla.models.saved import SavedModule
from irlvla.scenes.targets import BEV_CLASSES, NUM_OBJECTS, NUM_POLYLINES

Range = tuple[float, float]

STATUS_SIZE = HISTORY_FRAMES * 8
STATUS_SCALE = (1.0, 1.0, 1.0, 1.0, 10.0, 1.0, 2.0, 1.0)  # command, m/s and m/s2 of an ordinary drive, to about one


class SceneEncoder(nn.Module):
    """Images, calibration, ego status and meta tokens -> tokens."""

    def __init__(
        self, backbone: ImageBackbone, bev: BevEncoder, perception: Perception, channels: int, meta_channels: int
    ):
        super().__init__()
        self.backbone, self.bev, self.perception = backbone, bev, perception
        self.register_buffer("status_scale", torch.tensor(STATUS_SCALE), persistent=False)
        self.status = mlp(STATUS_SIZE, 2 * channels, channels)
        self.meta = nn.Sequential(nn.Linear(meta_channels, channels), nn.LayerNorm(channels))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images = batch["images"]
        features = self.backbone(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        bev = self.bev(batch, features)
        status = self.status((batch["status"] / self.status_scale).flatten(1))[:, None]
        return {"meta": self.meta(batch["meta"]), "bev": bev, **self.perception(bev, status), "status": status}


class Policy(SavedModule):
    """See the file's head. Batches follow `scenes.dataset.INPUTS`.

    Args:
        image_size: height and width in pixels of the images it is trained with, kept for those who render for it.
        backbone, levels, image_channels, shrink, pretrained, backbone_weights: see `ImageBackbone`.
        channels, heads, feedforward: D, attention heads and hidden width of every transformer layer.
        pixel_channels, bev_channels, bev_cells, bev_tokens_side, bev_blocks, heights_m: see `BevEncoder`.
        x_range_m, y_range_m: the area perceived, as in the targets.
        query_layers: decoder layers of the object and of the map queries.
        meta_channels: width of the incoming meta tokens.
        num_anchors: K.
        plan_blocks: decoder blocks, looped over the denoising steps.
        steps: denoising steps.
        dropout: in the planner's decoder blocks.
        sources: kinds of tokens that the planner looks at, besides the BEV under a plan and the ego status.
    """

    def __init__(
        self,
        *,
        image_size: Sequence[int],
        backbone: str,
        levels: Sequence[int],
        shrink: int,
        image_channels: int,
        pixel_channels: int,
        bev_channels: int,
        channels: int,
        heads: int,
        feedforward: int,
        bev_cells: int,
        bev_tokens_side: int,
        bev_blocks: int,
        heights_m: Sequence[float],
        x_range_m: Range,
        y_range_m: Range,
        query_layers: int,
        meta_channels: int,
        num_anchors: int,
        plan_blocks: int,
        steps: int,
        dropout: float = 0.0,
        sources: Sequence[str] = SOURCES,
        pretrained: bool = False,
        backbone_weights: str | None = None,
    ):
        super().__init__(locals())
        area = (tuple(x_range_m), tuple(y_range_m))
        images = ImageBackbone(backbone, levels, image_channels, shrink, pretrained, backbone_weights)
        widths = (image_channels, pixel_channels, bev_channels, channels)
        bev = BevEncoder(*widths, bev_cells, bev_tokens_side, *area, heights_m, bev_blocks)
        shape = (channels, heads, feedforward, query_layers, *area)
        objects, elements = QueryDecoder(NUM_OBJECTS, *shape), QueryDecoder(NUM_POLYLINES, *shape)
        perception = Perception(objects, elements, channels, len(BEV_CLASSES), bev_cells // bev_tokens_side)
        self.encoder = SceneEncoder(images, bev, perception, channels, meta_channels)
        self.planner = Planner(channels, heads, feedforward, plan_blocks, *area, sources, dropout)
        self.image_hw = tuple(image_size)
        self.schedule = TruncatedSchedule(steps)
        self.register_buffer("anchors", torch.zeros(num_anchors, PLAN_POSES, 3))  # metres and radians

    @property
    def normalizer(self) -> PlanNormalizer:
        return self.planner.normalizer

    def set_anchors(self, human_plans: NDArray, seed: int) -> None:
        """Fit normalisation and anchors to the training plans (n, T, 3)."""
        self.normalizer.load_state_dict(PlanNormalizer.fit(human_plans).state_dict())
        self.anchors.copy_(torch.from_numpy(fit_anchors(human_plans, len(self.anchors), seed)))

    def encode(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens of a batch. Raises ValueError if the images are not of the size trained with."""
        if tuple(batch["images"].shape[-2:]) != self.image_hw:
            raise ValueError(f"images of {tuple(batch['images'].shape[-2:])} pixels, this policy sees {self.image_hw}")
        return self.encoder(batch)

    def read(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Objects, map lines and BEV classes that the tokens hold, see `Perception.read`."""
        return self.encoder.perception.read(tokens)

    def normalized_anchors(self, batch_size: int) -> Tensor:
        """(B, K, T, 3)"""
        return self.normalizer.normalize(self.anchors).expand(batch_size, -1, -1, -1)

    def predict(self, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """For imitation: clean plans (2 B, K, T, 3) [m, rad] and logits (2 B, K) from noisy states at random times.

        Rows B ... 2 B - 1 are second predictions, see `denoise_twice`. Noise comes from torch's global generator.
        """
        anchors = self.normalized_anchors(len(tokens["status"]))
        t = torch.randint(TRUNCATION, (len(anchors),), device=anchors.device)
        noise = torch.randn_like(anchors)
        clean, logits = denoise_twice(self.planner.denoiser(tokens), anchors, noise, t, self.schedule)
        return self.normalizer.denormalize(clean.flatten(0, 1)), logits.flatten(0, 1)

    def chain(self, tokens: dict[str, Tensor], noise: Tensor | None, eta: float = 0.0, std_floor: float = 0.0) -> Chain:
        """Denoising of all anchors with unit noise (B, K, steps + 1, T, 3), or without any."""
        anchors = self.normalized_anchors(len(tokens["status"]))
        return sample_chain(self.planner.denoiser(tokens), anchors, noise, self.schedule, eta, std_floor)

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Unit noise for `chain`, on the generator's device."""
        shape = (batch_size, len(self.anchors), self.schedule.steps + 1, PLAN_POSES, 3)
        return torch.randn(shape, generator=generator, device=generator.device)

    def plan(self, tokens: dict[str, Tensor], noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """K plans (B, K, T, 3) in metres and radians, and their logits (B, K).

        Without noise (B, K, steps + 1, T, 3) the chain starts at the anchors themselves: that is what drives.
        """
        chain = self.chain(tokens, noise)
        return self.normalizer.denormalize(chain.final), chain.logits


def best_plan(plans: Tensor, logits: Tensor) -> Tensor:
    """(B, T, 3) plan of the highest score among plans (B, K, T, 3)."""
    return plans[torch.arange(len(plans)), logits.argmax(dim=1)]
