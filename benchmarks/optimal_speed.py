"""Measures how many milliseconds the exact optimum takes, for many paths and rollouts.

    python benchmarks/optimal_speed.py --candidates 4096 --width 1000000

`divisor` finds the counts of independent paths by bisection. `heap` hands out the rollouts singly, so its width is
divided by --fewer. `shared` does the same for directions of four members whose chances correlate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import turns

from rollwise.allocation.exact_counts import greedy_counts, optimal_counts
from rollwise.allocation.failure import shared_log_failures
from rollwise.core import IntArray

GOAL = {"divisor": 50.0, "divisor, all alike": 50.0}
MEMBERS = 4


def single_log_failures(mean: float, concentration: float) -> Iterator[float]:
    """Yields the log failure of 0, 1, 2, … rollouts of a path."""
    value = 0.0
    for rollouts in count():
        yield value
        value += float(np.log1p(-mean / (1 + rollouts / concentration)))


def contenders(given: argparse.Namespace) -> dict[str, tuple[int, Callable[[], IntArray]]]:
    """Returns for each contender how many rollouts it hands out, and the call that hands them out."""
    generator = np.random.default_rng(0)
    mean = generator.beta(1, 2, given.candidates)
    concentration = 10 ** generator.uniform(-1, 2, given.candidates)
    alike = np.full(given.candidates, 0.3), np.full(given.candidates, 2.0)
    few = given.width // given.fewer

    def heap() -> IntArray:
        paths = zip(mean.tolist(), concentration.tolist(), strict=True)
        return greedy_counts([single_log_failures(m, k) for m, k in paths], few)

    def shared() -> IntArray:
        directions = zip(mean[::MEMBERS].tolist(), concentration[::MEMBERS].tolist(), strict=True)
        return greedy_counts([shared_log_failures(m, k, 0.5, [0] * MEMBERS) for m, k in directions], few)

    return {
        "divisor": (given.width, lambda: optimal_counts(mean, concentration, given.width)),
        "divisor, all alike": (given.width, lambda: optimal_counts(*alike, given.width)),
        "heap": (few, heap),
        "shared": (few, shared),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    numbers = {"candidates": 4096, "width": 1_000_000, "fewer": 100}
    given = turns.parser(__doc__, 9, numbers).parse_args(arguments)
    runs = contenders(given)
    times = turns.measure({name: run for name, (_, run) in runs.items()}, given, [*numbers, "repeats"])
    for name, (rollouts, run) in runs.items():
        assert int(run().sum()) == rollouts
        times["milliseconds"][name]["rollouts"] = rollouts
    turns.report(times, GOAL, given.json)


if __name__ == "__main__":
    main()
