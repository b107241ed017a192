"""Claims about progress bars beside forked processes."""

import multiprocessing
import os
import signal
import threading

from tqdm import tqdm

from irlvla.progress import progress


def test_a_process_killed_while_it_draws_stops_no_other_from_drawing():
    def die_drawing() -> None:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die_drawing)
    process.start()
    process.join()
    assert tqdm.get_lock().acquire(timeout=5)
    tqdm.get_lock().release()


def test_a_bar_starts_no_thread_that_could_hold_the_lock_at_a_fork():
    before = set(threading.enumerate())
    with progress(range(3), "counting") as bar:
        assert list(bar) == [0, 1, 2] and set(threading.enumerate()) <= before
