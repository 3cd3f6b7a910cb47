"""One function over many arguments, in as many processes as one likes: the results, and their order, are the same."""

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

Given = TypeVar("Given")
Result = TypeVar("Result")

_CAN_FORK = "fork" in multiprocessing.get_all_start_methods()


def most_jobs() -> int:
    """How many processes need not wait for each other; 1 where that is unknown or processes can not be forked."""
    return len(os.sched_getaffinity(0)) if _CAN_FORK and hasattr(os, "sched_getaffinity") else 1


@contextmanager
def spread(function: Callable[[Given], Result], arguments: Sequence[Given], jobs: int) -> Iterator[Iterator[Result]]:
    """The function's results in the order of its arguments: by this process, or by up to `jobs` that are forked from
    it.

    Forked, since a function that holds what was read from a file could not be sent to any other process. They are
    forked at once, and an interrupt reaches this process alone, which ends them. Raises InputError where there can not
    be so many processes, and where one of them is lost.
    """
    if jobs < 1:
        raise InputError(f"at least 1 process has to work, not {jobs}")
    if jobs > 1 and not _CAN_FORK:
        raise InputError("several processes take a system that forks them; leave it at 1")
    jobs = min(jobs, len(arguments))
    if jobs < 2:
        yield map(function, arguments)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin, (function,))
    try:
        yield pool.map(_call, arguments)
    except BrokenProcessPool as error:
        raise InputError(
            "a process is gone: memory ran out, or a function of yours ended it; 1 process may say more"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_function: Callable[[Any], Any]  # what a forked process is for


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(argument: Any) -> Any:
    return _function(argument)
