"""Contenders that take turns; and, for the benchmarks of allocations, how long they took and the table of it."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy

Result = TypeVar("Result")


def in_turns(runs: Mapping[str, Callable[[], Result]], repeats: int) -> dict[str, list[Result]]:
    """What each contender gives in each of the turns, after a first one that does not count."""
    for run in runs.values():
        run()
    given: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            given[name].append(run())
    return given


def timed(run: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """The run, telling its milliseconds by the clock and of the process's processor time."""

    def times() -> tuple[float, float]:
        started, worked = time.perf_counter(), time.process_time()
        run()
        return 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - worked)

    return times


def measure(
    runs: Mapping[str, Callable[[], object]], given: argparse.Namespace, settings: Sequence[str]
) -> dict[str, Any]:
    """Median and least milliseconds of each contender, and the median of the process's processor time, the first turn
    left out; with the named settings and the versions.
    """
    rows = {}
    for name, each in in_turns({name: timed(run) for name, run in runs.items()}, given.repeats).items():
        clock, processor = zip(*each, strict=True)
        found = statistics.median(clock), min(clock), statistics.median(processor)
        rows[name] = dict(zip(("median", "least", "processor"), (round(one, 3) for one in found), strict=True))
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return {"setting": {name: getattr(given, name) for name in settings} | versions, "milliseconds": rows}


def table(found: Mapping[str, Any], goals: Mapping[str, float]) -> str:
    """What was measured, for people, and whether the median is below its goal."""
    lines = [f"{name}: {value}" for name, value in found["setting"].items()]
    lines += ["", f"{'contender':20}{'median ms':>11}{'least ms':>10}{'processor':>11}  goal"]
    for name, row in found["milliseconds"].items():
        goal = goals.get(name)
        word = "" if goal is None else f"under {goal:g}: {'reached' if row['median'] < goal else 'missed'}"
        lines.append(f"{name:20}{row['median']:>11.2f}{row['least']:>10.2f}{row['processor']:>11.2f}  {word}".rstrip())
    return "\n".join(lines)


def parser(description: str | None, repeats: int, numbers: Mapping[str, int]) -> argparse.ArgumentParser:
    """The command line of such a benchmark: its whole numbers with their defaults, --repeats and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (numbers | {"repeats": repeats}).items():
        made.add_argument(f"--{name}", type=int, default=default)
    made.add_argument("--json", type=Path, help="write the figures to this file too")
    return made


def tell(found: Mapping[str, Any], goals: Mapping[str, float], file: Path | None) -> None:
    """Print the table, and write the figures to a file where one is named."""
    print(table(found, goals))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
