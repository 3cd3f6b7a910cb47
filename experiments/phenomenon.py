"""Do directions differ in worth? Measures this by depth, from completed prefixes of plain samples.

    rollwise world rollouts countdown --levels 5 --questions 40 --paths 64 --completions 16 --out runs/prefixes.jsonl
    python experiments/phenomenon.py runs/prefixes.jsonl

A direction is a true state. A path's worth is its chance of ending right, estimated from its completions. Figures are
computed for each question and depth, then averaged over questions:

- states, effective: the number of states, and 1 / Σ share² with the states' shares of the paths; largest: the largest
  share.
- worth, sd: the mean worth of a state, and the standard deviation of true worth between states, without the spread of
  the completions.
- intraclass: sd² / (sd² + mean p(1 - p)), how much the state determines the outcome of a completion.
- between: the share of the variance of paths' true worth that lies between states and not within states.
- size: the Spearman correlation between a state's number of paths and its worth, with its standard error.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from rollwise.calibration.prefixes import Prefix, load_prefixes

KINDS: dict[str, Callable[[Prefix], bool]] = {
    "all": lambda prefix: True,
    "valid, in reach": lambda prefix: prefix.valid and prefix.reachable,
    "valid, out of reach": lambda prefix: prefix.valid and not prefix.reachable,
    "invalid": lambda prefix: not prefix.valid,
}


def state_figures(prefixes: Sequence[Prefix]) -> dict[str, float]:
    """The figures of a question at a depth; NaN if there are too few states."""
    states = defaultdict(list)
    for prefix in prefixes:
        states[prefix.state].append(prefix)
    groups = list(states.values())
    sizes = np.array([sum(prefix.size for prefix in group) for group in groups], dtype=np.float64)
    trials = np.array([sum(prefix.completions for prefix in group) for group in groups], dtype=np.float64)
    worth = np.array([sum(prefix.right for prefix in group) for group in groups]) / trials
    shares = sizes / sizes.sum()
    noise = worth * (1 - worth) / (trials - 1)
    between = float(worth.var(ddof=1) - noise.mean()) if len(groups) > 1 else np.nan
    chance = float((worth * (1 - worth) * trials / (trials - 1)).mean())
    varied = len(groups) > 2 and np.ptp(sizes) > 0 and np.ptp(worth) > 0
    return {
        "paths": float(sizes.sum()),
        "states": float(len(groups)),
        "effective": float(1 / (shares**2).sum()),
        "largest": float(shares.max()),
        "worth": float(worth.mean()),
        "variance": between,
        "chance": chance,
        "within": _within_states(groups),
        "size": float(spearmanr(sizes, worth).statistic) if varied else np.nan,
    }


def _within_states(groups: Sequence[Sequence[Prefix]]) -> float:
    """The variance of true worth between the prefixes of a state, averaged over states with several prefixes."""
    variances, weights = [], []
    for group in groups:
        if len(group) < 2:
            continue
        worth = np.array([prefix.worth for prefix in group])
        degrees = np.array([prefix.completions - 1 for prefix in group])
        variances.append(worth.var(ddof=1) - (worth * (1 - worth) / degrees).mean())
        weights.append(len(group) - 1)
    return float(np.average(variances, weights=weights)) if variances else np.nan


def fold(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means over questions, and the figures that follow from the mean variances."""
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    mean = {name: float(np.nanmean(values)) if np.isfinite(values).any() else np.nan for name, values in table.items()}
    variance, within = max(mean.pop("variance"), 0.0), max(mean.pop("within"), 0.0)
    correlations = table["size"][np.isfinite(table["size"])]
    error = float(correlations.std(ddof=1) / np.sqrt(len(correlations))) if len(correlations) > 1 else np.nan
    chance = mean.pop("chance")
    return mean | {
        "sd": variance**0.5,
        "intraclass": variance / (variance + chance) if variance + chance > 0 else np.nan,
        "between": variance / (variance + within) if variance + within > 0 else np.nan,
        "size_error": error,
        "questions": float(len(rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    by_group: dict[tuple[int, int, str], list[dict[str, float]]] = defaultdict(list)
    for problem, prefixes in load_prefixes(given.file):
        for depth in sorted({prefix.depth for prefix in prefixes}):
            for kind, belongs in KINDS.items():
                chosen = [
                    prefix for prefix in prefixes if prefix.depth == depth and belongs(prefix) and not prefix.ended
                ]
                if chosen:
                    by_group[problem.level or 0, depth, kind].append(state_figures(chosen))
    figures = {key: fold(rows) for key, rows in sorted(by_group.items())}
    if given.json:
        print(json.dumps([{"level": key[0], "depth": key[1], "kind": key[2], **row} for key, row in figures.items()]))
        return
    print("| level | depth | prefixes | questions | paths | states | effective | largest | worth | sd | intraclass |"
          " between | size |")  # fmt: skip
    print("| --- " * 13 + "|")
    for (level, depth, kind), row in figures.items():
        print(
            f"| {level} | {depth} | {kind} | {row['questions']:.0f} | {row['paths']:.1f} | {row['states']:.1f} | "
            f"{row['effective']:.1f} | {row['largest']:.2f} | {row['worth']:.3f} | {row['sd']:.3f} | "
            f"{row['intraclass']:.2f} | {row['between']:.2f} | {row['size']:.2f} ± {row['size_error']:.2f} |"
        )


if __name__ == "__main__":
    main()
