"""Tokens encoded once: with frozen encoders every later stage reads a sample's tokens instead of its images."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from irlvla.accelerator import moved, on_accelerator
from irlvla.models.policy import Policy
from irlvla.progress import progress
from irlvla.side_by_side import in_parts

KINDS = ("meta", "bev", "map", "objects", "status")


def encode_dataset(policy: Policy, dataset: Dataset, batch_size: int = 16) -> dict[str, NDArray[np.float16]]:
    """Tokens (n, L, D) of each kind for the n samples in order. The policy must be in evaluation mode.

    Raises ValueError where a token is too large for float16.
    """
    assert not policy.training, "encode in evaluation mode: policy.eval()"
    encoded = in_parts(partial(_encode, policy, batch_size), dataset)
    for kind, rows in encoded.items():
        if not np.isfinite(rows).all():
            raise ValueError(f"{kind} tokens do not fit float16; the encoder has diverged")
    return encoded


@torch.no_grad()
def _encode(policy: Policy, batch_size: int, dataset: Dataset) -> dict[str, NDArray[np.float16]]:
    parts: dict[str, list[NDArray[np.float16]]] = {kind: [] for kind in KINDS}
    with on_accelerator(policy) as device:
        for batch in progress(DataLoader(dataset, batch_size), "encode"):
            tokens = policy.encode(moved(batch, device))
            for kind in KINDS:
                parts[kind].append(tokens[kind].cpu().numpy().astype(np.float16))
    return {kind: np.concatenate(rows) for kind, rows in parts.items()}


def save_tokens(path: str | Path, scene_tokens: Sequence[str], tokens: Mapping[str, NDArray]) -> None:
    """Write {tokens (n,) scene tokens, and an array (n, L, D) per kind}, or nothing."""
    temporary = Path(path).with_suffix(".partial")
    with open(temporary, "wb") as file:
        np.savez(file, tokens=np.array(scene_tokens, np.str_), **tokens)
    os.replace(temporary, path)


class TokenStore:
    """Encoded tokens of a run, looked up by scene token."""

    def __init__(self, path: str | Path):
        with np.load(path, allow_pickle=False) as file:
            missing = {"tokens", *KINDS} - set(file.files)
            if missing:
                raise ValueError(f"{path}: no array {', '.join(sorted(missing))}; run 03_imitation again")
            self.path, self.tokens = Path(path), file["tokens"]
            self.arrays = {kind: file[kind] for kind in KINDS}
        self.row = {token: row for row, token in enumerate(self.tokens.tolist())}

    def batch(self, scene_tokens: Sequence[str]) -> dict[str, Tensor]:
        """{kind: (B, L, D) float32} of the given scenes.

        Raises ValueError naming the first scene that was not encoded.
        """
        missing = [token for token in scene_tokens if token not in self.row]
        if missing:
            raise ValueError(f"{self.path}: scene {missing[0]} ({len(missing)} in all) was not encoded")
        rows = [self.row[token] for token in scene_tokens]
        return {kind: torch.from_numpy(array[rows].astype(np.float32)) for kind, array in self.arrays.items()}


class TokenDataset(Dataset):
    """Samples for training on cached tokens: {kind: (L, D)} and the given columns, all by row."""

    def __init__(self, tokens: Mapping[str, NDArray], columns: Mapping[str, NDArray]):
        lengths = {len(array) for array in (*tokens.values(), *columns.values())}
        if len(lengths) != 1:
            raise ValueError(f"tokens and columns have different numbers of samples: {sorted(lengths)}")
        self.tokens, self.columns = dict(tokens), dict(columns)

    def __len__(self) -> int:
        return len(next(iter(self.tokens.values())))

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        tokens = {kind: torch.from_numpy(array[row].astype(np.float32)) for kind, array in self.tokens.items()}
        return tokens | {name: torch.as_tensor(column[row]) for name, column in self.columns.items()}
