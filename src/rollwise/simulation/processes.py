"""Calls one function on many arguments, in several processes; the results and their order never change."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from rollwise.errors import InputError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_CAN_FORK = "fork" in multiprocessing.get_all_start_methods()


def most_jobs() -> int:
    """Returns how many processes can run at once; 1 if that is unknown or the system cannot fork processes."""
    return len(os.sched_getaffinity(0)) if _CAN_FORK and hasattr(os, "sched_getaffinity") else 1


@contextmanager
def spread(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], jobs: int
) -> Iterator[Iterator[Result]]:
    """Yields an iterator over the function's results, in the order of the arguments.

    One job runs in this process; up to `jobs` > 1 run in processes forked from it, all at once. They are forked because
    a function that was read from a user's file cannot be sent to another process. An interrupt reaches this process
    alone, which then ends the others. Raises InputError if the system cannot run so many processes, and if a process
    ends early.
    """
    if jobs < 1:
        raise InputError(f"at least 1 process has to work, not {jobs}")
    if jobs > 1 and not _CAN_FORK:
        raise InputError("this system cannot fork processes: set jobs to 1")
    jobs = min(jobs, len(arguments))
    if jobs < 2:
        yield map(function, arguments)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin, (function,))
    try:
        yield pool.map(_call, arguments)
    except BrokenProcessPool as error:
        raise InputError(
            "a process is gone: memory ran out, or a function of yours ended it; run 1 process to see more"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_function: Callable[[Any], Any]  # the function that a forked process calls


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(argument: Any) -> Any:
    return _function(argument)
