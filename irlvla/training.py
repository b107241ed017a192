"""Training with Lightning: seeds, terminal progress, loss history, checkpoints, and resuming after a kill.

A stage gives a model, data sets and a loss function (model, batch) -> dict of terms; `fit` does the rest. Randomness
depends on seed and step only, so a run that was killed and resumed ends with the same weights as one that was not.

Networks of the mini size hardly get faster with a second thread. Two processes of one thread, each with half of every
batch, do (Lightning's `ddp_fork`): gradients are averaged over them. Where processes are not forked
(`side_by_side.py`), one does it all.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from irlvla.losses import weighted
from irlvla.progress import progress
from irlvla.side_by_side import can_fork

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are no progress

Loss = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up and cosine decay to zero over all steps."""

    epochs: int
    learning_rate: float
    batch_size: int
    warmup_epochs: float = 0.5
    weight_decay: float = 1.0e-4
    gradient_clip: float = 1.0
    keep: Literal["last", "best"] = "last"  # epoch whose weights are kept; best: least validation loss
    processes: int = 1  # that share each batch, with one thread each; on a GPU there is one
    slow: tuple[str, ...] = ()  # name prefixes of parameters trained at half the rate (DiffVLA: the image encoder)


def own_share(rows: Sequence[int]) -> Sequence[int]:
    """Of rows dealt out to the processes that train together, those of this one."""
    together = torch.distributed.is_initialized()
    return rows[torch.distributed.get_rank() :: torch.distributed.get_world_size()] if together else rows


class InOrder(Sampler[int]):
    """This process's share of n rows."""

    def __init__(self, size: int):
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(own_share(range(self.size)))

    def __len__(self) -> int:
        return len(own_share(range(self.size)))


class EpochSampler(Sampler[int]):
    """This process's share of a permutation of n rows that depends on seed and epoch. Lightning calls `set_epoch`.

    Loading processes draw their first batches before that, so a resumed training says with which epoch it begins.
    """

    def __init__(self, size: int, seed: int, epoch: int = 0):
        self.size, self.seed, self.epoch = size, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(own_share(np.random.default_rng([self.seed, self.epoch]).permutation(self.size).tolist()))

    def __len__(self) -> int:
        return len(own_share(range(self.size)))


def loaders(
    train: Dataset, val: Dataset, batch_size: int, seed: int, workers: int = 0, epoch: int = 0, processes: int = 1
) -> tuple[DataLoader, DataLoader]:
    """Shuffled training batches (a last, smaller one is dropped if there are others) and ordered validation batches.

    Each of `processes` gets its share of both.
    """
    share = batch_size // processes
    shuffled = EpochSampler(len(train), seed, epoch)
    return (
        DataLoader(train, share, sampler=shuffled, drop_last=len(train) > batch_size, num_workers=workers),
        DataLoader(val, share, sampler=InOrder(len(val)), num_workers=workers),
    )


class Stage(lightning.LightningModule):
    """Glue between a model, its loss and Lightning."""

    def __init__(
        self, model: nn.Module, loss: Loss, weights: Mapping[str, float], optimization: Optimization, seed: int
    ):
        super().__init__()
        self.model, self.loss, self.weights = model, loss, dict(weights)
        self.optimization, self.seed = optimization, seed

    def configure_optimizers(self) -> dict[str, Any]:
        o = self.optimization
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        slow = [p for name, p in named if name.startswith(o.slow)] if o.slow else []
        chosen = {id(p) for p in slow}
        groups = [{"params": [p for _, p in named if id(p) not in chosen]}]
        groups += [{"params": slow, "lr": o.learning_rate / 2}] if slow else []
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate, weight_decay=o.weight_decay, fused=True)
        total = int(self.trainer.estimated_stepping_batches)
        warmup = max(round(total * min(o.warmup_epochs / o.epochs, 1)), 1)

        def factor(step: int) -> float:
            decay = 0.5 * (1 + math.cos(math.pi * min(max(step - warmup, 0) / max(total - warmup, 1), 1)))
            return min((step + 1) / warmup, 1.0) * decay

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1:
            torch.set_num_threads(1)  # a forked process must not start OpenMP's threads again

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        # per step: data loaders draw from it between epochs
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * self.trainer.world_size + self.global_rank)

    def on_validation_batch_start(self, batch: Any, index: int) -> None:
        torch.manual_seed(self.seed * 1_000_003 + index)  # the same validation noise in every epoch

    def _step(self, batch: dict[str, Tensor], prefix: str) -> Tensor:
        terms = self.loss(self.model, batch)
        total = weighted(terms, self.weights)
        size = len(next(iter(batch.values())))
        logged = {f"{prefix}_{name}": value.detach() for name, value in {"loss": total, **terms}.items()}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=self.trainer.world_size > 1)
        return total

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self._step(batch, "val")


