"""Run functions in processes of their own.

libsumo holds one simulation per process, and SUMO ends the whole process on some errors.

All children are forked by the thread that waits for them. A child forked while another thread writes to a stream
inherits the stream's lock, held by a thread that the child does not have, and waits for it at its end for ever.
"""

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any


def isolated(function: Callable[..., Any], *arguments: object) -> Any:
    """Result of `function(*arguments)` computed in a forked child.

    Returns a sentence if SUMO ended the child; raises what `function` raised, and ChildProcessError if someone killed
    the child. An interrupt from the keyboard is left to the parent.
    """
    [(_, result)] = isolated_each(function, [arguments], 1)
    return result


def isolated_each(function: Callable[..., Any], calls: Sequence[tuple], workers: int) -> Iterator[tuple[int, Any]]:
    """(index, result) of `function(*calls[index])` as they end, each as `isolated` returns or raises it.

    At most `workers` children run at a time. An error, or an end before the last result, ends those at work.
    """
    waiting, running = iter(enumerate(calls)), {}
    try:
        while True:
            while len(running) < workers and (call := next(waiting, None)) is not None:
                receiver, child = _started(function, call[1])
                running[receiver] = call[0], child
            if not running:
                return
            for receiver in wait(list(running)):
                index, child = running[receiver]
                result = _received(receiver, child)
                del running[receiver]
                yield index, result
    finally:
        for receiver, (_, child) in running.items():
            receiver.close()
            child.terminate()
            child.join()


def _started(function: Callable[..., Any], arguments: tuple) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_result, args=(sender, function, arguments))
    child.start()
    sender.close()  # before the next child is forked: an end of the pipe in it would hide that this one has ended
    return receiver, child


def _received(receiver: Connection, child: BaseProcess) -> Any:
    try:
        succeeded, result = pickle.loads(receiver.recv_bytes())
    except (EOFError, OSError):  # before it has sent anything, or all of it
        child.join()
        if -child.exitcode in (signal.SIGKILL, signal.SIGTERM):  # also for want of memory
            raise ChildProcessError(f"a child process was killed by signal {-child.exitcode}") from None
        return f"SUMO ended the process (exit code {child.exitcode})"
    finally:
        receiver.close()
    child.join()
    if not succeeded:
        raise result
    return result


def _send_result(sender: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        message = pickle.dumps((True, function(*arguments)))
    except Exception as error:
        message = pickle.dumps((False, error))
    with sender, contextlib.suppress(BrokenPipeError):  # the parent may have been stopped
        sender.send_bytes(message)
