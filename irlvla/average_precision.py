"""Average precision of predicted boxes and map lines.

A prediction is right if a true element of its class, not yet taken by a more confident one, lies nearer than a
threshold: boxes by the distance of their centres, as in nuScenes (arXiv 1903.11027), lines by their Chamfer distance,
as in MapTR (arXiv 2208.14437). AP is the whole area under the curve of precision over recall, precision made
non-increasing; nuScenes leaves out recall and precision below 0.1.

    B scenes   Q predictions and G true elements of a scene
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla.models.perception import detections
from irlvla.scenes.targets import MAP_CLASSES, OBJECT_CLASSES

Array = NDArray[np.floating]

CENTER_THRESHOLDS_M = (1.0, 2.0, 4.0)
CHAMFER_THRESHOLDS_M = (0.5, 1.0, 1.5)


def average_precision(confidence: Array, right: NDArray[np.bool_], num_true: int) -> float:
    """AP of n predictions with `confidence` (n,), of which `right` (n,) are; NaN without any true element."""
    if num_true == 0:
        return float("nan")
    hits = np.cumsum(right[np.argsort(-confidence, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall_steps = np.diff(hits, prepend=0) / num_true
    return float((envelope * recall_steps).sum())


def take_nearest(distance: Array, confidence: Array, threshold_m: float) -> NDArray[np.bool_]:
    """(Q,) whether each prediction takes a true element nearer than the threshold; distance (Q, G), most confident
    first, each element once.
    """
    free, right = np.ones(distance.shape[1], bool), np.zeros(len(distance), bool)
    for row in np.argsort(-confidence, kind="stable"):
        candidates = np.flatnonzero(free & (distance[row] < threshold_m))
        if len(candidates):
            free[candidates[distance[row, candidates].argmin()]] = False
            right[row] = True
    return right


def chamfer_distance(lines: Tensor, other: Tensor) -> Tensor:
    """(..., Q, G) symmetric Chamfer distance [m] of polylines (..., Q, P, 2) and (..., G, P', 2), mean of both ways."""
    distance = torch.cdist(lines.flatten(-3, -2), other.flatten(-3, -2))
    distance = distance.unflatten(-1, other.shape[-3:-1]).unflatten(-3, lines.shape[-3:-1])  # (..., Q, P, G, P')
    there, back = distance.amin(dim=-1).mean(dim=-2), distance.amin(dim=-3).mean(dim=-1)
    return (there + back) / 2


def mean_average_precision(
    distance: Array, confidence: Array, label: Array, true_label: Array, num_classes: int, thresholds_m: Sequence[float]
) -> dict[float, float]:
    """AP by threshold, mean over the classes that occur.

    distance (B, Q, G) [m], confidence and label (B, Q), true_label (B, G) with NO_CLASS where there is none.
    """
    result = {}
    for threshold_m in thresholds_m:
        of_class = []
        for kind in range(num_classes):
            predicted, true = label == kind, true_label == kind
            right = [
                take_nearest(d[p][:, t], c[p], threshold_m)
                for d, c, p, t in zip(distance, confidence, predicted, true, strict=True)
            ]
            of_class.append(average_precision(confidence[predicted], np.concatenate(right), int(true.sum())))
        result[threshold_m] = float(np.nanmean(of_class))
    return result


def detection_scores(predictions: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, float]:
    """`detection_ap_<threshold>m` and their mean `detection_map` of B scenes' predictions (`Policy.read`)."""
    boxes, label, confidence = detections(dict(predictions))
    distance = torch.cdist(boxes[..., :2], batch["boxes"][..., :2])
    arrays = [x.numpy() for x in (distance, confidence, label, batch["box_class"])]
    found = mean_average_precision(*arrays, len(OBJECT_CLASSES), CENTER_THRESHOLDS_M)
    by_threshold = {f"detection_ap_{threshold:g}m": ap for threshold, ap in found.items()}
    return by_threshold | {"detection_map": float(np.mean([*found.values()]))}


def map_scores(predictions: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, float]:
    """`map_ap_<threshold>m` and their mean `map_map` of B scenes' predictions (`Policy.read`)."""
    confidence, label = predictions["polyline_logits"].softmax(-1)[..., :-1].max(-1)
    distance = torch.cat([
        chamfer_distance(lines, true)
        for lines, true in zip(predictions["polylines"].split(8), batch["polylines"].split(8), strict=True)
    ])  # fmt: skip
    arrays = [x.numpy() for x in (distance, confidence, label, batch["polyline_class"])]
    found = mean_average_precision(*arrays, len(MAP_CLASSES), CHAMFER_THRESHOLDS_M)
    return {f"map_ap_{t:g}m": ap for t, ap in found.items()} | {"map_map": float(np.mean([*found.values()]))}
