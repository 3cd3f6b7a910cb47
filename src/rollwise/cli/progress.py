"""Progress on standard error, the same for every command: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Show = Callable[[str, int, int, str], None]
LINE_EVERY = 30.0  # seconds


@contextmanager
def progress_bars(clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    """What shows progress on standard error, by name, how many are done, of how many, and a note."""
    console = Console(stderr=True)
    with _bars(console) if console.is_terminal else _lines(console, clock) as show:
        yield show


@contextmanager
def _bars(console: Console) -> Iterator[Show]:
    """A bar for each name that is reported. They, and their thread, begin with the first report, so that processes
    which are forked before it are copies of one thread.
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
    """A line every `LINE_EVERY` seconds, and a last one for each name."""
    begun: dict[str, tuple[float, int]] = {}
    unsaid: dict[str, str] = {}
    said = clock()

    def show(name: str, done: int, total: int, note: str) -> None:
        nonlocal said
        now = clock()
        since, first = begun.setdefault(name, (now, done))
        left = (now - since) * (total - done) / (done - first) if done > first else 0.0
        remaining = f"{timedelta(seconds=round(left))} left" if left >= 1 else ""
        unsaid[name] = ", ".join(filter(None, [f"{name}: {done} of {total}", remaining, note]))
        if now - said >= LINE_EVERY:
            said = now
            console.print(unsaid.pop(name), markup=False, highlight=False, soft_wrap=True)

    try:
        yield show
    finally:
        for line in unsaid.values():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
