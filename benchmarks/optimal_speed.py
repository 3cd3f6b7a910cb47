"""Milliseconds that the exact optimum takes for many paths and rollouts, and for directions that share in part.

    python benchmarks/optimal_speed.py --candidates 4096 --width 1000000

`divisor` finds the counts of independent paths by bisection, `heap` hands the same rollouts out one by one (of fewer
rollouts, since it takes a step for each), `shared` does so for directions of four whose members correlate.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from rollwise.beliefs import shared_log_failures
from rollwise.core import IntArray
from rollwise.counts import greedy_counts, optimal_counts

GOAL = {"divisor": 50.0, "divisor, all alike": 50.0}
MEMBERS = 4


def single_log_failures(mean: float, concentration: float) -> Iterator[float]:
    """The log failure of 0, 1, 2, … rollouts of one path."""
    value = 0.0
    for had in count():
        yield value
        value += float(np.log1p(-mean / (1 + had / concentration)))


def contenders(given: argparse.Namespace) -> dict[str, tuple[int, Callable[[], IntArray]]]:
    """Name → how many rollouts it hands out, and the call that does."""
    generator = np.random.default_rng(0)
    mean = generator.beta(1, 2, given.candidates)
    concentration = 10 ** generator.uniform(-1, 2, given.candidates)
    alike = np.full(given.candidates, 0.3), np.full(given.candidates, 2.0)
    few = given.width // given.fewer

    def heap() -> IntArray:
        told = zip(mean.tolist(), concentration.tolist(), strict=True)
        return greedy_counts([single_log_failures(m, k) for m, k in told], few)

    def shared() -> IntArray:
        told = zip(mean[::MEMBERS].tolist(), concentration[::MEMBERS].tolist(), strict=True)
        return greedy_counts([shared_log_failures(m, k, 0.5, [0] * MEMBERS) for m, k in told], few)

    return {
        "divisor": (given.width, lambda: optimal_counts(mean, concentration, given.width)),
        "divisor, all alike": (given.width, lambda: optimal_counts(*alike, given.width)),
        "heap": (few, heap),
        "shared": (few, shared),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Median and least milliseconds of each contender; they take turns."""
    runs = contenders(given)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.repeats + 1):
        for name, (width, run) in runs.items():
            started = time.perf_counter()
            assert int(run().sum()) == width
            taken[name].append(1000 * (time.perf_counter() - started))
    return {
        "setting": {name: getattr(given, name) for name in ("candidates", "width", "fewer", "repeats")}
        | {"python": platform.python_version(), "numpy": np.__version__},
        "milliseconds": {
            name: {
                "rollouts": runs[name][0],
                "median": round(statistics.median(each[1:]), 3),
                "least": round(min(each[1:]), 3),
            }
            for name, each in taken.items()
        },
    }


def table(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [f"{name}: {value}" for name, value in found["setting"].items()]
    lines += ["", f"{'contender':20}{'rollouts':>10}{'median ms':>11}{'least ms':>10}  goal"]
    for name, row in found["milliseconds"].items():
        goal = GOAL.get(name)
        word = "" if goal is None else f"under {goal:g}: {'reached' if row['median'] < goal else 'missed'}"
        lines.append(f"{name:20}{row['rollouts']:>10}{row['median']:>11.2f}{row['least']:>10.2f}  {word}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=4096)
    parser.add_argument("--width", type=int, default=1_000_000)
    parser.add_argument("--fewer", type=int, default=100, help="by what the width is divided for the heaps")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args(arguments)
    found = measure(given)
    print(table(found))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
