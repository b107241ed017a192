"""Where the time of stage 1 goes: loading a batch against each part of a step, in samples a second.

    python -m irlvla.training_bench runs [--params params.yaml]

Data sets are those of a finished run; weights are random. Images are loaded by as many processes as the parameter file
says; with 0 the loader shares the cores with the step. At last the planner alone, on stored tokens: one training with
all threads against two side by side with one thread each.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import yaml
from torch.utils.data import default_collate

from irlvla import losses
from irlvla.ablation import TRAINED
from irlvla.imitation import imitation_data, load_split, planner_loss
from irlvla.model_size import arguments
from irlvla.models.policy import Policy
from irlvla.params import Data, Imitation
from irlvla.prerequisites import PIPELINE, require
from irlvla.side_by_side import side_by_side
from irlvla.training import loaders

STEPS, PLANNER_STEPS = 10, 30


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def step(policy: Policy, optimizer: torch.optim.Optimizer, batch: dict, weights: dict, watch: Stopwatch) -> None:
    """One optimisation step of stage 1, its parts timed."""
    with watch("encode"):
        tokens = policy.encode(batch)
    with watch("plans"):
        plans, logits = policy.predict(tokens)
    with watch("losses"):
        human, valid = batch["plan"].repeat(2, 1, 1), batch["has_plan"].repeat(2)
        terms = losses.trajectory(plans, logits, policy.anchors, human, valid)
        total = losses.weighted(terms | losses.perception(policy.read(tokens), batch), weights)
    with watch("backward"):
        optimizer.zero_grad()
        total.backward()
    with watch("optimizer"):
        optimizer.step()


def planner_rate(policy: Policy, batch: dict, imitation: Imitation) -> float:
    """Optimisation steps a second of the planner on a batch of stored tokens, with this process's threads."""
    optimizer = torch.optim.AdamW(policy.planner.parameters(), imitation.planner_learning_rate, fused=True)
    weights = {name: imitation.weights[name] for name in TRAINED}
    for step in range(PLANNER_STEPS + 1):
        if step == 1:  # the first one warms up
            start = time.perf_counter()
        optimizer.zero_grad()
        losses.weighted(planner_loss(policy, batch), weights).backward()
        optimizer.step()
    return PLANNER_STEPS / (time.perf_counter() - start)


def main(arguments_given: list[str] | None = None) -> None:
    """Print seconds per sample and shares."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.training_bench", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    options = parser.parse_args(arguments_given)
    named = yaml.safe_load(options.params.read_text())
    data, imitation = Data(**named["data"]), Imitation(**named["imitation"])
    require(PIPELINE, *(options.runs / name for name in ("data", "semantic_reasoning", "imitation")))
    dataset = load_split(options.runs, "train", tuple(imitation.image_size))
    policy = Policy(**arguments(Policy, imitation, data), meta_channels=dataset.columns["meta"].shape[-1])
    policy.set_anchors(dataset.columns["plan"][dataset.columns["has_plan"]], imitation.seed)
    optimizer = torch.optim.AdamW(policy.parameters(), imitation.learning_rate, fused=True)
    batches = iter(loaders(dataset, dataset, imitation.batch_size, imitation.seed, imitation.workers)[0])
    step(policy, optimizer, next(batches), imitation.weights, Stopwatch())  # to warm up
    watch = Stopwatch()
    for _ in range(STEPS):
        with watch("wait for data"):
            batch = next(batches)
        step(policy, optimizer, batch, imitation.weights, watch)
    total, samples = sum(watch.seconds.values()), STEPS * imitation.batch_size
    print(f"{samples / total:.1f} samples a second, batches of {imitation.batch_size}, {imitation.workers} loaders")
    for name, seconds in watch.seconds.items():
        print(f"{name:14s} {1e3 * seconds / samples:8.2f} ms a sample {100 * seconds / total:6.1f} %")
    stored = imitation_data(options.runs, "val")
    batch = default_collate([stored[row] for row in range(min(imitation.planner_batch_size, len(stored)))])
    job = partial(planner_rate, policy, batch, imitation)
    print(f"planner, {torch.get_num_threads()} thread(s): {job():.1f} steps a second")
    print(f"planners, two side by side: {sum(side_by_side({'first': job, 'second': job}).values()):.1f} steps a second")


if __name__ == "__main__":
    main()
