"""Milliseconds that one allocation takes, for every strategy: from embeddings and rewards to counts.

    python benchmarks/allocation_speed.py --candidates 256 --dimensions 1024

For `dora` that is cosine, kernel, the order by average linkage, and rounding. Processor time is that of the whole
process; set OPENBLAS_NUM_THREADS=1 where other work holds the cores, since a second thread would wait for one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from rollwise.allocation import STRATEGIES
from rollwise.core import Belief, Candidates, Evidence, FloatArray
from rollwise.directions import from_evidence

GOAL = {"dora": 5.0}


def embeddings_of(generator: np.random.Generator, count: int, dimensions: int, groups: int) -> FloatArray:
    """Rows (count, dimensions) around so many centres, as solutions of a few directions embed."""
    centres = generator.normal(size=(groups, dimensions))
    return centres[generator.integers(groups, size=count)] + 0.3 * generator.normal(size=(count, dimensions))


def contender(name: str, given: argparse.Namespace) -> Callable[[], None]:
    """One allocation by a strategy, from evidence as a direction finder gives it."""
    generator = np.random.default_rng(0)
    rows = embeddings_of(generator, given.candidates, given.dimensions, given.groups)
    rewards = generator.uniform(size=given.candidates)
    evidence = [Evidence(embedding=row) for row in rows]
    strategy = STRATEGIES[name]
    allocate = strategy.bind()

    def run() -> None:
        candidates = Candidates(
            paths=tuple((index,) for index in range(given.candidates)),
            rewards=rewards,
            directions=from_evidence(evidence) if "directions" in strategy.needs else None,
            lineage=np.arange(given.candidates),
            question="benchmark",
            belief=Belief(rewards, np.full(given.candidates, 4.0), correlation=0.5),
        )
        allocate(candidates, given.candidates)

    return run


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Median and least milliseconds by strategy, and the median of processor time; strategies take turns."""
    runs = {name: contender(name, given) for name in STRATEGIES}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.repeats + 1):
        for name, run in runs.items():
            started, worked = time.perf_counter(), time.process_time()
            run()
            taken[name].append(1000 * (time.perf_counter() - started))
            busy[name].append(1000 * (time.process_time() - worked))
    return {
        "setting": {name: getattr(given, name) for name in ("candidates", "dimensions", "groups", "repeats")}
        | {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "milliseconds": {
            name: {
                "median": round(statistics.median(each[1:]), 3),
                "least": round(min(each[1:]), 3),
                "processor": round(statistics.median(busy[name][1:]), 3),
            }
            for name, each in taken.items()
        },
    }


def table(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [f"{name}: {value}" for name, value in found["setting"].items()]
    lines += ["", f"{'strategy':16}{'median ms':>10}{'least ms':>10}{'processor':>11}  goal"]
    for name, row in found["milliseconds"].items():
        goal = GOAL.get(name)
        word = "" if goal is None else f"under {goal:g}: {'reached' if row['median'] < goal else 'missed'}"
        lines.append(f"{name:16}{row['median']:>10.2f}{row['least']:>10.2f}{row['processor']:>11.2f}  {word}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=256)
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args(arguments)
    found = measure(given)
    print(table(found))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
