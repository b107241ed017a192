"""Training and judging the reward world model on scored plans.

n scenes   B scenes of a batch   N plans of a scene
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import r2_score, roc_auc_score
from torch import Tensor
from torch.utils.data import Dataset

from irlvla.epdms.scores import SUB_SCORES
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.models.reward_model import RewardModel, compose, reward_losses
from irlvla.reinforcement import Tokens, take

Scores = dict[str, Tensor]
Array = NDArray[np.floating]

CALIBRATION_BINS = 10
LEAST_PLANS = 3  # of a source, to be ranked by itself
GOOD_ENOUGH = 0.05  # a chosen plan counts as good if its score is within this of the best candidate's


class ScoredPlanDataset(Dataset):
    """A sample is a scene: its cached tokens and `num_plans` of its N plans, drawn anew at each visit.

    Args:
        cached: tokens of n scenes.
        plans: (n, N, T, 3) ego frame [m, rad].
        scores: sub-scores, (n, N) each.
        num_plans: of a sample; None for all N in their order.
    """

    def __init__(self, cached: Tokens, plans: Tensor, scores: Scores, num_plans: int | None = None):
        self.cached, self.plans, self.scores, self.num_plans = cached, plans, scores, num_plans

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        """Tokens by name, "plans" (N', T, 3) and the sub-scores (N',) by name."""
        n = self.plans.shape[1]
        drawn = torch.arange(n) if self.num_plans is None else torch.randperm(n)[: self.num_plans]
        tokens = {name: values[row].float() for name, values in self.cached.items()}
        scores = {name: self.scores[name][row, drawn] for name in SUB_SCORES}
        return {**tokens, "plans": self.plans[row, drawn], **scores}


def batch_losses(model: RewardModel, batch: dict[str, Tensor]) -> Scores:
    """`reward_losses` of a batch of `ScoredPlanDataset`; `training.fit` weights them."""
    return reward_losses(model(batch, batch["plans"]), batch)


@torch.no_grad()
def predict(
    model: RewardEnsemble, cached: Tokens, plans: Tensor, batch_scenes: int = 32
) -> tuple[dict[str, Array], Array, Array]:
    """Sub-scores (n, N) of plans (n, N, T, 3), mean over the members; mean and standard deviation of their rewards."""
    parts = [model(take(cached, rows), plans[rows]) for rows in torch.arange(len(plans)).split(batch_scenes)]
    members = {name: torch.cat([part[name] for part in parts], dim=1) for name in SUB_SCORES}  # (M, n, N)
    rewards = compose(members)
    sub_scores = {name: values.mean(dim=0).numpy() for name, values in members.items()}
    return sub_scores, rewards.mean(dim=0).numpy(), rewards.std(dim=0, correction=0).numpy()


def status_only(cached: Tokens) -> Tokens:
    """The tokens with all but the ego status blanked: what is left if the model cannot see."""
    return {name: values if name == "status" else torch.zeros_like(values) for name, values in cached.items()}


def nearest_anchor_mean(train_plans: Array, train_score: Array, plans: Array, anchors: Array) -> Array:
    """Predicted score (n, N) of plans (n, N, T, 3): mean training score of the plans nearest the same anchor (K, T, 3).

    A reward without a scene: what sort of plan is good on average. Distances are those of positions.
    """

    def nearest(some: Array) -> NDArray[np.int64]:
        xy, centers = some[..., :2].reshape(-1, anchors.shape[1] * 2), anchors[..., :2].reshape(len(anchors), -1)
        return ((xy**2).sum(axis=1)[:, None] - 2 * xy @ centers.T + (centers**2).sum(axis=1)).argmin(axis=1)

    anchor = nearest(train_plans)
    count = np.bincount(anchor, minlength=len(anchors))
    total = np.bincount(anchor, weights=train_score.ravel(), minlength=len(anchors))
    mean = np.where(count > 0, total / np.maximum(count, 1), train_score.mean())
    return mean[nearest(plans)].reshape(plans.shape[:2])


def calibration_error(predicted: Array, true: Array) -> float:
    """Expected calibration error: |mean prediction - mean truth| in equal bins of [0, 1], weighted by their size."""
    predicted, true = predicted.ravel(), true.ravel()
    which = np.minimum((predicted * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = np.bincount(which, weights=predicted - true, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(predicted))


def sub_score_quality(predicted: Mapping[str, Array], true: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Per sub-score: `auc` of telling full marks from less, `calibration_error`, and `r2`; NaN where undefined."""
    quality = {}
    for name in SUB_SCORES:
        p, y = predicted[name].ravel(), true[name].ravel()
        full = y == 1
        quality[name] = {
            "auc": float(roc_auc_score(full, p)) if 0 < full.sum() < len(full) else float("nan"),
            "calibration_error": calibration_error(p, y),
            "r2": float(r2_score(y, p)) if y.std() > 0 else float("nan"),
        }
    return quality


def correlation_of_ranks(predicted: Array, true: Array) -> Array:
    """Spearman's correlation (n,) within each row of (n, N); 0 for a constant prediction, NaN for constant truth."""
    p, y = rankdata(predicted, axis=1), rankdata(true, axis=1)
    p, y = p - p.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    p_norm, y_norm = np.linalg.norm(p, axis=1), np.linalg.norm(y, axis=1)
    correlation = (p * y).sum(axis=1) / np.where(p_norm * y_norm > 0, p_norm * y_norm, 1.0)
    return np.where(y_norm > 0, correlation, np.nan)


def error_by_spread(predicted: Array, spread: Array, true: Array, parts: int = 5) -> dict[str, list[float]]:
    """What the members' disagreement says of the error: mean `spread` and mean absolute `error` of the rewards in
    `parts` equal parts of all plans, those the members agree on first.
    """
    order = np.argsort(spread.ravel(), kind="stable")
    error = np.abs(predicted - true).ravel()
    pieces = np.array_split(order, parts)
    return {
        "spread": [float(spread.ravel()[piece].mean()) for piece in pieces],
        "error": [float(error[piece].mean()) for piece in pieces],
    }


def ranking_quality(predicted: Array, true: Array) -> dict[str, float]:
    """How well predicted scores (n, N) rank plans.

    `spearman_within`: mean over the scenes in which the true scores differ. `spearman_overall`: over all plans.
    `good_choice`: share of scenes whose best-predicted plan is within GOOD_ENOUGH of the best candidate.
    `chosen_score`: mean true score of the best-predicted plans.
    """
    chosen = np.take_along_axis(true, predicted.argmax(axis=1)[:, None], axis=1)[:, 0]
    return {
        "spearman_within": float(np.nanmean(correlation_of_ranks(predicted, true))),
        "spearman_overall": float(correlation_of_ranks(predicted.reshape(1, -1), true.reshape(1, -1))[0]),
        "good_choice": float((chosen >= true.max(axis=1) - GOOD_ENOUGH).mean()),
        "chosen_score": float(chosen.mean()),
    }


def ranking_by_source(predicted: Array, true: Array, sources: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """`ranking_quality` of the plans (n, N) of each source alone; `sources` (N,) names them. Single plans rank nothing.

    A source with fewer than LEAST_PLANS plans a scene is left out.
    """
    columns = {source: sources == source for source in dict.fromkeys(sources.tolist())}
    return {
        source: ranking_quality(predicted[:, of_source], true[:, of_source])
        for source, of_source in columns.items()
        if of_source.sum() >= LEAST_PLANS
    }
