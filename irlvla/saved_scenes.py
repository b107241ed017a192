"""Scenes as the stages saved them: picture, scoring context and plans, without the dataset.

A saved scene is what figures of single scenes need; notebook 01 saved the picture and the context, 07 the plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irlvla.epdms.context import ScoringContext
from irlvla.scenes.targets import load_targets
from irlvla.world.rig import fitted_intrinsics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SavedScene:
    image: NDArray[np.uint8]  # (H, W, 3) of the first camera
    intrinsics: Array  # (3, 3) of `image` as it is
    ego_from_camera: Array  # (4, 4)
    context: ScoringContext
    plans: dict[str, Array]  # agent -> (T, 3), ego frame


def saved_plans(folder: Path, tokens: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Plans of the scenes `tokens` by agent, as notebook 07 left them. Raises ValueError naming a scene without."""
    with np.load(folder / "plans.npz") as arrays:
        plans = dict(arrays)
    row = {token: i for i, token in enumerate(plans.pop("tokens").tolist())}
    if missing := [token for token in tokens if token not in row]:
        raise ValueError(f"{folder / 'plans.npz'}: no plan for scene {missing[0]}; run 07_evaluation again")
    rows = [row[token] for token in tokens]
    return {agent: of_all[rows] for agent, of_all in plans.items()}


def load_saved_scenes(runs: Path, tokens: Sequence[str], agents: Sequence[str]) -> dict[str, SavedScene]:
    """Test scenes by token with the plans of those `agents` that were evaluated.

    Raises ValueError naming the token without targets or plans, FileNotFoundError naming a missing picture.
    """
    targets = load_targets(runs / "data" / "scenes" / "test.npz")
    plans = saved_plans(runs / "evaluation", tokens)
    rows = {token: row for row, token in enumerate(targets["tokens"].tolist())}
    found = {}
    for i, token in enumerate(tokens):
        if token not in rows:
            raise ValueError(f"scene {token}: not among the saved test scenes of {runs}")
        row, path = rows[token], runs / "data" / "sensor_blobs" / targets["image_path"][rows[token], 0]
        image = cv2.imread(str(path))
        if image is None:
            raise FileNotFoundError(f"scene {token}: picture {path} is missing; run notebook 01")
        size = tuple(targets["camera_size_px"][row, 0].tolist())
        found[token] = SavedScene(
            image=image[..., ::-1],
            intrinsics=fitted_intrinsics(targets["intrinsics"][row, 0], size, *image.shape[:2]),
            ego_from_camera=targets["ego_from_camera"][row, 0],
            context=ScoringContext.load(runs / "data" / "contexts" / f"{token}.npz"),
            plans={agent: plans[agent][i] for agent in agents if agent in plans},
        )
    return found


def largest_median_loss(scores: pd.DataFrame, before: str, after: str) -> dict[str, str]:
    """Tokens by rule, of rows of several agents: where `after` exceeds `before` most, by the median, and least.

    The median is among the differences that are not zero, if there are any.
    """
    of_scene = scores.pivot(index="token", columns="agent", values="score")
    order = (of_scene[after] - of_scene[before]).sort_values(kind="stable")
    order = order[order != 0] if order.any() else order
    return {"largest gain": order.index[-1], "median": order.index[len(order) // 2], "largest loss": order.index[0]}
