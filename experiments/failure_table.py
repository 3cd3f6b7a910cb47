"""What a belief without a shape is worth: the failure of S rollouts tabulated by score, against one Beta by score.

    python experiments/failure_table.py --instances 400

Scores of other instances are cut into bins of equal size, and E[(1 - p)^S | bin] is averaged for every S, as very many
completions would tell it. Greedy on that table is exact for any belief (log-convexity, docs/theory.md). It is compared
with DORA, with `optimal_directions` on a fitted Beta belief, and with the best by scores, in worlds where directions
share one chance and one error of the score.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from rollwise.core import Candidates, FloatArray, IntArray
from rollwise.registry import find_strategy, strategy_needs
from rollwise.simulation.failure import least_counts, log_failures
from rollwise.simulation.informed import spread_evenly
from rollwise.simulation.oneshot import CALIBRATION, OneShot, draw
from rollwise.simulation.study import Mean, Study, read_contenders, sweep

BINS = 12


def tabulated(world: OneShot, seed: int, width: int) -> tuple[FloatArray, FloatArray]:
    """The upper edges of all bins but the last, and log E[(1 - p)^S | bin] for S = 0 .. width: (bins, width + 1)."""
    instances = [draw(world, seed, "calibration", index, world.candidates or width) for index in range(CALIBRATION)]
    scores = np.concatenate([one.scores for one in instances])
    means = np.concatenate([one.means[one.labels] for one in instances])
    bins = np.array_split(np.argsort(scores, kind="stable"), BINS)
    table = np.stack([np.exp(log_failures(means[one], world.concentration, width)).mean(axis=0) for one in bins])
    return np.array([scores[one].max() for one in bins[:-1]]), np.log(table)


def by_table(edges: FloatArray, table: FloatArray) -> Callable[[Candidates, int], IntArray]:
    """An allocator that takes a direction's failure from the bin of its score."""

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
        gap = Mean.of(np.array([one.failure[2] - one.failure[0] for one in study.played[0]]))
        best, fitted, dora, table = (
            f"{100 * one.mean:z.1f} ± {100 * one.half:.1f}"
            for one in (found.informed or Mean(np.nan, np.nan), *(line.regret for line in found.lines))
        )
        told = f"{100 * gap.mean:+z.1f} ± {100 * gap.half:.1f}"
        setting = f"{candidates or 'N'} | {imbalance:g} | {noise:g}"
        print(f"| {setting} | {best} | {table} | {fitted} | {dora} | {told} |", flush=True)


if __name__ == "__main__":
    main()
