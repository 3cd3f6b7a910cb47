"""Measures how many instances a second the laboratory draws, plays under a strategy or under all, and judges exactly.

    python benchmarks/simulate_speed.py --budgets 16,64 --instances 500 --jobs 1,2

The rates count processor time of one process. The rates "by the clock" are of all strategies with --jobs processes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rollwise.cli.options import whole_numbers
from rollwise.simulation.branching import Branching
from rollwise.simulation.oneshot import OneShot
from rollwise.simulation.play import Laboratory
from rollwise.simulation.study import Study, read_contenders, sweep

STRATEGIES = ("temperature", "rebase", "dora", "optimal", "optimal_directions")
WORLDS: dict[str, Laboratory] = {
    "one shot, one chance a direction": OneShot(),
    "one shot, chances half shared": OneShot(correlation=0.5),
    "a tree of four steps": Branching(),
}


def rate(
    world: Laboratory,
    names: Sequence[str],
    budget: int,
    instances: int,
    jobs: int = 1,
    now: Callable[[], float] = time.process_time,
) -> float:
    """Returns instances a second, each played under all of the named strategies."""
    study = Study(sweep(world, None, [], [budget]), read_contenders(",".join(names)), instances)
    started = now()
    study.run(jobs=jobs)
    return instances / (now() - started)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="16,64")
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--jobs", default="1", help="numbers of processes, for the figures by the clock")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args(arguments)
    figures: dict[str, dict[str, float]] = {}
    for name, world in WORLDS.items():
        for budget in whole_numbers(given.budgets, "--budgets"):
            row = {strategy: rate(world, [strategy], budget, given.instances) for strategy in STRATEGIES}
            row["all"] = rate(world, STRATEGIES, budget, given.instances)
            for jobs in whole_numbers(given.jobs, "--jobs"):
                row[f"all by the clock, jobs {jobs}"] = rate(
                    world, STRATEGIES, budget, given.instances, jobs, time.perf_counter
                )
            figures[f"{name}, N = {budget}"] = {contender: round(speed) for contender, speed in row.items()}
            print(
                f"{name}, N = {budget}: " + ", ".join(f"{contender} {speed:,.0f}" for contender, speed in row.items())
            )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
