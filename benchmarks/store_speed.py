"""Writes results into a store from several processes, checks that none is lost or doubled, and times its readers.

python benchmarks/store_speed.py postgresql+psycopg://user@host/name --rows 100000 --writers 8

The store may also be the path of an SQLite file. The bench is called "store speed" and must not be there yet.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Store
from rollwise.bench.stored_columns import stored_columns
from rollwise.bench.summary import summarise_columns
from rollwise.core import Problem, Usage

STRATEGIES, BUDGETS, SEEDS = ("temperature", "rebase", "dora", "dvts"), (4, 16, 64, 256, 1024), range(10)
CELLS: dict[Cell, dict[str, Any]] = {Cell(s, b, seed): {} for s in STRATEGIES for b in BUDGETS for seed in SEEDS}
USAGE = {"policy": Usage(5000, 900, 20000, 64), "reward": Usage(0, 5000, 20000, 64)}


def outcome_of(cell: Cell, problem: str) -> Outcome:
    """A result whose figures depend on its cell and problem only."""
    right = hash((cell.budget, cell.seed, int(problem))) % 4
    return Outcome(right > 1, right > 0, right, cell.budget, answer=problem, rounds=5, usage=USAGE)


def write(place: str, experiment: int, problems: int, writer: int, writers: int) -> None:
    store = Store(place)
    for number in range(problems):
        for turn, cell in enumerate(CELLS):
            if (number * len(CELLS) + turn) % writers == writer:
                store.record(experiment, cell, str(number), outcome_of(cell, str(number)))
    store.close()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("store")
    given.add_argument("--rows", type=int, default=100_000)
    given.add_argument("--writers", type=int, default=8)
    given.add_argument("--json", type=Path, help="also write the figures to this file")
    options = given.parse_args()
    store = Store(options.store)
    problems = [Problem(str(number), "", "24", "stories", number % 5) for number in range(options.rows // len(CELLS))]
    begun = store.begin({}, "", "", CELLS, problems, name="store speed")
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write, args=(options.store, begun.id, len(problems), number, options.writers))
        for number in range(options.writers)
    ]

    def write_all() -> None:
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        assert not any(each.exitcode for each in writers)

    seconds, _ = timed(write_all)
    counting, (held, _) = timed(lambda: store.counts(begun.id))
    reading, results = timed(lambda: store.results(begun.id))
    summarising, _ = timed(lambda: summarise_columns(stored_columns(store, begun.id), "rebase"))
    assert held == len(problems) * len(CELLS), f"{held} rows are there"
    assert all(each.outcome.usage == USAGE and each.outcome.answer == each.problem for each in results)
    figures = {
        "rows": held,
        "writers": options.writers,
        "rows written a second": round(held / seconds),
        "seconds to count": round(counting, 3),
        "seconds to read all as objects": round(reading, 2),
        "seconds to read and summarise with all intervals": round(summarising, 2),
        "load": [round(each, 1) for each in os.getloadavg()],
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
