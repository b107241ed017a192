"""Progress bars that reach the terminal, also from inside a notebook that Papermill runs.

An executed notebook is a result that must not depend on the clock, so under Papermill the bar is
written past the kernel's captured streams to the terminal that started the run.

One thread draws bars, in forked processes too. tqdm's own lock is shared with them, so that one that is killed while
it draws would stop all others, and its monitoring thread may hold the lock at a fork: both are left out.
"""

import os
import sys
import threading
from collections.abc import Iterable
from typing import TextIO

from tqdm import tqdm

UNDER_PAPERMILL = "IRLVLA_UNDER_PAPERMILL"  # set by papermill_engine.StageEngine

tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0


def terminal() -> TextIO:
    """The stream for progress: standard error, or the terminal behind it when Papermill runs the notebook."""
    behind_kernel = getattr(sys.stderr, "_original_stdstream_copy", None)  # ipykernel keeps the real descriptor there
    if os.environ.get(UNDER_PAPERMILL) and behind_kernel is not None:
        return os.fdopen(os.dup(behind_kernel), "w")
    return sys.stderr


def progress(iterable: Iterable | None, desc: str, total: int | None = None, shown: bool = True) -> tqdm:
    """`iterable` with a plain bar that shows rate and time left; `.set_postfix(loss=...)` adds figures."""
    look = {"file": terminal(), "mininterval": 1.0, "dynamic_ncols": True, "disable": not shown}
    return tqdm(iterable, desc=desc, total=total, **look)
