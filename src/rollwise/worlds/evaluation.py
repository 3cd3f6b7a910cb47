"""Figures of a world's models on held-out questions: what the policy solves, how well the reward model tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb
from typing import Any

import numpy as np

from rollwise.core import FloatArray, IntArray, Problem
from rollwise.numerics import wilson_interval
from rollwise.worlds.rollouts import Rollout

Sampled = Sequence[tuple[Problem, Sequence[Rollout]]]


def solved_share(samples: int, right: int, budget: int) -> float:
    """The chance that at least one of `budget` samples is right, estimated without bias from `right` of `samples`.

    1 - C(samples - right, budget) / C(samples, budget) (Chen et al., arXiv 2107.03374).
    """
    return 1.0 - comb(samples - right, budget) / comb(samples, budget)


def policy_figures(sampled: Sampled, budgets: Sequence[int] = (1, 16, 64)) -> dict[str, dict[str, Any]]:
    """By level: questions, the mean solved share at each budget, and the share of solutions whose steps all hold."""
    figures: dict[str, dict[str, Any]] = {}
    for level in sorted({problem.level or 0 for problem, _ in sampled}):
        many = [rollouts for problem, rollouts in sampled if problem.level == level]
        right = [sum(one.right for one in rollouts) for rollouts in many]
        figures[str(level)] = {"questions": len(many)} | {
            f"solved_at_{budget}": round(
                float(np.mean([solved_share(len(each), good, budget) for each, good in zip(many, right, strict=True)])),
                4,
            )
            for budget in budgets
        }
        largest = max(budgets)
        solved = sum(good > 0 for good in right)
        low, high = wilson_interval(solved, len(many))
        figures[str(level)][f"interval_at_{largest}"] = [round(low, 3), round(high, 3)]
    return figures


def area_under_curve(scores: FloatArray, truths: IntArray) -> float:
    """The chance that a true one scores above a false one, ties counting half; NaN where one kind is missing."""
    from scipy.stats import rankdata

    positive, total = int(truths.sum()), len(truths)
    if positive in (0, total):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[truths == 1].sum() - positive * (positive + 1) / 2) / (positive * (total - positive)))


def calibration_error(scores: FloatArray, truths: IntArray, bins: int = 10) -> float:
    """Expected calibration error: over equal bins of the score, the mean gap between score and truth, by size."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = [abs(float((scores - truths)[place == one].sum())) for one in range(bins)]
    return sum(gaps) / len(scores)


def reward_figures(scored: Iterable[tuple[int, int, float, bool]]) -> dict[str, dict[str, Any]]:
    """By "level L" and by "depth D" (steps grown): steps, share reachable, AUC and calibration error against the truth.

    `scored` yields (level, depth, reward, truth) of every step.
    """
    rows = np.array([(level, depth, reward, truth) for level, depth, reward, truth in scored], dtype=np.float64)
    groups = {"all": np.ones(len(rows), dtype=bool)}
    groups |= {f"level {int(level)}": rows[:, 0] == level for level in np.unique(rows[:, 0])}
    groups |= {f"depth {int(depth)}": rows[:, 1] == depth for depth in np.unique(rows[:, 1])}
    figures = {}
    for name, chosen in groups.items():
        scores, truths = rows[chosen, 2], rows[chosen, 3].astype(np.int64)
        figures[name] = {
            "steps": len(scores),
            "reachable": round(float(truths.mean()), 3),
            "auc": round(area_under_curve(scores, truths), 3),
            "ece": round(calibration_error(scores, truths), 3),
        }
    return figures
