"""Stage 1: samples of a run as data sets, and how far the policy is from the human driver and from the true scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import multiclass_confusion_matrix

from irlvla.losses import plan_distance, polyline_distances
from irlvla.models.perception import detections
from irlvla.models.policy import Policy, best_plan
from irlvla.scenes.dataset import SceneDataset, meta_for
from irlvla.scenes.targets import BEV_CLASSES, NO_CLASS, load_targets

FOUND_M = 2.0  # a true object or map element counts as found within this distance
CONFIDENT = 0.4  # predictions of a lower probability are not looked at


def load_split(runs: Path, split: str, image_hw: tuple[int, int]) -> SceneDataset:
    """Samples of `runs/data` with the meta tokens of `runs/semantic_reasoning`."""
    targets = load_targets(runs / "data" / "scenes" / f"{split}.npz")
    with np.load(runs / "semantic_reasoning" / "meta_tokens.npz", allow_pickle=False) as cache:
        meta = meta_for(targets["tokens"].tolist(), dict(cache))
    return SceneDataset(targets, runs / "data" / "sensor_blobs", image_hw, meta)


def plan_errors(plans: Tensor, logits: Tensor, human: Tensor) -> dict[str, float]:
    """Displacement [m] of K plans (n, K, T, 3) with logits (n, K) from the human plans (n, T, 3).

    ade, fde: mean and final displacement of the plan with the highest score; min_ade: of the best of all K plans.
    """
    chosen = best_plan(plans, logits)
    every = plan_distance(plans, human[:, None])
    return {
        "ade_m": plan_distance(chosen, human).mean().item(),
        "fde_m": (chosen[:, -1, :2] - human[:, -1, :2]).norm(dim=-1).mean().item(),
        "min_ade_m": every.min(dim=1).values.mean().item(),
        "best_chosen": (every.argmin(dim=1) == logits.argmax(dim=1)).float().mean().item(),
    }


@torch.no_grad()
def perception_scores(policy: Policy, dataset: Dataset, batch_size: int = 16) -> dict[str, float]:
    """IoU of each BEV class, recall and precision of objects, recall of map elements; all in [0, 1]."""
    confusion = torch.zeros(len(BEV_CLASSES), len(BEV_CLASSES))
    counts = {name: 0 for name in ("objects", "found", "claimed", "right", "elements", "traced")}
    for batch in DataLoader(dataset, batch_size):
        predictions = policy.read(policy.encode(batch))
        logits = torch.nn.functional.interpolate(
            predictions["bev_logits"], size=batch["bev"].shape[-2:], mode="bilinear"
        )
        confusion += multiclass_confusion_matrix(logits.argmax(dim=1), batch["bev"], len(BEV_CLASSES))
        for name, value in (_object_counts(predictions, batch) | _map_counts(predictions, batch)).items():
            counts[name] += value
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
    iou = (confusion.diagonal() / union.clamp(min=1)).tolist()
    return {f"iou_{name}": value for name, value in zip(BEV_CLASSES, iou, strict=True)} | {
        "object_recall": counts["found"] / max(counts["objects"], 1),
        "object_precision": counts["right"] / max(counts["claimed"], 1),
        "map_recall": counts["traced"] / max(counts["elements"], 1),
    }


def _object_counts(predictions: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, int]:
    boxes, label, probability = detections(predictions)
    true, claimed = batch["box_class"] != NO_CLASS, probability > CONFIDENT
    near = torch.cdist(boxes[..., :2], batch["boxes"][..., :2]) < FOUND_M  # (B, predicted, true)
    pairs = near & (label[:, :, None] == batch["box_class"][:, None]) & claimed[:, :, None] & true[:, None]
    return {
        "objects": int(true.sum()),
        "found": int(pairs.any(dim=1).sum()),
        "claimed": int(claimed.sum()),
        "right": int(pairs.any(dim=2).sum()),
    }


def _map_counts(predictions: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, int]:
    probability, label = predictions["polyline_logits"].softmax(-1)[..., :-1].max(-1)
    distance = polyline_distances(predictions["polylines"], batch["polylines"], batch["polyline_class"])
    true = batch["polyline_class"] != NO_CLASS
    same = (label[:, :, None] == batch["polyline_class"][:, None]) & (probability > CONFIDENT)[:, :, None]
    traced = ((distance < FOUND_M) & same).any(dim=1) & true
    return {"elements": int(true.sum()), "traced": int(traced.sum())}


def by_split(arrays: Mapping[str, Mapping[str, NDArray]], order: Sequence[str]) -> dict[str, NDArray]:
    """Arrays of several splits, concatenated in the given order."""
    return {name: np.concatenate([arrays[split][name] for split in order]) for name in arrays[order[0]]}
