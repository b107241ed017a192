"""Questions and answers for the command model: samples with images, driving command, speed and the two labels."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from irlvla.accelerator import on_accelerator
from irlvla.meta_actions import label
from irlvla.models.semantic import CommandModel
from irlvla.progress import progress
from irlvla.scenes.scene import STATUS_COMMAND, STATUS_VELOCITY
from irlvla.side_by_side import in_parts


class CommandDataset(Dataset):
    """Samples as {images (C, H, W, 3) uint8 RGB, command (), speed_mps (), speed_id (), path_id ()}.

    `speed_id` and `path_id` come from the plan; where `has_plan` is False they mean nothing.

    Args:
        targets: columns of `scenes.targets.load_targets`.
        sensor_root: folder that `image_path` is relative to.
        cameras: names in the order of the columns; raises ValueError naming the token whose paths are of others.
    """

    def __init__(self, targets: Mapping[str, NDArray], sensor_root: str | Path, cameras: Sequence[str]):
        self.tokens, self.image_path = targets["tokens"], targets["image_path"]
        self.sensor_root = Path(sensor_root)
        for token, paths in zip(self.tokens, self.image_path, strict=True):
            if len(paths) != len(cameras) or any(name not in path for name, path in zip(cameras, paths, strict=True)):
                raise ValueError(f"{token}: images {list(paths)} are not of {list(cameras)}, in this order")
        now = targets["status"][:, -1]
        self.command = now[:, STATUS_COMMAND].argmax(axis=1)
        self.speed_mps = np.hypot(*now[:, STATUS_VELOCITY].T).astype(np.float32)
        self.speed_id, self.path_id = label(targets["plan"], self.speed_mps)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        names = ("command", "speed_mps", "speed_id", "path_id")
        sample = {name: torch.as_tensor(getattr(self, name)[row]) for name in names}
        images = [self._image(self.sensor_root / path) for path in self.image_path[row]]
        return {"images": torch.from_numpy(np.stack(images)), **sample}

    def _image(self, path: Path) -> NDArray[np.uint8]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path}: missing or no readable image; run 01_data first")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def log_prior(ids: NDArray[np.int64], n_classes: int) -> torch.Tensor:
    """(n_classes,) log frequencies of labels; each class counts once more than it occurs, so that none is -inf."""
    counts = np.bincount(ids, minlength=n_classes) + 1
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def answer_all(model: CommandModel, data: Dataset, batch_size: int, desc: str) -> dict[str, NDArray]:
    """The model's answers to n samples: speed (n,), path (n,) ids and meta tokens (n, L, D) float16."""
    return in_parts(partial(_answer, model, batch_size, desc), data)


def _answer(model: CommandModel, batch_size: int, desc: str, data: Dataset) -> dict[str, NDArray]:
    types = {"speed": np.int64, "path": np.int64, "meta": np.float16}
    parts: dict[str, list[NDArray]] = {name: [] for name in types}
    with on_accelerator(model) as device:
        for batch in progress(DataLoader(data, batch_size), desc):
            answer = model.answer(*(batch[name].to(device) for name in ("images", "command", "speed_mps")))
            for name, kind in types.items():
                parts[name].append(getattr(answer, name).cpu().numpy().astype(kind))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def save_meta_tokens(path: str | Path, tokens: Iterable[str], meta: NDArray[np.float16]) -> None:
    """Write {tokens (n,), meta (n, L, D)}, or nothing: the cache that `scenes.dataset.meta_for` reads.

    Raises ValueError if a token occurs twice.
    """
    tokens = np.array(list(tokens), np.str_)
    if len(np.unique(tokens)) != len(tokens) or len(tokens) != len(meta):
        raise ValueError(f"{path}: {len(tokens)} tokens, {len(np.unique(tokens))} different, {len(meta)} meta rows")
    temporary = Path(path).with_suffix(".partial")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, tokens=tokens, meta=meta)
    os.replace(temporary, path)
