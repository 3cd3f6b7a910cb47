"""Figures of a world's models: how much a policy solves, and how well a reward model separates prefixes."""

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
    """The chance that at least one of `budget` samples is right, as an unbiased estimate from `right` of `samples`.

    1 - C(samples - right, budget) / C(samples, budget) (Chen et al., arXiv 2107.03374).
    """
    return 1.0 - comb(samples - right, budget) / comb(samples, budget)


def policy_figures(
    sampled: Sampled, samples: int = 64, budgets: Sequence[int] = (1, 16, 64)
) -> dict[str, dict[str, Any]]:
    """For each level: the number of questions, the mean solved share at each budget, and a 95 % interval.

    The interval belongs to the largest budget. Every question was sampled `samples` times; samples that were lost, for
    example because the context was full, count as wrong.
    """
    figures: dict[str, dict[str, Any]] = {}
    for level in sorted({problem.level or 0 for problem, _ in sampled}):
        rollouts_by_question = [rollouts for problem, rollouts in sampled if problem.level == level]
        right = [sum(rollout.right for rollout in rollouts) for rollouts in rollouts_by_question]
        row: dict[str, Any] = {"questions": len(right)}
        for budget in budgets:
            shares = [solved_share(samples, count, budget) for count in right]
            row[f"solved_at_{budget}"] = round(float(np.mean(shares)), 4)
        low, high = wilson_interval(sum(count > 0 for count in right), len(right))
        row[f"interval_at_{max(budgets)}"] = [round(low, 3), round(high, 3)]
        figures[str(level)] = row
    return figures


@dataclass(frozen=True)
class Judged:
    """The rewards of prefixes and the truth about these prefixes; all fields are arrays (n,).

    `question` numbers the questions; `worth` is the share of `completions` that ended right.
    """

    question: IntArray
    level: IntArray
    depth: IntArray
    reward: FloatArray
    valid: IntArray
    worth: FloatArray
    completions: FloatArray

    def take(self, chosen: NDArray[Any]) -> Judged:
        """The prefixes where `chosen` (n,) is true."""
        return Judged(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def calibrated(judged: Judged) -> FloatArray:
    """The rewards (n,) after isotonic calibration by depth, fitted on the other half of the questions."""
    result = judged.reward.copy()
    for depth in np.unique(judged.depth):
        for half in (0, 1):
            here = (judged.depth == depth) & (judged.question % 2 == half)
            other = (judged.depth == depth) & (judged.question % 2 != half)
            if here.any() and other.any():
                fit = isotonic(judged.reward[other], judged.worth[other], judged.completions[other])
                result[here] = fit(judged.reward[here])
    return result


def within_questions(judged: Judged) -> float:
    """The AUC against the outcome of completions among the prefixes of one question, as the mean over the questions.

    A question whose completions all ended alike has no AUC and is left out. NaN if there is no other question.
    """
    areas = []
    for question in np.unique(judged.question):
        part = judged.take(judged.question == question)
        areas.append(area_under_curve(part.reward, part.worth, part.completions))
    known = [area for area in areas if np.isfinite(area)]
    return float(np.mean(known)) if known else float("nan")


def prefix_figures(judged: Judged) -> dict[str, dict[str, Any]]:
    """The figures of "all" prefixes, of each "level L" and of each "depth D".

    Each holds the number of prefixes, their mean worth, the share of valid prefixes, the AUC against validity and
    against the outcome of completions (among all prefixes, and within a question), and the calibration error against
    worth before and after calibration. A figure that the data do not determine is None.
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
            "auc_within": within_questions(part),
            "ece": calibration_error(part.reward, part.worth),
            "ece_calibrated": calibration_error(after[chosen], part.worth),
        }
        rounded = {key: round(float(value), 3) if np.isfinite(value) else None for key, value in row.items()}
        figures[name] = {"prefixes": int(chosen.sum())} | rounded
    return figures
