"""How well does a reward model know how sure it is? Compares its head's κ with the κ fitted by depth.

    rollwise world rollouts countdown --split validation --questions 40 --paths 16 --out runs/p.jsonl
    python experiments/sureness.py runs/p.jsonl

For each depth, the table shows the median κ of the head with its quartiles, and the κ fitted on half of the problems.
On the other half, it shows the mean -log chance of a completion under three beta-binomial beliefs: mean and κ of the
model (*model*), the model's mean with the fitted κ (*mean*), and the calibrated mean with the fitted κ (*fitted*). Less
is better. The -log chance of a prefix's count is divided by its completions, and the binomial coefficient, which is the
same for all beliefs, is left out.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import numpy as np
from scipy.special import betaln

from rollwise.calibration.fit import calibrate
from rollwise.calibration.prefixes import load_prefixes
from rollwise.calibration.record import Source
from rollwise.calibration.scoring import ScoredPrefixes, observe_prefixes, score_prefixes
from rollwise.core import FloatArray, Judgement
from rollwise.registry import find_reward


def surprise(mean: FloatArray, concentration: FloatArray, right: FloatArray, count: FloatArray) -> FloatArray:
    """-log of the beta-binomial chance without its coefficient, per completion."""
    a, b = concentration * np.clip(mean, 1e-6, 1 - 1e-6), concentration * np.clip(1 - mean, 1e-6, 1 - 1e-6)
    return -(betaln(a + right, b + count - right) - betaln(a, b)) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", type=Path)
    parser.add_argument("--world", default="countdown")
    parser.add_argument("--reward", default="trained")
    given = parser.parse_args()
    reward = find_reward(given.reward, given.world)
    scored: list[ScoredPrefixes] = []
    concentrations: list[float] = []
    for problem, everything in load_prefixes(given.prefixes):
        prefixes = [prefix for prefix in everything if not prefix.ended]
        scores = asyncio.run(score_prefixes(reward, problem, prefixes))
        pairs = zip(prefixes, scores, strict=True)
        judged = [(prefix, score) for prefix, score in pairs if isinstance(score, Judgement)]
        scored.append((problem, [(prefix, score.reward) for prefix, score in judged]))
        concentrations += [score.concentration for _, score in judged]
    fit = calibrate(observe_prefixes(scored[::2]), source=Source())
    observed, kappa = observe_prefixes(scored), np.array(concentrations)
    other = observed.problem % 2 == 1
    mean, fitted = np.empty(len(observed)), np.empty(len(observed))
    for problem_number in np.unique(observed.problem):
        rows = observed.problem == problem_number
        belief = fit.belief(observed.reward[rows], observed.depth[rows])
        mean[rows], fitted[rows] = belief.mean, belief.concentration
    right, count = observed.right.astype(np.float64), observed.completions.astype(np.float64)
    beliefs = {
        "model": (observed.reward, kappa),
        "mean": (observed.reward, fitted),
        "fitted": (mean, fitted),
    }
    print(f"| depth | prefixes | head's κ (quartiles) | fitted κ | {' | '.join(beliefs)} |")
    print("| --- " * (4 + len(beliefs)) + "|")
    for depth in [*np.unique(observed.depth), 0]:
        here = other & ((observed.depth == depth) | (depth == 0))
        low, middle, high = np.quantile(kappa[here], [0.25, 0.5, 0.75])
        typical = f"{np.median(fitted[here]):.2f}"
        cells = [f"{surprise(*belief, right, count)[here].mean():.4f}" for belief in beliefs.values()]
        name = str(depth) if depth else "all"
        print(f"| {name} | {here.sum()} | {middle:.2f} ({low:.2f}–{high:.2f}) | {typical} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
