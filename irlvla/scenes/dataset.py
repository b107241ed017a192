"""Torch data set over `targets.save_targets` files and JPEGs, and the batch contract of every network.

C cameras, images of H x W pixels; the other letters as in `irlvla`. `INPUTS` is what a plan needs, `TARGETS` what
training adds. The images are normalised here and nowhere else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from irlvla import HISTORY_FRAMES, PLAN_POSES
from irlvla.scenes.images import read_fitted
from irlvla.scenes.targets import BOX_COLUMNS, NUM_OBJECTS, NUM_POLYLINES, POLYLINE_POINTS, ROUTE_POINTS
from irlvla.world.rig import fitted_intrinsics

Batch = dict[str, torch.Tensor]

INPUTS = {
    "images": ("B", "C", 3, "H", "W"),  # normalised, RGB
    "intrinsics": ("B", "C", 3, 3),  # pixels of these images, which span [0, W] x [0, H]
    "ego_from_camera": ("B", "C", 4, 4),
    "status": ("B", HISTORY_FRAMES, 8),
    "meta": ("B", "L", "D"),  # meta tokens of the semantic model
}
TARGETS = {
    "plan": ("B", PLAN_POSES, 3),
    "has_plan": ("B",),  # bool: the plan may be imitated
    "boxes": ("B", NUM_OBJECTS, len(BOX_COLUMNS)),
    "box_class": ("B", NUM_OBJECTS),
    "polylines": ("B", NUM_POLYLINES, POLYLINE_POINTS, 2),
    "polyline_class": ("B", NUM_POLYLINES),
    "bev": ("B", "X", "X"),
    "route": ("B", ROUTE_POINTS, 2),
    "route_inside": ("B", ROUTE_POINTS),
    "light": ("B",),
}

# Mean and spread of ImageNet's RGB values, which timm's pretrained backbones expect.
MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD_RGB = np.array([0.229, 0.224, 0.225], np.float32) * 255


def normalize_images(images: NDArray[np.uint8]) -> torch.Tensor:
    """(..., H, W, 3) RGB bytes to the network's (..., 3, H, W) float32."""
    values = np.moveaxis(images, -1, -3).astype(np.float32, order="C")
    values -= MEAN_RGB[:, None, None]
    values /= STD_RGB[:, None, None]
    return torch.from_numpy(values)


def check_batch(batch: Mapping[str, torch.Tensor], contract: Mapping[str, tuple[str | int, ...]]) -> None:
    """Raise ValueError naming the field if the batch breaks the contract; equal letters must mean equal lengths."""
    letters: dict[str, int] = {}
    for name, shape in contract.items():
        if name not in batch:
            raise ValueError(f"batch has no {name!r}, of shape {shape}")
        got = tuple(batch[name].shape)
        wanted = tuple(
            letters.setdefault(n, size) if isinstance(n, str) else n for n, size in zip(shape, got, strict=False)
        )
        if got != wanted or len(got) != len(shape):
            raise ValueError(f"batch[{name!r}] has shape {got}, expected {shape} with {letters}")
        if batch[name].is_floating_point() and not torch.isfinite(batch[name]).all():
            raise ValueError(f"batch[{name!r}] holds a value that is not finite")


class SceneDataset(Dataset):
    """Samples of one split: `INPUTS` and `TARGETS` without the batch axis. `x_range_m` and `y_range_m` are their area.

    Args:
        targets: columns of `targets.load_targets` for n samples.
        sensor_root: folder that `image_path` is relative to.
        image_hw: size of the images handed out.
        meta: (n, L, D) meta tokens in the same order (see `meta_for`).
    """

    def __init__(
        self,
        targets: Mapping[str, NDArray],
        sensor_root: str | Path,
        image_hw: tuple[int, int],
        meta: NDArray,
    ):
        self.tokens = targets["tokens"]
        self.sensor_root = Path(sensor_root)
        self.image_hw = image_hw
        self.columns = {name: targets[name] for name in (*INPUTS, *TARGETS) if name in targets} | {"meta": meta}
        self.image_path, self.native_hw = targets["image_path"], targets["camera_size_px"]
        self.x_range_m, self.y_range_m = targets["x_range_m"].tolist(), targets["y_range_m"].tolist()
        if len(meta) != len(self.tokens):
            raise ValueError(f"{len(meta)} rows of meta tokens for {len(self.tokens)} samples")

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> Batch:
        sample = {name: torch.as_tensor(column[row]) for name, column in self.columns.items()}
        native = [tuple(size) for size in self.native_hw[row].tolist()]
        matrices = self.columns["intrinsics"][row]
        images = [
            read_fitted(self.sensor_root / path, matrix[1, 2], hw, *self.image_hw)
            for path, matrix, hw in zip(self.image_path[row], matrices, native, strict=True)
        ]
        fitted = [fitted_intrinsics(m, hw, *self.image_hw) for m, hw in zip(matrices, native, strict=True)]
        sample["images"] = normalize_images(np.stack(images))
        sample["intrinsics"] = torch.from_numpy(np.stack(fitted)).float()
        sample["meta"] = sample["meta"].float()
        for name in ("box_class", "polyline_class", "bev", "light"):
            sample[name] = sample[name].long()
        return sample


def select_rows(columns: Mapping[str, NDArray], keep: Sequence[int] | NDArray) -> dict[str, NDArray]:
    """The chosen samples of `targets.load_targets`; the two ranges belong to all of them."""
    ranges = ("x_range_m", "y_range_m")
    return {name: column if name in ranges else column[keep] for name, column in columns.items()}


def meta_for(tokens: Sequence[str], cache: Mapping[str, NDArray]) -> NDArray[np.float32]:
    """(n, L, D) rows of a cache {tokens (m,), meta (m, L, D)} in the order of `tokens`.

    Raises ValueError naming the first token that the cache lacks.
    """
    row = {token: index for index, token in enumerate(cache["tokens"].tolist())}
    missing = [token for token in tokens if token not in row]
    if missing:
        raise ValueError(f"no meta tokens of {missing[0]} ({len(missing)} of {len(tokens)} missing); run 02 again")
    return cache["meta"][[row[token] for token in tokens]].astype(np.float32)
