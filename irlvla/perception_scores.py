"""How well a policy perceives, beside a model that sees nothing and always predicts the mean of the training scenes.

Predictions are those of `Policy.read`: of B scenes, "box_logits", "box_code", "polyline_logits", "polylines",
"bev_logits", "route", "light_logits".
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import multiclass_confusion_matrix

from irlvla.accelerator import moved, on_accelerator
from irlvla.average_precision import detection_scores, map_scores
from irlvla.models.perception import encode_boxes
from irlvla.models.policy import Policy
from irlvla.scenes.targets import BEV_CLASSES, LIGHTS, MAP_CLASSES, OBJECT_CLASSES

Predictions = dict[str, Tensor]
TRUTH = ("boxes", "box_class", "polylines", "polyline_class", "bev", "route", "route_inside", "light")
FLOOR = 1e-6  # of a probability before its logarithm


@torch.no_grad()
def perceive(policy: Policy, dataset: Dataset, batch_size: int = 16) -> tuple[Predictions, dict[str, Tensor]]:
    """Predictions and targets of all scenes of a data set, in order."""
    parts, targets = [], []
    with on_accelerator(policy) as device:
        for batch in DataLoader(dataset, batch_size):
            parts.append(moved(policy.read(policy.encode(moved(batch, device))), "cpu"))
            targets.append({name: batch[name] for name in TRUTH})
    return ({name: torch.cat([part[name] for part in rows]) for name in rows[0]} for rows in (parts, targets))


def mean_prediction(columns: Mapping[str, NDArray], seed: int) -> Predictions:
    """What a model predicts that has learned the training scenes and sees nothing, as predictions of one scene.

    BEV: the share of each class in each cell. Route: the mean of each point. Boxes and lines of each class: centres of
    K-means clusters of the training ones, as many as a scene holds on average; each as probable as it is to find one of
    its cluster in a scene.
    """
    bev = np.stack([(columns["bev"] == kind).mean(axis=0) for kind in range(len(BEV_CLASSES))])
    light = np.bincount(columns["light"], minlength=len(LIGHTS)) / len(columns["light"])
    inside = columns["route_inside"][..., None]
    route = (columns["route"] * inside).sum(axis=0) / inside.sum(axis=0).clip(min=1)
    boxes = encode_boxes(torch.from_numpy(columns["boxes"])).numpy()
    box_code, box_logits = _typical(boxes, columns["box_class"], len(OBJECT_CLASSES), seed)
    lines, line_logits = _typical(columns["polylines"], columns["polyline_class"], len(MAP_CLASSES), seed)
    found = {
        "bev_logits": np.log(bev + FLOOR), "box_code": box_code, "box_logits": box_logits,
        "polylines": lines, "polyline_logits": line_logits, "route": route, "light_logits": np.log(light + FLOOR),
    }  # fmt: skip
    return {name: torch.from_numpy(array)[None].float() for name, array in found.items()}


def _typical(elements: NDArray, label: NDArray, num_classes: int, seed: int) -> tuple[NDArray, NDArray]:
    """Typical elements (Q, ...) and their logits (Q, num_classes + 1), from elements (n, A, ...) and labels (n, A)."""
    scene = np.broadcast_to(np.arange(len(label))[:, None], label.shape)
    centers, logits = [], []
    for kind in range(num_classes):
        rows = elements[label == kind]
        count = min(int(np.ceil(len(rows) / len(label))), len(rows))
        if count == 0:
            continue
        with threadpool_limits(1):  # several threads add in an order that varies
            clusters = KMeans(count, n_init=1, random_state=seed).fit(rows.reshape(len(rows), -1))
        centers.append(clusters.cluster_centers_.reshape(count, *elements.shape[2:]))
        for cluster in range(count):
            share = len(np.unique(scene[label == kind][clusters.labels_ == cluster])) / len(label)
            probability = np.full(num_classes + 1, FLOOR)
            probability[[kind, num_classes]] = max(share, FLOOR), max(1 - share, FLOOR)
            logits.append(np.log(probability))
    return np.concatenate(centers), np.stack(logits)


def segmentation_scores(predictions: Predictions, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """IoU of each BEV class over all scenes; 0 for a class that is neither there nor predicted."""
    logits = F.interpolate(predictions["bev_logits"], size=targets["bev"].shape[-2:], mode="bilinear")
    confusion = multiclass_confusion_matrix(logits.argmax(dim=1), targets["bev"], len(BEV_CLASSES))
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
    iou = (confusion.diagonal() / union.clamp(min=1)).tolist()
    return {f"iou_{name}": value for name, value in zip(BEV_CLASSES, iou, strict=True)}


def route_scores(predictions: Predictions, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean distance [m] of the points of the route that are inside the rectangle; 0 if none is."""
    distance = (predictions["route"] - targets["route"]).norm(dim=-1)
    inside = targets["route_inside"]
    return {"route_error_m": float((distance * inside).sum() / inside.sum().clamp(min=1))}


def light_scores(predictions: Predictions, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of the scenes with each light in which it is recognised; 0 for a light that no scene has."""
    confusion = multiclass_confusion_matrix(predictions["light_logits"].argmax(dim=1), targets["light"], len(LIGHTS))
    recall = (confusion.diagonal() / confusion.sum(dim=1).clamp(min=1)).tolist()
    return {f"recall_light_{name}": value for name, value in zip(LIGHTS, recall, strict=True)}


def perception_scores(predictions: Predictions, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """IoU by BEV class, AP of detection and map, error of the route, recall of lights.

    Predictions of one scene count for all scenes.
    """
    every = {name: value.expand(len(targets["bev"]), *value.shape[1:]) for name, value in predictions.items()}
    scores = segmentation_scores(every, targets) | detection_scores(every, targets)
    scores |= map_scores(every, targets) | route_scores(every, targets) | light_scores(every, targets)
    return {name: round(value, 6) for name, value in scores.items()}
