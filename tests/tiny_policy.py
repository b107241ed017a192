"""A policy small enough to train in a test, and random batches that keep the contract."""

import numpy as np
import torch

from irlvla import PLAN_POSES
from irlvla.models.policy import Policy
from irlvla.models.reward_ensemble import RewardEnsemble
from irlvla.scenes.targets import (
    BOX_COLUMNS,
    LIGHTS,
    MAP_CLASSES,
    NUM_OBJECTS,
    NUM_POLYLINES,
    OBJECT_CLASSES,
    POLYLINE_POINTS,
    ROUTE_POINTS,
)
from irlvla.world.rig import camera_for_size

HEIGHT, WIDTH, CELLS, META = 32, 88, 16, 6
CAMERAS = ("CAM_F0", "CAM_L0", "CAM_R0")
X_RANGE_M, Y_RANGE_M = (-8.0, 56.0), (-32.0, 32.0)


def arguments(**changes) -> dict:
    """Constructor arguments of the smallest policy."""
    small = {
        "image_size": (HEIGHT, WIDTH), "backbone": "test_resnet", "levels": (2, 3), "shrink": 1, "image_channels": 16,
        "pixel_channels": 8, "bev_channels": 16, "channels": 16, "heads": 2, "feedforward": 32,
        "bev_cells": CELLS, "bev_tokens_side": 8, "bev_blocks": 1, "heights_m": (0.0, 4.7),
        "x_range_m": X_RANGE_M, "y_range_m": Y_RANGE_M, "query_layers": 1, "meta_channels": META, "num_anchors": 4,
        "plan_blocks": 1, "steps": 2,
    }  # fmt: skip
    return small | changes


def human_plans(count: int, seed: int = 0) -> np.ndarray:
    """(n, T, 3) arcs at constant speed."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(1, 12, count)[:, None] * np.arange(1, PLAN_POSES + 1) * 0.5
    heading = rng.normal(0, 0.02, count)[:, None] * distance
    return np.stack([distance * np.cos(heading / 2), distance * np.sin(heading / 2), heading], axis=-1)


def batch(size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random inputs and targets; a few rows of boxes and map lines are filled."""
    rng = np.random.default_rng(seed)
    views = [camera_for_size(name, HEIGHT, WIDTH) for name in CAMERAS]
    box_class = np.full((size, NUM_OBJECTS), -1)
    box_class[:, :3] = rng.integers(0, len(OBJECT_CLASSES), (size, 3))
    line_class = np.full((size, NUM_POLYLINES), -1)
    line_class[:, :2] = rng.integers(0, len(MAP_CLASSES), (size, 2))
    boxes = rng.uniform(0.5, 3, (size, NUM_OBJECTS, len(BOX_COLUMNS)))
    arrays = {
        "images": rng.normal(size=(size, len(CAMERAS), 3, HEIGHT, WIDTH)),
        "intrinsics": np.stack([np.stack([k for k, _ in views])] * size),
        "ego_from_camera": np.stack([np.stack([pose for _, pose in views])] * size),
        "status": rng.normal(size=(size, 4, 8)),
        "meta": rng.normal(size=(size, 3, META)),
        "plan": human_plans(size, seed),
        "boxes": boxes,
        "polylines": rng.uniform(-20, 20, (size, NUM_POLYLINES, POLYLINE_POINTS, 2)),
    }
    tensors = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    return tensors | {
        "has_plan": torch.ones(size, dtype=torch.bool),
        "box_class": torch.from_numpy(box_class),
        "polyline_class": torch.from_numpy(line_class),
        "bev": torch.from_numpy(rng.integers(0, 7, (size, CELLS, CELLS))),
        "light": torch.from_numpy(rng.integers(0, len(LIGHTS), size)),
        "route": torch.from_numpy(rng.uniform(0, 30, (size, ROUTE_POINTS, 2))).float(),
        "route_inside": torch.from_numpy(rng.random((size, ROUTE_POINTS)) < 0.7),
    }


def policy(seed: int = 0, **changes) -> Policy:
    """The smallest policy with anchors."""
    torch.manual_seed(seed)
    built = Policy(**arguments(**changes))
    built.set_anchors(human_plans(50), seed)
    return built


def reward_ensemble(policy: Policy, members: int) -> RewardEnsemble:
    """The smallest reward model on that policy's tokens."""
    torch.manual_seed(0)
    sizes = {name: policy.arguments[name] for name in ("channels", "heads", "feedforward", "x_range_m", "y_range_m")}
    return RewardEnsemble(members=members, **sizes, blocks=1).eval()


class Rows(torch.utils.data.Dataset):
    """The samples of a batch."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors["plan"])

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: tensor[row] for name, tensor in self.tensors.items()}
