"""Lets contenders take turns; for the benchmarks of allocations, also measures their times and prints a table."""

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
    """The results of each contender's turns, after a first turn that does not count."""
    for run in runs.values():
        run()
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            results[name].append(run())
    return results


def timed(run: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """A function that runs `run` and returns milliseconds: wall-clock time, and the process's processor time."""

    def times() -> tuple[float, float]:
        started, worked = time.perf_counter(), time.process_time()
        run()
        return 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - worked)

    return times


def measure(
    runs: Mapping[str, Callable[[], object]], given: argparse.Namespace, settings: Sequence[str]
) -> dict[str, Any]:
    """Median and least milliseconds of each contender, and the median of the process's processor time, without the
    first turn; also the named settings and the versions.
    """
    rows = {}
    for name, times in in_turns({name: timed(run) for name, run in runs.items()}, given.repeats).items():
        clock, processor = zip(*times, strict=True)
        row = {"median": statistics.median(clock), "least": min(clock), "processor": statistics.median(processor)}
        rows[name] = {column: round(value, 3) for column, value in row.items()}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return {"setting": {name: getattr(given, name) for name in settings} | versions, "milliseconds": rows}


def table(figures: Mapping[str, Any], goals: Mapping[str, float]) -> str:
    """The measurements as a table, with the contenders' goals and whether the median is below them."""
    lines = [f"{name}: {value}" for name, value in figures["setting"].items()]
    lines += ["", f"{'contender':20}{'median ms':>11}{'least ms':>10}{'processor':>11}  goal"]
    for name, row in figures["milliseconds"].items():
        goal = goals.get(name)
        verdict = "" if goal is None else f"under {goal:g}: {'reached' if row['median'] < goal else 'missed'}"
        times = f"{row['median']:>11.2f}{row['least']:>10.2f}{row['processor']:>11.2f}"
        lines.append(f"{name:20}{times}  {verdict}".rstrip())
    return "\n".join(lines)


def parser(description: str | None, repeats: int, numbers: Mapping[str, int]) -> argparse.ArgumentParser:
    """The command line of such a benchmark: its whole numbers (name → default), --repeats and --json."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (numbers | {"repeats": repeats}).items():
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    return arguments


def report(figures: Mapping[str, Any], goals: Mapping[str, float], file: Path | None) -> None:
    """Print the table, and write the figures to a file, if one is given."""
    print(table(figures, goals))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
