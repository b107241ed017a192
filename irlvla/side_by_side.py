"""Independent pieces of work at the same time, each in a forked process with one thread.

Networks of the mini size hardly get faster with a second thread, two of them side by side nearly twice as fast
(docs/costs.md). A forked process has all that the notebook has, without a copy; only results travel back.
"""

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

Name, Result = TypeVar("Name", bound=Hashable), TypeVar("Result")

_jobs: dict[Hashable, Callable] = {}  # inherited by the forked processes: functions of a notebook cannot be sent


def can_fork() -> bool:
    """Whether work is split among forked processes: not with a GPU, which they cannot share, nor off Linux."""
    return sys.platform == "linux" and not torch.cuda.is_available()


def side_by_side(jobs: Mapping[Name, Callable[[], Result]]) -> dict[Name, Result]:
    """What functions without arguments return, by name. They run in processes of their own, as many as there are cores.

    What they change in memory is lost with their process, so a training returns its network, too. With one core, or
    where nothing is forked, they run here, one after the other. Raises what a function raises.
    """
    cores = min(joblib.cpu_count(), len(jobs))
    if cores < 2 or not can_fork():
        return {name: job() for name, job in jobs.items()}
    _jobs.update(jobs)
    try:
        # OpenMP's threads do not survive a fork, so there is one thread only.
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(cores, fork, torch.set_num_threads, (1,)) as pool:
            return {name: pickle.loads(result) for name, result in zip(jobs, pool.map(_run, jobs), strict=True)}
    finally:
        _jobs.clear()


def in_parts(work: Callable[[Dataset], Mapping[str, NDArray]], dataset: Dataset) -> dict[str, NDArray]:
    """What `work` makes of a data set, arrays with a row for each sample: as many parts of it side by side as cores."""
    parts = np.array_split(np.arange(len(dataset)), min(joblib.cpu_count(), len(dataset)))
    done = side_by_side({i: partial(work, Subset(dataset, rows.tolist())) for i, rows in enumerate(parts)})
    return {name: np.concatenate([part[name] for part in done.values()]) for name in done[0]}


def _run(name: Hashable) -> bytes:
    return pickle.dumps(_jobs[name]())  # bytes: tensors would be sent as shared memory of a process that ends
