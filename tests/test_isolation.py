"""Claims about functions that run in processes of their own."""

import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from irlvla.world.isolation import isolated, isolated_each


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_a_child_that_is_killed_is_not_a_rejected_draw():
    with pytest.raises(ChildProcessError, match="killed by signal 9"):
        isolated(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert isolated(lambda: os._exit(1)) == "SUMO ended the process (exit code 1)"


def test_a_result_that_cannot_be_sent_is_an_error():
    with pytest.raises(Exception, match="pickle"):
        isolated(lambda: lambda: None)


def test_results_come_as_they_end_with_the_place_of_their_call(tmp_path):
    first = tmp_path / "first"
    results = isolated_each(wait_for, [(first,), (tmp_path,)], 2)  # the folder is there already
    assert next(results) == (1, None)
    first.touch()
    assert list(results) == [(0, None)]


def test_no_more_children_run_than_workers(tmp_path):
    log = tmp_path / "log"

    def call(name: str) -> None:
        for word in ("begins", "ends"):
            with open(log, "a") as file:
                file.write(f"{name} {word}\n")

    assert [index for index, _ in isolated_each(call, [("a",), ("b",), ("c",)], 1)] == [0, 1, 2]
    assert log.read_text().splitlines() == [f"{name} {word}" for name in "abc" for word in ("begins", "ends")]


@pytest.mark.parametrize("number", [0, 1])
def test_an_error_ends_the_other_children(number, tmp_path):
    pid = tmp_path / "pid"

    def write_and_wait() -> None:
        (tmp_path / "partial").write_text(str(os.getpid()))
        os.replace(tmp_path / "partial", pid)
        wait_for(tmp_path / "never")

    def fail() -> None:
        wait_for(pid)
        raise ValueError("broken")

    calls = list(itertools.permutations([(fail,), (write_and_wait,)]))[number]
    with pytest.raises(ValueError, match="broken"):
        list(isolated_each(lambda function: function(), calls, 2))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
