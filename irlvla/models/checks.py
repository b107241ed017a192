"""Explicit checks of candidate plans against what the policy perceives: collision, and leaving the drivable area.

Pure functions on boxes and BEV classes, predicted (`Policy.read`) or true. N plans, A objects, T poses.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from irlvla import PLAN_INTERVAL_S, PLAN_POSES
from irlvla.models.perception import detections
from irlvla.scenes.targets import BEV_CLASSES, NO_CLASS
from irlvla.vehicle import LENGTH_M, REAR_AXLE_TO_CENTER_M, WIDTH_M

Range = tuple[float, float]

CONFIDENT = 0.4  # objects of a lower probability are ignored
DRIVABLE = [name not in ("background", "walkway") for name in BEV_CLASSES]  # cars and pedestrians may stand on a road


def corners(x: Tensor, y: Tensor, heading: Tensor, length: Tensor, width: Tensor) -> Tensor:
    """(..., 4, 2) corners of boxes around their centres, in order around the box."""
    ahead = torch.stack([heading.cos(), heading.sin()], dim=-1) * length[..., None] / 2
    left = torch.stack([-heading.sin(), heading.cos()], dim=-1) * width[..., None] / 2
    center = torch.stack([x, y], dim=-1)
    return torch.stack([center + ahead + left, center - ahead + left, center - ahead - left, center + ahead - left], -2)


def ego_corners(plans: Tensor) -> Tensor:
    """(..., T, 4, 2) of the ego's box at the poses (rear axle) of plans (..., T, 3)."""
    x, y, heading = plans.unbind(-1)
    size = torch.ones_like(x)
    center_x, center_y = x + REAR_AXLE_TO_CENTER_M * heading.cos(), y + REAR_AXLE_TO_CENTER_M * heading.sin()
    return corners(center_x, center_y, heading, LENGTH_M * size, WIDTH_M * size)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(...) whether rectangles a and b (..., 4, 2) overlap: no edge direction of either separates them."""
    separated = torch.zeros(torch.broadcast_shapes(a.shape, b.shape)[:-2], dtype=torch.bool, device=a.device)
    for box in (a, b):
        for edge in (box[..., 1, :] - box[..., 0, :], box[..., 2, :] - box[..., 1, :]):
            on_a, on_b = ((c * edge[..., None, :]).sum(dim=-1) for c in (a, b))  # (..., 4)
            separated |= (on_a.amax(-1) < on_b.amin(-1)) | (on_b.amax(-1) < on_a.amin(-1))
    return ~separated


def collides(plans: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
    """(B, N) whether a plan (B, N, T, 3) meets a present object (B, A, 9), (B, A) that keeps its velocity."""
    x, y, _, length, width, _, heading, vx, vy = boxes[:, None, :, None].unbind(-1)  # (B, 1, A, 1)
    time_s = PLAN_INTERVAL_S * torch.arange(1, PLAN_POSES + 1, device=plans.device)
    still = torch.ones_like(time_s)
    objects = corners(x + vx * time_s, y + vy * time_s, heading * still, length * still, width * still)
    met = overlap(ego_corners(plans)[:, :, None], objects)  # (B, N, A, T)
    return (met.any(dim=-1) & present[:, None]).any(dim=-1)


def leaves_road(plans: Tensor, drivable: Tensor, x_range_m: Range, y_range_m: Range) -> Tensor:
    """(B, N) whether a corner of the ego leaves the drivable cells, (B, X, Y) probability > 0.5, at a pose of a plan.

    What lies beyond the grid counts as drivable.
    """
    points = ego_corners(plans).flatten(2, 3)  # (B, N, T * 4, 2)
    low = points.new_tensor([x_range_m[0], y_range_m[0]])
    size = points.new_tensor([x_range_m[1] - x_range_m[0], y_range_m[1] - y_range_m[0]])
    grid = (2 * (points - low) / size - 1).flip(-1)
    value = F.grid_sample(drivable[:, None], grid, padding_mode="border", align_corners=False)[:, 0]  # (B, N, T * 4)
    inside = (grid.abs() <= 1).all(dim=-1)
    return ((value < 0.5) & inside).any(dim=-1)


def perceived_faults(
    predictions: dict[str, Tensor], plans: Tensor, x_range_m: Range, y_range_m: Range
) -> tuple[Tensor, Tensor]:
    """(B, N), (B, N): collision and leaving the road, by the predictions of `Policy.read`."""
    boxes, _, probability = detections(predictions)
    drivable = predictions["bev_logits"].softmax(dim=1)[:, DRIVABLE].sum(dim=1)
    collision = collides(plans, boxes, probability > CONFIDENT)
    return collision, leaves_road(plans, drivable, x_range_m, y_range_m)


def true_fault_shares(
    plans: Tensor, targets: Mapping[str, Tensor], x_range_m: Range, y_range_m: Range
) -> dict[str, float]:
    """Shares of plans (B, T, 3) with a collision and off the road, by true boxes (B, A, 9), box_class and bev."""
    road = torch.tensor(DRIVABLE)[targets["bev"].long()].float()
    collision = collides(plans[:, None], targets["boxes"], targets["box_class"] != NO_CLASS)
    off_road = leaves_road(plans[:, None], road, x_range_m, y_range_m)
    return {"collision": collision.float().mean().item(), "off_road": off_road.float().mean().item()}


def checked(logits: Tensor, faults: tuple[Tensor, ...]) -> Tensor:
    """Logits (B, N) such that a plan with fewer faults beats any with more; ties keep the order of the scores."""
    number = sum(fault.to(logits.dtype) for fault in faults)
    return torch.sigmoid(logits) - number
