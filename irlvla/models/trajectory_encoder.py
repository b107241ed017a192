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


def sample_bev(bev: Tensor, points: Tensor, x_range_m: Range, y_range_m: Range) -> Tensor:
    """Bilinear samples (..., D) of BEV tokens (B, side * side, D) at ego-frame points (B, ..., 2); 0 outside.

    A sample is a weighted sum of the four rows of tokens around it. That is several times as fast as `grid_sample`,
    which wants tokens as images, channels first; its gradient by the points is the same.
    """
    side = math.isqrt(bev.shape[1])
    width = side + 3  # with zeros around, for corners outside
    rows = F.pad(bev.unflatten(1, (side, side)), (0, 0, 1, 2, 1, 2)).flatten(0, 2)
    low = points.new_tensor([x_range_m[0], y_range_m[0]])
    size = points.new_tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
    cell = ((points - low) / size * side + 0.5).clamp(0, side + 1)  # padded, centres at whole numbers
    first = cell.floor()
    (x, y), (right, up) = first.long().unbind(-1), (cell - first).unbind(-1)
    scene = torch.arange(len(bev), device=bev.device).view(-1, *[1] * (points.dim() - 2))
    row = (scene * width + x) * width + y
    corners = torch.stack([row, row + 1, row + width, row + width + 1], dim=-1)
    shares = torch.stack([(1 - right) * (1 - up), (1 - right) * up, right * (1 - up), right * up], dim=-1)
    samples = F.embedding_bag(corners.view(-1, 4), rows, per_sample_weights=shares.view(-1, 4), mode="sum")
    return samples.view(*points.shape[:-1], -1)


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
        features = self.pose(poses) + self.bev(sample_bev(bev, xy, self.x_range_m, self.y_range_m))
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
        ground = sample_bev(bev, footprint(plans), self.x_range_m, self.y_range_m).flatten(-2)
        started = status.expand(-1, plans.shape[1], -1)  # comfort is a matter of the change from the present motion
        moving = self.motion(torch.cat([motion(plans).flatten(-2), started], dim=-1))
        return self.plan(plans, bev) + moving + self.track(F.gelu(self.under(ground)).flatten(-2))
