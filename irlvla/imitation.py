"""Stage 1: samples of a run as data sets, the planner's loss, and how far the policy is from the human driver."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irlvla import losses
from irlvla.models.policy import Policy, best_plan
from irlvla.scenes.dataset import SceneDataset, meta_for
from irlvla.scenes.targets import load_targets
from irlvla.tokens import TokenDataset, TokenStore


def load_split(runs: Path, split: str, image_hw: tuple[int, int]) -> SceneDataset:
    """Samples of `runs/data` with the meta tokens of `runs/semantic_reasoning`."""
    targets = load_targets(runs / "data" / "scenes" / f"{split}.npz")
    with np.load(runs / "semantic_reasoning" / "meta_tokens.npz", allow_pickle=False) as cache:
        meta = meta_for(targets["tokens"].tolist(), dict(cache))
    return SceneDataset(targets, runs / "data" / "sensor_blobs", image_hw, meta)


def imitation_data(runs: Path, split: str) -> TokenDataset:
    """Stored tokens and human plans of the scenes of a split that have one."""
    targets = load_targets(runs / "data" / "scenes" / f"{split}.npz")
    rows = np.flatnonzero(targets["has_plan"])
    tokens = TokenStore(runs / "imitation" / "tokens.npz").batch(targets["tokens"][rows].tolist())
    kinds = {kind: values.numpy() for kind, values in tokens.items()}
    return TokenDataset(kinds, {name: targets[name][rows] for name in ("plan", "has_plan")})


def planner_beside(whole: Policy, sources: Sequence[str], seed: int) -> Policy:
    """An untrained planner on the tokens of `whole`, of which it looks at these kinds only.

    Encoders (frozen), anchors and normalisation are those of `whole`.
    """
    torch.manual_seed(seed)
    policy = Policy(**whole.arguments | {"sources": sources})
    policy.encoder.load_state_dict(whole.encoder.state_dict())
    policy.encoder.requires_grad_(False)
    policy.normalizer.load_state_dict(whole.normalizer.state_dict())
    policy.anchors.copy_(whole.anchors)
    return policy


def planner_loss(policy: Policy, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trajectory and score terms after both denoising steps of `predict`; moved starts, without a plan, count nothing.

    Args:
        batch: tokens, the human plans `plan` (B, T, 3) and `has_plan` (B,).
    """
    plans, logits = policy.predict(batch)
    human, valid = batch["plan"].repeat(2, 1, 1), batch["has_plan"].repeat(2)
    return losses.trajectory(plans, logits, policy.anchors, human, valid)


def plan_errors(plans: Tensor, logits: Tensor, human: Tensor) -> dict[str, float]:
    """Displacement [m] of K plans (n, K, T, 3) with logits (n, K) from the human plans (n, T, 3).

    ade, fde: mean and final displacement of the plan with the highest score; min_ade: of the best of all K plans.
    """
    chosen = best_plan(plans, logits)
    every = losses.plan_distance(plans, human[:, None])
    return {
        "ade_m": losses.plan_distance(chosen, human).mean().item(),
        "fde_m": (chosen[:, -1, :2] - human[:, -1, :2]).norm(dim=-1).mean().item(),
        "min_ade_m": every.min(dim=1).values.mean().item(),
        "best_chosen": (every.argmin(dim=1) == logits.argmax(dim=1)).float().mean().item(),
    }


def by_split(arrays: Mapping[str, Mapping[str, NDArray]], order: Sequence[str]) -> dict[str, NDArray]:
    """Arrays of several splits, concatenated in the given order."""
    return {name: np.concatenate([arrays[split][name] for split in order]) for name in arrays[order[0]]}
