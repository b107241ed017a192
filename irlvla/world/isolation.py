"""Run a function in a process of its own.

libsumo holds one simulation per process, and SUMO ends the whole process on some errors.
"""

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any


def isolated(function: Callable[..., Any], *arguments: object) -> Any:
    """Result of `function(*arguments)` computed in a forked child.

    Returns a sentence if SUMO ended the child; raises what `function` raised, and ChildProcessError if someone killed
    the child. An interrupt from the keyboard is left to the parent: the child finishes.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_result, args=(sender, function, arguments))
    child.start()
    sender.close()
    try:
        succeeded, result = receiver.recv()
    except EOFError:
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


def _send_result(sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sender.send((True, function(*arguments)))
    except Exception as error:
        sender.send((False, error))
    finally:
        sender.close()
