"""Figures of a world's models: what a policy solves, how well a reward model tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.calibration import Rollout, area_under_curve, calibration_error, isotonic
from rollwise.core import FloatArray, IntArray, Problem
from rollwise.numerics import wilson_interval

Sampled = Sequence[tuple[Problem, Sequence[Rollout]]]


def solved_share(samples: int, right: int, budget: int) -> float:
    """The chance that at least one of `budget` samples is right, estimated without bias from `right` of `samples`.

    1 - C(samples - right, budget) / C(samples, budget) (Chen et al., arXiv 2107.03374).
    """
    return 1.0 - comb(samples - right, budget) / comb(samples, budget)


def policy_figures(
    sampled: Sampled, samples: int = 64, budgets: Sequence[int] = (1, 16, 64)
) -> dict[str, dict[str, Any]]:
    """By level: questions, the mean solved share at each budget, and the 95 % interval of the largest one's.

    So many `samples` were drawn of every question; those that were lost, as where the context was full, are not right.
    """
    figures: dict[str, dict[str, Any]] = {}
    for level in sorted({problem.level or 0 for problem, _ in sampled}):
        many = [rollouts for problem, rollouts in sampled if problem.level == level]
        right = [sum(one.right for one in rollouts) for rollouts in many]
        figures[str(level)] = {"questions": len(many)} | {
            f"solved_at_{budget}": round(float(np.mean([solved_share(samples, good, budget) for good in right])), 4)
            for budget in budgets
        }
        largest = max(budgets)
        solved = sum(good > 0 for good in right)
        low, high = wilson_interval(solved, len(many))
        figures[str(level)][f"interval_at_{largest}"] = [round(low, 3), round(high, 3)]
    return figures


@dataclass(frozen=True)
class Judged:
    """What a reward model said of prefixes, and what is true of them; all arrays (n,).

    `question` numbers the questions, `worth` is the share of `completions` that ended right.
    """

    question: IntArray
    level: IntArray
    depth: IntArray
    reward: FloatArray
    valid: IntArray
    worth: FloatArray
    completions: FloatArray

    def take(self, chosen: NDArray[Any]) -> Judged:
        """Some of the prefixes."""
        return Judged(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def calibrated(judged: Judged) -> FloatArray:
    """The rewards (n,) after isotonic calibration by depth, each fitted on the questions of the other half."""
    result = judged.reward.copy()
    for depth in np.unique(judged.depth):
        for half in (0, 1):
            here = (judged.depth == depth) & (judged.question % 2 == half)
            other = (judged.depth == depth) & (judged.question % 2 != half)
            if here.any() and other.any():
                fit = isotonic(judged.reward[other], judged.worth[other], judged.completions[other])
                result[here] = fit(judged.reward[here])
    return result


def prefix_figures(judged: Judged) -> dict[str, dict[str, Any]]:
    """By "level L" and by "depth D" and of all: prefixes, mean worth, share valid, AUC against validity and against the
    outcome of completions, calibration error against worth before and after calibration; None where nothing tells.
    """
    after = calibrated(judged)
    groups = {"all": np.ones(len(judged.level), dtype=bool)}
    groups |= {f"level {level}": judged.level == level for level in np.unique(judged.level)}
    groups |= {f"depth {depth}": judged.depth == depth for depth in np.unique(judged.depth)}
    figures = {}
    for name, chosen in groups.items():
        part = judged.take(chosen)
        row = {
            "worth": part.worth.mean(),
            "valid": part.valid.mean(),
            "auc_validity": area_under_curve(part.reward, part.valid),
            "auc_outcome": area_under_curve(part.reward, part.worth, part.completions),
            "ece": calibration_error(part.reward, part.worth),
            "ece_calibrated": calibration_error(after[chosen], part.worth),
        }
        told = {key: round(float(value), 3) if np.isfinite(value) else None for key, value in row.items()}
        figures[name] = {"prefixes": int(chosen.sum())} | told
    return figures
