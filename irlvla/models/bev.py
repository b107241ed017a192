"""Bird's-eye view from image features by exact geometry: each cell looks up, in every camera, what its points show.

For a cell's points (x, y, z_h) at a few heights z_h above the road, the pixel in camera c is
K_c [R_c|t_c]^-1 (x, y, z_h); features are sampled bilinearly there and averaged over the cameras that see the point.
On a flat road the lowest height is inverse perspective mapping; the others reach into standing objects, the highest to
traffic lights, which hang above the horizon. No depth is estimated (compare Simple-BEV, arXiv 2206.07959). The same
look-up lays the pixels themselves on the road, on a grid four times as fine per side: what is painted on it, and the
foot of what stands on it, keep a sharpness that strided features have lost.

X, Y cells; x grows with the first index.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Range = tuple[float, float]

MIN_DEPTH_M = 0.2  # points nearer to the image plane, or behind it, are not seen
OUTSIDE = 3.0  # of an image, which spans -1 ... 1: samples are 0 there
NORM_GROUPS = 8
PIXEL_CELLS = 2  # cells per side on which the pixels are laid, for each cell of the encoder
FINE_CHANNELS = 16  # that reach the tokens from the finest cells without passing coarser ones


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


def grid_points(cells: int, x_range_m: Range, y_range_m: Range, heights_m: Sequence[float]) -> Tensor:
    """(Z * X * Y, 3) ego-frame points above the centres of the cells, by height."""
    xy = cell_centers(cells, x_range_m, y_range_m).flatten(0, 1)
    return torch.cat([torch.cat([xy, torch.full_like(xy[:, :1], z)], dim=1) for z in heights_m])


def look_up(images: Tensor, points: Tensor, batch: Mapping[str, Tensor], side: int) -> Tensor:
    """(B, Z * (D + 1), X, Y): mean over the cameras that see a point of `grid_points`, and whether any does.

    Args:
        images: (B, C, D, h, w) pixels or features of the batch's images, of any resolution.
        batch: "images" (B, C, 3, H, W), "intrinsics" (B, C, 3, 3) of these, "ego_from_camera" (B, C, 4, 4).
        side: X = Y.
    """
    height, width = batch["images"].shape[-2:]
    pixels, depth = project(points, batch["intrinsics"], batch["ego_from_camera"])  # (B, C, n, 2), (B, C, n)
    grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
    seen = (depth > MIN_DEPTH_M) & (grid.abs() <= 1).all(dim=-1)  # (B, C, n)
    grid = grid.where(seen[..., None], OUTSIDE)
    flat = F.grid_sample(images.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)  # (B C, D, 1, n)
    values = flat.squeeze(2).unflatten(0, images.shape[:2])
    count = seen.sum(dim=1)[:, None]  # (B, 1, n)
    mean = torch.cat([values.sum(dim=1) / count.clamp(min=1), (count > 0).to(values.dtype)], dim=1)  # (B, D + 1, n)
    return mean.unflatten(2, (-1, side, side)).transpose(1, 2).flatten(1, 2)


def normalized(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(NORM_GROUPS, channels), nn.GELU())


def halving(inputs: int, outputs: int) -> nn.Sequential:
    """Half as many cells per side."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), normalized(outputs))


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
    """Images and their features of C cameras -> BEV tokens (B, tokens_side ** 2, D), x-major.

    The pixels laid on the road pass convolutions that halve the cells until one is a token; after the first halving
    the backbone's features join, lifted at several heights.

    Args:
        image_channels: of the features.
        pixel_channels, bev_channels: of the finest cells, and of all coarser ones.
        channels: D.
        cells: X = Y of the finest.
        tokens_side: tokens per side; cells / tokens_side must be 2, 4, 8, ...
        heights_m: above the road of the points at which features are looked up. The ego frame's origin is on the road.
        blocks: residual blocks where the features join.
    """

    def __init__(
        self,
        image_channels: int,
        pixel_channels: int,
        bev_channels: int,
        channels: int,
        cells: int,
        tokens_side: int,
        x_range_m: Range,
        y_range_m: Range,
        heights_m: Sequence[float],
        blocks: int,
    ):
        super().__init__()
        group = cells // tokens_side
        if cells != group * tokens_side or group < 2 or group & (group - 1):
            raise ValueError(f"{cells} BEV cells a side cannot be halved to {tokens_side} tokens a side")
        self.sides = (PIXEL_CELLS * cells, cells // 2)  # of the grids on which pixels and features are looked up
        area = (x_range_m, y_range_m)
        self.register_buffer("road", grid_points(self.sides[0], *area, (0.0,)), persistent=False)
        self.register_buffer("points", grid_points(self.sides[1], *area, heights_m), persistent=False)
        self.pixels = nn.Sequential(
            nn.PixelUnshuffle(PIXEL_CELLS),
            nn.Conv2d(4 * PIXEL_CELLS**2, pixel_channels, 3, padding=1, bias=False),
            normalized(pixel_channels),
        )
        self.halved = halving(pixel_channels, bev_channels)
        self.lift = nn.Conv2d(len(heights_m) * (image_channels + 1), bev_channels, 1)
        self.position = nn.Parameter(torch.randn(bev_channels, cells // 2, cells // 2) * 0.02)
        self.blocks = nn.Sequential(*(ResidualBlock(bev_channels) for _ in range(blocks)))
        halvings = (group // 2).bit_length() - 1
        self.coarser = nn.Sequential(
            *(nn.Sequential(halving(bev_channels, bev_channels), ResidualBlock(bev_channels)) for _ in range(halvings))
        )
        self.fine = nn.Sequential(nn.Conv2d(pixel_channels, FINE_CHANNELS, 1), nn.PixelUnshuffle(group))
        self.summarize = nn.Conv2d(bev_channels + FINE_CHANNELS * group**2, channels, 1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, batch: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """batch as in `look_up`, features (B, C, Di, h, w) of its images."""
        fine = self.pixels(look_up(batch["images"], self.road, batch, self.sides[0]))
        lifted = self.lift(look_up(features, self.points, batch, self.sides[1]))
        coarse = self.coarser(self.blocks(self.halved(fine) + lifted + self.position))
        tokens = self.summarize(torch.cat([coarse, self.fine(fine)], dim=1))
        return self.norm(tokens.flatten(2).transpose(1, 2))
