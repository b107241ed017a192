"""Bird's-eye view from image features by exact geometry: each cell looks up, in every camera, what its points show.

For a cell's points (x, y, z_h) at a few heights z_h above the road, the pixel in camera c is
K_c [R_c|t_c]^-1 (x, y, z_h); features are sampled bilinearly there and averaged over the cameras that see the point.
On a flat road the lowest height is inverse perspective mapping; the others reach into standing objects. No depth is
estimated (compare Simple-BEV, arXiv 2206.07959). X, Y cells; x grows with the first index.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Range = tuple[float, float]

MIN_DEPTH_M = 0.2  # points nearer to the image plane, or behind it, are not seen
NORM_GROUPS = 8


def cell_centers(cells: int, x_range_m: Range, y_range_m: Range) -> Tensor:
    """(X, Y, 2) ego-frame centres of the cells."""
    x, y = (low + (torch.arange(cells) + 0.5) * (high - low) / cells for low, high in (x_range_m, y_range_m))
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1)


def project(points: Tensor, intrinsics: Tensor, ego_from_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Ego-frame points (n, 3) into cameras (..., 3, 3), (..., 4, 4): pixels (..., n, 2) and depth (..., n)."""
    rotation, position = ego_from_camera[..., :3, :3], ego_from_camera[..., None, :3, 3]
    camera = (points - position) @ rotation  # R^T p for every row
    pixels = camera @ intrinsics.transpose(-1, -2)
    return pixels[..., :2] / pixels[..., 2:].clamp(min=MIN_DEPTH_M), camera[..., 2]


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(NORM_GROUPS, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(NORM_GROUPS, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.convolutions(x))


class BevEncoder(nn.Module):
    """Image features of C cameras -> BEV tokens (B, tokens_side ** 2, D), x-major.

    Args:
        image_channels: of the image features.
        cells: X = Y.
        tokens_side: tokens per side; a token is a learned summary of (cells / tokens_side) ** 2 cells.
        heights_m: of the sampled points above the road. The ego frame's origin is on the road.
    """

    def __init__(
        self,
        image_channels: int,
        channels: int,
        cells: int,
        tokens_side: int,
        x_range_m: Range,
        y_range_m: Range,
        heights_m: Sequence[float],
        blocks: int,
    ):
        super().__init__()
        if cells % tokens_side:
            raise ValueError(f"{cells} BEV cells a side cannot be grouped into {tokens_side} tokens a side")
        xy = cell_centers(cells, x_range_m, y_range_m).flatten(0, 1)
        points = [torch.cat([xy, torch.full_like(xy[:, :1], z)], dim=1) for z in heights_m]
        self.register_buffer("points", torch.cat(points), persistent=False)  # (Z * X * Y, 3)
        self.cells, self.heights = cells, len(heights_m)
        self.position = nn.Parameter(torch.randn(channels, cells, cells) * 0.02)
        self.lift = nn.Conv2d(self.heights * (image_channels + 1), channels, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        group = cells // tokens_side
        self.summarize = nn.Sequential(nn.PixelUnshuffle(group), nn.Conv2d(channels * group**2, channels, 1))
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, features: Tensor, intrinsics: Tensor, ego_from_camera: Tensor, image_hw: tuple[int, int]
    ) -> Tensor:
        """features (B, C, Di, h, w) of images of `image_hw`, intrinsics (B, C, 3, 3), ego_from_camera (B, C, 4, 4)."""
        sampled = self.sample(features, intrinsics, ego_from_camera, image_hw)
        bev = self.blocks(self.lift(sampled) + self.position)
        return self.norm(self.summarize(bev).flatten(2).transpose(1, 2))

    def sample(
        self, features: Tensor, intrinsics: Tensor, ego_from_camera: Tensor, image_hw: tuple[int, int]
    ) -> Tensor:
        """(B, Z * (Di + 1), X, Y): mean feature over the cameras that see a point, and whether any does."""
        pixels, depth = project(self.points, intrinsics, ego_from_camera)  # (B, C, n, 2), (B, C, n)
        grid = 2 * pixels / pixels.new_tensor([image_hw[1], image_hw[0]]) - 1
        seen = ((depth > MIN_DEPTH_M) & (grid.abs() <= 1).all(dim=-1)).to(features.dtype)  # (B, C, n)
        flat = F.grid_sample(features.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)  # (BC, Di, 1, n)
        values = flat.squeeze(2).unflatten(0, features.shape[:2]) * seen[:, :, None]
        count = seen.sum(dim=1)[:, None]  # (B, 1, n)
        mean = torch.cat(
            [values.sum(dim=1) / count.clamp(min=1), (count > 0).to(values.dtype)], dim=1
        )  # (B, Di + 1, n)
        mean = mean.unflatten(2, (self.heights, self.cells, self.cells))
        return mean.transpose(1, 2).flatten(1, 2)
