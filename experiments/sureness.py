"""How sure is the reward model by its own account, beside what completions say: the head's κ and the fitted κ(depth).

    rollwise world rollouts countdown --split validation --questions 40 --paths 16 --out runs/p.jsonl
    python experiments/sureness.py runs/p.jsonl

By depth: the median κ of the head with its quartiles, the κ fitted on one half of the problems, and on the other half
the mean -log chance of a completion, by the beta-binomial, under three beliefs: mean and κ of the model (*model*); its
mean and the fitted κ (*mean*); the calibrated mean and the fitted κ (*fitted*). Less is better. The chance of a
prefix's count is divided by its completions; the binomial coefficient, which all share, is left out.
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
from rollwise.calibration.scoring import Scored, observations, score_prefixes
from rollwise.core import FloatArray, Judgement
from rollwise.registry import find_reward


def surprise(mean: FloatArray, concentration: FloatArray, right: FloatArray, count: FloatArray) -> FloatArray:
    """-log of the beta-binomial chance without its coefficient, by completion."""
    a, b = concentration * np.clip(mean, 1e-6, 1 - 1e-6), concentration * np.clip(1 - mean, 1e-6, 1 - 1e-6)
    return -(betaln(a + right, b + count - right) - betaln(a, b)) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", type=Path)
    parser.add_argument("--world", default="countdown")
    parser.add_argument("--reward", default="trained")
    given = parser.parse_args()
    reward = find_reward(given.reward, given.world)
    scored: list[Scored] = []
    sure: list[float] = []
    for problem, everything in load_prefixes(given.prefixes):
        prefixes = [one for one in everything if not one.ended]
        found = asyncio.run(score_prefixes(reward, problem, prefixes))
        told = [(one, score) for one, score in zip(prefixes, found, strict=True) if isinstance(score, Judgement)]
        scored.append((problem, [(one, score.reward) for one, score in told]))
        sure += [score.concentration for _, score in told]
    half = observations(scored[::2])
    fit = calibrate(half, source=Source())
    seen, kappa = observations(scored), np.array(sure)
    other = seen.problem % 2 == 1
    mean, fitted = np.empty(len(seen)), np.empty(len(seen))
    for problem_number in np.unique(seen.problem):
        rows = seen.problem == problem_number
        belief = fit.belief(seen.reward[rows], seen.depth[rows])
        mean[rows], fitted[rows] = belief.mean, belief.concentration
    right, count = seen.right.astype(np.float64), seen.completions.astype(np.float64)
    beliefs = {
        "model": (seen.reward, kappa),
        "mean": (seen.reward, fitted),
        "fitted": (mean, fitted),
    }
    print(f"| depth | prefixes | head's κ (quartiles) | fitted κ | {' | '.join(beliefs)} |")
    print("| --- " * (4 + len(beliefs)) + "|")
    for depth in [*np.unique(seen.depth), 0]:
        here = other & ((seen.depth == depth) | (depth == 0))
        low, middle, high = np.quantile(kappa[here], [0.25, 0.5, 0.75])
        typical = f"{np.median(fitted[here]):.2f}"
        cells = [f"{surprise(*one, right, count)[here].mean():.4f}" for one in beliefs.values()]
        name = str(depth) if depth else "all"
        print(f"| {name} | {here.sum()} | {middle:.2f} ({low:.2f}–{high:.2f}) | {typical} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
