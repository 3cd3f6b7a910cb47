"""Which confidence does softmax(R / T_b) imply? Finds the κ whose optimal allocation is closest to REBASE's.

    python experiments/softmax_confidence.py

Scores are drawn from a Beta distribution and used as calibrated means m = R with the same κ for all; N rollouts go to k
units. For every κ of a grid, the exact optimum is compared with REBASE's counts. For each distribution and k the table
shows:

- nearest: the κ at which the two allocations differ in the smallest share of rollouts, Σ|B - B'| / 2N, and that share;
- cheapest: the κ at which REBASE's chance that all rollouts fail is the smallest multiple of the optimum's chance, and
  that multiple (geometric means over draws); with few units it may be the grid's lowest κ, for which only the first
  rollout of each unit matters;
- shifted: the κ whose water-filling [κ(m / λ - 1)]₊ is closest to the shares N·w before rounding.

The last line of each block uses the paper's means, m = softmax(R / T_b), instead of m = R.
"""

from __future__ import annotations

import argparse

import numpy as np

from rollwise.allocation.exact_counts import optimal_counts, relaxed_counts
from rollwise.allocation.failure import log_expected_failure
from rollwise.allocation.rounding import largest_remainder
from rollwise.core import FloatArray
from rollwise.numerics import softmax

GRID = np.geomspace(0.1, 1000, 41)


def compared(rewards: FloatArray, means: FloatArray, width: int, temperature: float) -> FloatArray:
    """(41, 3), a row per κ: the share of rollouts that differ, the log ratio of failures, the share before rounding."""
    shares = softmax(rewards, temperature) * width
    counts = largest_remainder(shares, width)
    rows = []
    for kappa in GRID:
        known = np.full(len(means), kappa)
        best = optimal_counts(means, known, width)
        paid, least = (float(log_expected_failure(means, known, each).sum()) for each in (counts, best))
        level = relaxed_counts(means, known, width)
        rows.append([np.abs(counts - best).sum() / 2 / width, paid - least, np.abs(shares - level).sum() / 2 / width])
    return np.array(rows)


def row(draws: list[tuple[FloatArray, FloatArray]], width: int, temperature: float) -> str:
    """The table's cells for a set of draws."""
    mean = np.mean([compared(rewards, means, width, temperature) for rewards, means in draws], axis=0)
    near, cheap, shift = (int(np.argmin(column)) for column in mean.T)
    return (
        f"{GRID[near]:.3g} ({100 * mean[near, 0]:.0f} %) | {GRID[cheap]:.3g} ({np.exp(mean[cheap, 1]):.2f}) | "
        f"{GRID[shift]:.3g} ({100 * mean[shift, 2]:.0f} %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="1:1,2:2,2:5,5:2,8:2", help="a:b of the scores' Beta(a, b)")
    parser.add_argument("--units", default="64,8")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=30)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    print("| units | scores | means | nearest κ (differ) | cheapest κ (failure ×) | shifted κ (differ) |")
    print("| --- " * 6 + "|")
    for units in map(int, given.units.split(",")):
        shapes = [tuple(map(float, shape.split(":"))) for shape in given.shapes.split(",")]
        drawn = {shape: [generator.beta(*shape, size=units) for _ in range(given.draws)] for shape in shapes}
        for (a, b), draws in drawn.items():
            cells = row([(rewards, rewards) for rewards in draws], given.width, given.temperature)
            print(f"| {units} | Beta({a:g}, {b:g}) | R | {cells} |", flush=True)
        draws = [(rewards, softmax(rewards, given.temperature)) for rewards in drawn[shapes[-1]]]
        cells = row(draws, given.width, given.temperature)
        print(f"| {units} | Beta({shapes[-1][0]:g}, {shapes[-1][1]:g}) | softmax | {cells} |", flush=True)


if __name__ == "__main__":
    main()
