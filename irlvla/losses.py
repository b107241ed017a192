"""Losses of imitation as pure functions that return dicts of named scalars, and their weighted sum."""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from irlvla.diffusion import HEADING_LEVER_M
from irlvla.models.perception import POSITION_SCALE_M, encode_boxes
from irlvla.scenes.targets import BEV_CLASSES, MAP_CLASSES, NO_CLASS

Terms = dict[str, Tensor]

NOTHING_WEIGHT = 0.2  # of the class "nothing", which most queries have to predict
RARE_BEV_WEIGHT = {"centerline": 2.0, "static": 8.0, "vehicle": 10.0, "pedestrian": 15.0}  # thin or small things
DIRECTED_MAP_CLASS = MAP_CLASSES.index("centerline")  # the others may be predicted from either end


def weighted(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """Sum of weight * term. Raises ValueError if the names of terms and weights differ."""
    if set(terms) != set(weights):
        raise ValueError(f"loss terms {sorted(terms)} but weights for {sorted(weights)}")
    return sum(weights[name] * term for name, term in terms.items())


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, ...) over the rows where mask (B,) is True; 0 if there are none."""
    mask = mask.reshape(-1, *[1] * (values.dim() - 1)).to(values.dtype).expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def plan_distance(plans: Tensor, other: Tensor) -> Tensor:
    """Mean distance (...) [m] between the poses of plans (..., T, 3)."""
    return (plans[..., :2] - other[..., :2]).norm(dim=-1).mean(dim=-1)


def trajectory(plans: Tensor, logits: Tensor, anchors: Tensor, human: Tensor, has_plan: Tensor) -> Terms:
    """Imitation of the human plan by the candidate of the nearest anchor (DiffusionDrive):

        sum_k  y_k |plan_k - human|_1  +  BCE(logit_k, y_k),   y_k = 1 for the anchor nearest to the human plan

    plans (B, K, T, 3) denoised candidates [m, rad], logits (B, K), anchors (K, T, 3), human (B, T, 3), has_plan (B,).
    A radian counts as HEADING_LEVER_M metres.
    """
    nearest = plan_distance(anchors[None], human[:, None]).argmin(dim=1)  # (B,)
    chosen = plans[torch.arange(len(plans), device=plans.device), nearest]
    target = F.one_hot(nearest, len(anchors)).to(logits.dtype)
    score = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)
    return regression(chosen, human, has_plan) | {"score": mean_where(score, has_plan)}


def regression(plans: Tensor, human: Tensor, has_plan: Tensor) -> Terms:
    """L1 distance of plans (B, T, 3) from the human's, over the scenes (B,) that have one."""
    lever = plans.new_tensor([1.0, 1.0, HEADING_LEVER_M])
    return {"trajectory": mean_where(((plans - human) * lever).abs(), has_plan)}


def hungarian(cost: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cheapest pairs of predictions and valid targets: sample, prediction and target indices, each (pairs,).

    cost (B, Q, G), valid (B, G).
    """
    triples: list[tuple[int, int, int]] = []
    for sample, (matrix, mask) in enumerate(zip(cost.detach().cpu().numpy(), valid.cpu().numpy(), strict=True)):
        columns = np.flatnonzero(mask)
        triples += [
            (sample, row, columns[col]) for row, col in zip(*linear_sum_assignment(matrix[:, columns]), strict=True)
        ]
    return torch.as_tensor(triples, dtype=torch.long, device=cost.device).reshape(-1, 3).unbind(dim=1)


def set_classification(logits: Tensor, target_class: Tensor, pairs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Cross-entropy of all queries: a matched one has its target's class, the others the last class, "nothing"."""
    sample, query, target = pairs
    nothing = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], nothing, device=logits.device)
    wanted[sample, query] = target_class[sample, target]
    weight = torch.ones(nothing + 1, device=logits.device)
    weight[nothing] = NOTHING_WEIGHT
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)


def _class_cost(logits: Tensor, target_class: Tensor) -> Tensor:
    """(B, Q, G) minus the probability of each target's class."""
    probability = logits.softmax(dim=-1)
    index = target_class.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)
    return -probability.gather(2, index)


def objects(predictions: Mapping[str, Tensor], boxes: Tensor, box_class: Tensor) -> Terms:
    """Detection as a set (DETR): boxes (B, A, 9), box_class (B, A) with NO_CLASS where there is none."""
    code, target = predictions["box_code"], encode_boxes(boxes)
    cost = _class_cost(predictions["box_logits"], box_class) + torch.cdist(code[..., :2], target[..., :2], p=1)
    pairs = hungarian(cost, box_class != NO_CLASS)
    sample, query, row = pairs
    error = (code[sample, query] - target[sample, row]).abs().sum(dim=-1)
    return {
        "object_class": set_classification(predictions["box_logits"], box_class, pairs),
        "object_box": error.sum() / max(len(error), 1),
    }


def polyline_distances(predicted: Tensor, target: Tensor, target_class: Tensor) -> Tensor:
    """(B, Q, G) mean L1 distance per point [m] of predicted (B, Q, P, 2) to target (B, G, P, 2).

    For classes without direction the better of both directions.
    """
    flat, ahead, back = predicted.flatten(2), target.flatten(2), target.flip(2).flatten(2)
    points = target.shape[2]
    forward, backward = torch.cdist(flat, ahead, p=1) / points, torch.cdist(flat, back, p=1) / points
    directed = (target_class == DIRECTED_MAP_CLASS)[:, None]
    return torch.where(directed, forward, torch.minimum(forward, backward))


def polylines(predictions: Mapping[str, Tensor], lines: Tensor, line_class: Tensor) -> Terms:
    """Map elements as a set of polylines (MapTR): lines (B, M, P, 2), line_class (B, M)."""
    distance = polyline_distances(predictions["polylines"], lines, line_class) / POSITION_SCALE_M
    cost = _class_cost(predictions["polyline_logits"], line_class) + distance
    pairs = hungarian(cost, line_class != NO_CLASS)
    error = distance[pairs]
    return {
        "map_class": set_classification(predictions["polyline_logits"], line_class, pairs),
        "map_points": error.sum() / max(len(error), 1),
    }


def segmentation(bev_logits: Tensor, bev: Tensor) -> Terms:
    """Weighted cross-entropy of BEV logits (B, classes, X, Y) against classes (B, X', Y') of any grid."""
    weight = bev_logits.new_tensor([RARE_BEV_WEIGHT.get(name, 1.0) for name in BEV_CLASSES])
    if bev_logits.shape[-2:] != bev.shape[-2:]:
        bev_logits = F.interpolate(bev_logits, size=bev.shape[-2:], mode="bilinear", align_corners=False)
    return {"segmentation": F.cross_entropy(bev_logits, bev, weight)}


def route(predicted: Tensor, points: Tensor, inside: Tensor) -> Terms:
    """Mean L1 distance of predicted routes (B, R, 2) from true points, where these are inside (B, R), scaled."""
    error = (predicted - points).abs().sum(dim=-1) / POSITION_SCALE_M
    return {"route": (error * inside).sum() / inside.sum().clamp(min=1)}


def perception(predictions: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Terms:
    """All terms of 3D reasoning."""
    return {
        **objects(predictions, batch["boxes"], batch["box_class"]),
        **polylines(predictions, batch["polylines"], batch["polyline_class"]),
        **segmentation(predictions["bev_logits"], batch["bev"]),
        **route(predictions["route"], batch["route"], batch["route_inside"]),
        "light": F.cross_entropy(predictions["light_logits"], batch["light"]),
    }
