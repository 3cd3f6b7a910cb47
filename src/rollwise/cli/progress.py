"""Progress on standard error, the same for every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int, str], None]]:
    """Progress bars on standard error, one for each name that is reported. They, and their thread, begin with the first
    report, so that processes which are forked before it are copies of one thread.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
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
