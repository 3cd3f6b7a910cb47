"""Writes recorded searches into a store at given rates, and says how long each write took and whether it kept up.

rollwise bench --events --budgets 16 --limit 8 --out runs/recorded
python benchmarks/store_load.py runs/recorded postgresql+psycopg://user@host/name --rates 1,10,100 --seconds 10

The searches arrive at random times (Poisson) with the outcomes and events that the bench recorded, a cell for each
rate. A write that waits for a free writer counts the wait.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rollwise.bench.grid import Cell
from rollwise.bench.run import recorded
from rollwise.bench.store import Store
from rollwise.core import Problem


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("run", type=Path)
    given.add_argument("store")
    given.add_argument("--rates", default="1,10,100", help="searches a second")
    given.add_argument("--seconds", type=float, default=10.0)
    given.add_argument("--writers", type=int, default=4)
    options = given.parse_args()
    searches = [(result.outcome, events) for result, events in recorded(options.run)]
    sizes = [len(json.dumps(events)) for _, events in searches]
    print(f"{len(searches)} recorded searches, {np.mean(sizes) / 1000:.1f} kB of events each")
    store = Store(options.store)
    for rate in map(float, options.rates.split(",")):
        count = int(rate * options.seconds)
        problems = [Problem(str(number), "", "24", "stories", 1) for number in range(count)]
        cell = Cell(f"{rate}", 1, 0)
        begun = store.begin({}, "", "", {cell: {}}, problems)
        arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, count))
        started = time.perf_counter()

        def write(number: int, due: float, found: tuple, begun: int = begun.id, cell: Cell = cell) -> float:
            outcome, events = found
            store.record(begun, cell, str(number), outcome, events)
            return time.perf_counter() - due

        with ThreadPoolExecutor(options.writers) as pool:
            waiting = []
            for number, (arrival, found) in enumerate(zip(arrivals, itertools.cycle(searches), strict=False)):
                due = started + arrival
                time.sleep(max(0.0, due - time.perf_counter()))
                waiting.append(pool.submit(write, number, due, found))
            times = 1000 * np.array([each.result() for each in waiting])
        ended = time.perf_counter() - started
        held = store.counts(begun.id)[0]
        print(
            f"{rate:g} a second: {held} of {count} stored, {count / ended:.1f} a second; ms from arrival to stored: "
            f"median {np.median(times):.0f}, 99 % {np.quantile(times, 0.99):.0f}"
        )


if __name__ == "__main__":
    main()
