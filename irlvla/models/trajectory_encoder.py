"""Encodes plans for those who judge or improve them, planner and reward world model alike.

Three things of a plan matter: where its poses are and what the BEV tokens hold there; how it moves from the present
motion; and what its footprint, the box of the car, covers on the way.

    B scenes   N plans   D channels   T poses   P points
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irlvla import PLAN_INTERVAL_S, PLAN_POSES, vehicle
from irlvla.models.decoder import mlp

Range = tuple[float, float]

SPEED_SCALE_MPS = 10.0
ACCELERATION_SCALE_MPS2 = 3.0
YAW_RATE_SCALE_RADPS = 0.5


def fourier_features(values: Tensor, num_frequencies: int) -> Tensor:
    """(..., n) numbers of about [-1, 1] -> (..., n * 2 * num_frequencies) sines and cosines, octaves apart."""
    angles = values[..., None] * (math.pi * 2.0 ** torch.arange(num_frequencies, device=values.device))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def sample_bev(bev: Tensor, xy: Tensor, x_range_m: Range, y_range_m: Range) -> Tensor:
    """Bilinear samples (B, N, P, D) of BEV tokens (B, side * side, D) at ego-frame points (B, N, P, 2); 0 outside."""
    side = math.isqrt(bev.shape[1])
    image = bev.transpose(1, 2).unflatten(2, (side, side))
    low = xy.new_tensor([x_range_m[0], y_range_m[0]])
    size = xy.new_tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
    grid = (2 * (xy - low) / size - 1).flip(-1)  # grid_sample wants (column, row) = (y, x)
    return F.grid_sample(image, grid, align_corners=False).permute(0, 2, 3, 1)


def linear_of_samples(linear: nn.Linear, bev: Tensor, points: Tensor, x_range_m: Range, y_range_m: Range) -> Tensor:
    """(B, N, T, D'): `linear` of the samples of `sample_bev` at P points each, points (B, N, T, P, 2), side by side.

    Sampling is linear as well. So the tokens, which are few, pass the layer instead of the samples, which are many;
    what remains is a weighted sum of 4 P of their images, the corners around each point.
    """
    side, num_points = math.isqrt(bev.shape[1]), points.shape[-2]
    layers = linear.weight.unflatten(1, (num_points, -1)).permute(1, 2, 0)  # (P, D, D')
    images = (bev[:, None] @ layers).unflatten(2, (side, side))  # (B, P, X, Y, D')
    images = F.pad(images, (0, 0, 1, 2, 1, 2))  # zeros around, for corners outside
    low = points.new_tensor([x_range_m[0], y_range_m[0]])
    size = points.new_tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
    cell = ((points - low) / size * side + 0.5).clamp(0, side + 1)  # in the padded images, centres at whole numbers
    first = cell.floor()
    (x, y), (right, up) = first.long().unbind(-1), (cell - first).unbind(-1)
    image = torch.arange(len(bev) * num_points, device=bev.device).view(-1, 1, 1, num_points)
    row = (image * (side + 3) + x) * (side + 3) + y  # (B, N, T, P)
    rows = torch.stack([row, row + 1, row + side + 3, row + side + 4], dim=-1)
    shares = torch.stack([(1 - right) * (1 - up), (1 - right) * up, right * (1 - up), right * up], dim=-1)
    bags, weights = (values.flatten(0, 2).flatten(1) for values in (rows, shares))
    summed = F.embedding_bag(bags, images.flatten(0, 3), per_sample_weights=weights, mode="sum")
    return summed.unflatten(0, points.shape[:3]) + linear.bias


def motion(plans: Tensor) -> Tensor:
    """Velocity (2), acceleration (2), yaw rate of plans (..., T, 3) by differences, scaled to about one: (..., T, 5).

    The first pose counts from the origin at the present moment; its acceleration is left to the ego status.
    """
    start = torch.zeros_like(plans[..., :1, :])
    rate = torch.diff(plans, dim=-2, prepend=start) / PLAN_INTERVAL_S
    acceleration = torch.diff(rate[..., :2], dim=-2, prepend=rate[..., :1, :2]) / PLAN_INTERVAL_S
    return torch.cat(
        [rate[..., :2] / SPEED_SCALE_MPS, acceleration / ACCELERATION_SCALE_MPS2, rate[..., 2:] / YAW_RATE_SCALE_RADPS],
        dim=-1,
    )


def footprint(plans: Tensor) -> Tensor:
    """Corners and centre of the ego box at each pose of plans (..., T, 3): (..., T, 5, 2), ego frame [m]."""
    front, rear, half = vehicle.REAR_AXLE_TO_FRONT_M, -vehicle.REAR_AXLE_TO_REAR_M, vehicle.WIDTH_M / 2
    body = plans.new_tensor(
        [[front, half], [rear, half], [rear, -half], [front, -half], [vehicle.REAR_AXLE_TO_CENTER_M, 0.0]]
    )
    cos, sin = plans[..., 2:].cos(), plans[..., 2:].sin()  # (..., T, 1), against (5,) body points
    x = cos * body[:, 0] - sin * body[:, 1]
    y = sin * body[:, 0] + cos * body[:, 1]
    return plans[..., None, :2] + torch.stack([x, y], dim=-1)


class PlanEncoder(nn.Module):
    """Plans (B, N, T, 3) in metres -> (B, N, D): their poses, and what the BEV tokens hold at these poses."""

    def __init__(self, channels: int, x_range_m: Range, y_range_m: Range):
        super().__init__()
        self.x_range_m, self.y_range_m = tuple(x_range_m), tuple(y_range_m)
        self.num_frequencies = 6  # finest wave: 1/32 of the range, 2 m
        self.pose = nn.Linear(2 + 2 + 2 * 2 * self.num_frequencies, channels)
        self.bev = nn.Linear(channels, channels)
        self.plan = mlp(PLAN_POSES * channels, 2 * channels, channels)

    def forward(self, plans: Tensor, bev: Tensor) -> Tensor:
        xy, heading = plans[..., :2], plans[..., 2:]
        scaled = xy / max(map(abs, (*self.x_range_m, *self.y_range_m)))
        poses = torch.cat(
            [scaled, heading.sin(), heading.cos(), fourier_features(scaled, self.num_frequencies)], dim=-1
        )
        there = linear_of_samples(self.bev, bev, xy[..., None, :], self.x_range_m, self.y_range_m)
        features = self.pose(poses) + there
        return self.plan(F.gelu(features).flatten(-2))


class TrajectoryEncoder(nn.Module):
    """Plans (B, N, T, 3) in metres -> (B, N, D): poses, motion, and the BEV under the footprint.

    BEV tokens (B, L, D) and the status token (B, 1, D).
    """

    def __init__(self, channels: int, x_range_m: Range, y_range_m: Range):
        super().__init__()
        self.x_range_m, self.y_range_m = tuple(x_range_m), tuple(y_range_m)
        self.plan = PlanEncoder(channels, x_range_m, y_range_m)
        self.motion = mlp(PLAN_POSES * 5 + channels, 2 * channels, channels)
        self.under = nn.Linear(5 * channels, channels)
        self.track = mlp(PLAN_POSES * channels, 2 * channels, channels)

    def forward(self, plans: Tensor, bev: Tensor, status: Tensor) -> Tensor:
        under = F.gelu(linear_of_samples(self.under, bev, footprint(plans), self.x_range_m, self.y_range_m))
        started = status.expand(-1, plans.shape[1], -1)  # comfort is a matter of the change from the present motion
        moving = self.motion(torch.cat([motion(plans).flatten(-2), started], dim=-1))
        return self.plan(plans, bev) + moving + self.track(under.flatten(-2))
