"""Compares a table of failure chances by score with a fitted Beta belief.

    python experiments/failure_table.py --instances 400

The table assumes no shape of the belief: the scores of other instances are divided into bins of equal size, and
E[(1 - p)^S | bin] is averaged for every S, as a very large number of completions would measure it. A greedy allocation
by that table is exact for any belief (log-convexity, docs/theory.md). The script compares it with DORA, with
`optimal_directions` on a fitted Beta belief, and with the best allocation by scores, in worlds where the paths of a
direction share their chance and the error of their score.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from rollwise.allocation import log_failures
from rollwise.core import Candidates, FloatArray, IntArray
from rollwise.registry import find_strategy, strategy_needs
from rollwise.simulation.failure import least_counts
from rollwise.simulation.informed import spread_evenly
from rollwise.simulation.instances import draw
from rollwise.simulation.oneshot import CALIBRATION, OneShot
from rollwise.simulation.study import Mean, Study, read_contenders, sweep

BINS = 12


def tabulated(world: OneShot, seed: int, width: int) -> tuple[FloatArray, FloatArray]:
    """The upper edges of all bins except the last, and log E[(1 - p)^S | bin] for S = 0 .. width: (bins, width + 1)."""
    instances = [draw(world, seed, "calibration", index, world.candidates or width) for index in range(CALIBRATION)]
    scores = np.concatenate([instance.scores for instance in instances])
    means = np.concatenate([instance.means[instance.labels] for instance in instances])
    bins = np.array_split(np.argsort(scores, kind="stable"), BINS)
    table = np.stack([np.exp(log_failures(means[rows], world.concentration, width)).mean(axis=0) for rows in bins])
    return np.array([scores[rows].max() for rows in bins[:-1]]), np.log(table)


def by_table(edges: FloatArray, table: FloatArray) -> Callable[[Candidates, int], IntArray]:
    """An allocator that reads a direction's failure chance from the bin of its score."""

    @strategy_needs("rewards", "directions")
    def allocate(candidates: Candidates, width: int) -> IntArray:
        assert candidates.directions is not None
        labels = candidates.directions.labels
        assert labels is not None
        _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
        rows = table[np.searchsorted(edges, candidates.rewards[first])]
        return spread_evenly(least_counts(rows[:, : width + 1], width), labels)

    return allocate


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    print("| k | imbalance | noise | best by scores | table | optimal_directions | dora | table − optimal_directions |")
    print("| --- " * 8 + "|")
    for candidates, imbalance, noise in ((8, 0.0, 0.1), (8, 0.0, 0.3), (8, 2.0, 0.3), (0, 2.0, 0.1), (0, 2.0, 0.3)):
        world = OneShot(candidates, imbalance=imbalance, noise=noise, told="fitted")
        contenders = read_contenders("optimal_directions,dora")
        contenders["table"] = find_strategy(by_table(*tabulated(world, given.seed, given.budget))).bind()
        study = Study(sweep(world, None, [], [given.budget]), contenders, given.instances, given.seed)
        study.run()
        found = study.found()[0]
        gap = Mean.of(np.array([played.failure[2] - played.failure[0] for played in study.played[0]]))
        best, fitted, dora, table = (
            f"{100 * regret.mean:z.1f} ± {100 * regret.half:.1f}"
            for regret in (found.informed or Mean(np.nan, np.nan), *(line.regret for line in found.lines))
        )
        difference = f"{100 * gap.mean:+z.1f} ± {100 * gap.half:.1f}"
        setting = f"{candidates or 'N'} | {imbalance:g} | {noise:g}"
        print(f"| {setting} | {best} | {table} | {fitted} | {dora} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
