"""Image backbone: any convolutional network of timm, with a feature pyramid merged into its finest level."""

from collections.abc import Sequence

import timm
from torch import Tensor, nn
from torch.nn import functional as F

from irlvla.models import vovnet


class ImageBackbone(nn.Module):
    """Images (n, 3, H, W) -> one feature map (n, D, H / stride, W / stride); `stride` is that of the finest level.

    Args:
        name: a timm model; `ese_vovnet99b` is VoVNetV2-99, with the attention of the published network (`vovnet.py`).
        levels: which of its feature levels to use, finest first; stages after the last one are not built.
        shrink: the network sees images shrunk by this factor, each pixel the mean of shrink x shrink.
        pretrained: load timm's weights (needs the network, or timm's cache).
        weights: a DD3D-style checkpoint of VoVNetV2-99 to load.

    Raises ValueError if `weights` are given for another network or do not fit.
    """

    def __init__(
        self,
        name: str,
        levels: Sequence[int],
        channels: int,
        shrink: int = 1,
        pretrained: bool = False,
        weights: str | None = None,
    ):
        super().__init__()
        self.shrink = nn.AvgPool2d(shrink)
        # by default, timm keeps and runs what comes after the last level in some networks
        self.network = timm.create_model(
            name, features_only=True, feature_cls="getter", out_indices=tuple(levels), pretrained=pretrained
        )
        if name == vovnet.NAME:
            vovnet.add_attention(self.network.model)
        if weights is not None:
            if name != vovnet.NAME:
                raise ValueError(f"weights {weights} are read for {vovnet.NAME} only, the backbone is {name}")
            vovnet.load_weights(self.network.model, weights)
        self.stride: int = self.network.feature_info.reduction()[0] * shrink
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in self.network.feature_info.channels())
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = [lateral(x) for lateral, x in zip(self.laterals, self.network(self.shrink(images)), strict=True)]
        merged = maps[-1]
        for finer in reversed(maps[:-1]):
            merged = finer + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        return self.smooth(merged)
