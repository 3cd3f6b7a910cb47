"""Shows progress on standard error, in the same way for every command: bars on a terminal, and lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Show = Callable[[str, int, int, str], None]
"""(name, how many are done, of how many, note)."""
LINE_EVERY = 30.0
"""Seconds between two lines."""


@contextmanager
def progress_bars(clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    """A context whose value shows progress on standard error. `clock` gives the time in seconds."""
    console = Console(stderr=True)
    with _bars(console) if console.is_terminal else _lines(console, clock) as show:
        yield show


@contextmanager
def _bars(console: Console) -> Iterator[Show]:
    """One bar for each reported name.

    The bars and their thread start with the first report, so that a process forked before it has a single thread.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=console)
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int, note: str) -> None:
        bars.start()
        if name not in tasks:
            tasks[name] = bars.add_task(name, note="")
        bars.update(tasks[name], completed=done, total=total, note=note)

    try:
        yield show
    finally:
        bars.stop()


@contextmanager
def _lines(console: Console, clock: Callable[[], float]) -> Iterator[Show]:
    """A line every `LINE_EVERY` seconds, and a last line for each name."""
    starts: dict[str, tuple[float, int]] = {}  # name → the time and the number done at the first report
    pending: dict[str, str] = {}  # name → its latest line, if that was not printed
    last_printed = clock()

    def show(name: str, done: int, total: int, note: str) -> None:
        nonlocal last_printed
        now = clock()
        since, first = starts.setdefault(name, (now, done))
        left = (now - since) * (total - done) / (done - first) if done > first else 0.0
        remaining = f"{timedelta(seconds=round(left))} left" if left >= 1 else ""
        pending[name] = ", ".join(filter(None, [f"{name}: {done} of {total}", remaining, note]))
        if now - last_printed >= LINE_EVERY:
            last_printed = now
            console.print(pending.pop(name), markup=False, highlight=False, soft_wrap=True)

    try:
        yield show
    finally:
        for line in pending.values():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