class History(Callback):
    """One row of mean losses per epoch in a CSV, and a progress bar on the terminal."""

    def __init__(self, path: Path, name: str):
        self.path, self.name, self.rows = path, name, []
        self.bar: tqdm | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]

    def on_train_start(self, trainer: lightning.Trainer, module: Stage) -> None:
        total, shown = trainer.num_training_batches * trainer.max_epochs, trainer.is_global_zero
        self.bar = progress(None, self.name, total=total, shown=shown)
        self.bar.update(trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Stage, outputs: Any, batch: Any, index: int
    ) -> None:
        self.bar.set_postfix(epoch=trainer.current_epoch, loss=float(outputs["loss"]), refresh=False)
        self.bar.update()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Stage) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows = [*self.rows, {"epoch": trainer.current_epoch, **dict(sorted(values.items()))}]
        if trainer.is_global_zero:
            temporary = self.path.with_suffix(".partial")
            pd.DataFrame(self.rows).to_csv(temporary, index=False, float_format="%.6g")
            os.replace(temporary, self.path)

    def on_train_end(self, trainer: lightning.Trainer, module: Stage) -> None:
        self.bar.close()

    def on_exception(self, trainer: lightning.Trainer, module: Stage, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.close()


def training_key(model: nn.Module, loss: Loss, train: Dataset, settings: Mapping[str, Any]) -> str:
    """Hash of all that a training starts from: settings, code, untrained weights, and a spread of the samples.

    Only a checkpoint with the same key may be resumed: another loss or other data are another training.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=dict).encode())
    digest.update(loss.__code__.co_code)
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.cpu().numpy().tobytes())
    for row in sorted({i * (len(train) - 1) // 15 for i in range(16)}):
        for name, values in train[row].items():
            digest.update(f"{len(train)} {row} {name}".encode() + np.asarray(values).tobytes())
    return digest.hexdigest()[:12]


def discard_checkpoints(folder: str | Path) -> None:
    """Remove the checkpoints of a stage whose result is saved: they serve interrupted trainings only."""
    shutil.rmtree(Path(folder) / "checkpoints", ignore_errors=True)


def fit(
    model: nn.Module,
    loss: Loss,
    weights: Mapping[str, float],
    train: Dataset,
    val: Dataset,
    optimization: Optimization,
    folder: str | Path,
    name: str,
    seed: int,
    accelerator: str = "auto",
    workers: int = 0,
) -> pd.DataFrame:
    """Train the model in place and return its history, a row per epoch with columns `{train,val}_{loss,term}`.

    If several processes share a batch, its loss is the mean of the parts' losses, batch normalisation sees parts, and
    the loss must depend on every weight that is trained.

    Writes `folder/<name>.csv` and a checkpoint per epoch, `folder/checkpoints/<name>-<key>.ckpt`. A checkpoint of the
    same training (see `training_key`) is resumed; the caller discards it once the result is saved.
    """
    folder = Path(folder)
    key = training_key(model, loss, train, {"optimization": asdict(optimization), "weights": weights, "seed": seed})
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    shared = {"dirpath": folder / "checkpoints", "save_on_train_epoch_end": True, "enable_version_counter": False}
    last = ModelCheckpoint(filename=f"{name}-{key}", **shared)
    best = ModelCheckpoint(filename=f"{name}-{key}-best", monitor="val_loss", save_weights_only=True, **shared)
    history = History(folder / f"{name}.csv", name)
    processes = optimization.processes if can_fork() else 1
    lightning.seed_everything(seed, verbose=False)
    model.train()  # Lightning leaves a model that was in evaluation mode there, with its batch norms fixed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*num_workers.*|.*LeafSpec.*|.*checkpoint directory.*")
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=processes,
            strategy="ddp_fork" if processes > 1 else "auto",
            use_distributed_sampler=False,
            max_epochs=optimization.epochs,
            deterministic="warn",  # CUDA has no deterministic backward pass of grid_sample
            gradient_clip_val=optimization.gradient_clip,
            callbacks=[history, last, best],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        stage = Stage(model, loss, weights, optimization, seed)
        path = folder / "checkpoints" / f"{name}-{key}.ckpt"
        resumed = path if path.exists() else None
        epoch = torch.load(path, map_location="cpu", weights_only=True)["epoch"] + 1 if resumed else 0
        data = loaders(train, val, optimization.batch_size, seed, workers, epoch, processes)
        trainer.fit(stage, *data, ckpt_path=resumed, weights_only=True)
    if optimization.keep == "best":
        kept = folder / "checkpoints" / f"{name}-{key}-best.ckpt"
        weights_of = torch.load(kept, map_location=stage.device, weights_only=True)["state_dict"]
        stage.load_state_dict(weights_of)
    model.eval()
    return pd.read_csv(history.path)
