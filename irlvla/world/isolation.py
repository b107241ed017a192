"""Run a function in a process of its own.

libsumo holds one simulation per process, and SUMO ends the whole process on some errors.
"""

import multiprocessing
from collections.abc import Callable
from typing import Any


def isolated(function: Callable[..., Any], *arguments: object) -> Any:
    """Result of `function(*arguments)` computed in a forked child.

    Returns a sentence if the child died; raises what `function` raised.
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
        return f"SUMO ended the process (exit code {child.exitcode})"
    finally:
        receiver.close()
    child.join()
    if not succeeded:
        raise result
    return result


def _send_result(sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    try:
        sender.send((True, function(*arguments)))
    except Exception as error:
        sender.send((False, error))
    finally:
        sender.close()
