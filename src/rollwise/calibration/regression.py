"""Logistic regressions on completed prefixes: what differences in reward and in direction size say within a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollwise.calibration.observations import Observations, levels_of
from rollwise.core import BoolArray, FloatArray, IntArray

_WEAK_PRECISION = 1e-6
"""A prior precision so weak that it only keeps the curvature above 0 if the outcomes are perfectly separable."""


def log_odds(chances: FloatArray) -> FloatArray:
    """ℓ = log(p / (1 - p)) of chances p, which are first clipped to [1e-6, 1 - 1e-6]."""
    inside = np.clip(chances, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def group_average(odds: FloatArray, groups: IntArray, weights: NDArray[Any]) -> FloatArray:
    """ℓ̄ (k,): for each entry, the weighted average of the log-odds ℓ (k,) in its group."""
    return (np.bincount(groups, weights * odds) / np.bincount(groups, weights))[groups]


@dataclass(frozen=True)
class WithinFit:
    """How much of a difference in log-odds holds among the prefixes of one problem and depth; see `fit_within`.

    logit P(right) = shifts[run] + level · ℓ̄ + share · (ℓ - ℓ̄).

    `free` is the share without its bounds. `gradients` (problems, d) and `informations` (problems, d, d) belong to the
    unbounded fit and are input for `one_newton_step`; each problem carries an equal part of the prior.
    """

    share: float
    free: float
    level: float
    shifts: FloatArray
    gradients: FloatArray
    informations: FloatArray


def fit_within(observed: Observations, odds: FloatArray, run: IntArray, most: float) -> WithinFit | None:
    """The most likely `WithinFit` for log-odds ℓ (k,), with level ≥ 0 and 0 ≤ share ≤ `most`; None if ℓ never varies.

    ℓ̄ is the average ℓ over the problem's prefixes at a depth, each counted as often as it was sampled. `run` (k,)
    numbers the run of depths of each prefix. A reward that separates hard problems from easy problems, but does not
    separate the paths of one problem, has share 0, although its curve fits overall.

    Level and share have a normal prior with mean 1 and standard deviation 1, because outcomes say nothing about them
    if ℓ hardly varies. Returns None if no two prefixes of one problem and depth differ in ℓ.
    """
    around = group_average(odds, levels_of(observed), observed.size)
    if np.ptp(odds - around) < 1e-9:
        return None
    run_numbers = np.unique(run, return_inverse=True)[1]
    shift_columns = np.eye(int(run_numbers.max()) + 1)[run_numbers]
    slope_columns = np.column_stack([around, odds - around])
    prior = np.append(np.full(shift_columns.shape[1], _WEAK_PRECISION), [1.0, 1.0])
    unbounded = _logistic_regression(
        np.column_stack([shift_columns, slope_columns]), odds, *_outcomes(observed), np.ones(len(observed)), prior
    )
    shifts, slopes = _bounded_fit(observed, shift_columns, slope_columns, prior, unbounded.coefficients, most)
    gradients, informations = _by_problem(unbounded, observed.problem)
    problems = len(gradients)
    level, share = slopes.tolist()
    return WithinFit(
        share=share,
        free=1 + float(unbounded.coefficients[-1]),
        level=level,
        shifts=shifts,
        gradients=gradients - prior * unbounded.coefficients / problems,
        informations=informations + np.diag(prior) / problems,
    )


def _bounded_fit(
    observed: Observations,
    shift_columns: FloatArray,
    slope_columns: FloatArray,
    prior: FloatArray,
    unbounded: FloatArray,
    most: float,
) -> tuple[FloatArray, FloatArray]:
    """The shifts (runs,) and the slopes (level, share), with level ≥ 0 and 0 ≤ share ≤ `most`.

    Starts from the `unbounded` coefficients (runs + 2,). As long as a slope lies outside its bounds, that slope is
    fixed at the bound and all other coefficients are fitted again. A coefficient of a slope is relative to 1, since
    ℓ = 1 · ℓ̄ + 1 · (ℓ - ℓ̄) is the offset of the regression.
    """
    runs = shift_columns.shape[1]
    design = np.column_stack([shift_columns, slope_columns])
    upper = np.array([np.inf, most])
    slopes, free = np.ones(2), np.ones(2, dtype=bool)
    coefficients = unbounded
    while True:
        wanted = 1 + coefficients[runs:]
        slopes[free] = np.clip(wanted, 0, upper[free])
        inside = slopes[free] == wanted
        if inside.all():
            return coefficients[:runs], slopes
        free[free] = inside
        columns = np.append(np.ones(runs, dtype=bool), free)
        offset = slope_columns @ np.where(free, 1, slopes)
        coefficients = _logistic_regression(
            design[:, columns], offset, *_outcomes(observed), np.ones(len(observed)), prior[columns]
        ).coefficients


def _outcomes(observed: Observations) -> tuple[IntArray, IntArray]:
    return observed.right, observed.completions


def _by_problem(
    fit: LogisticFit, problem: IntArray, rows: BoolArray | slice = slice(None)
) -> tuple[FloatArray, FloatArray]:
    """Gradients (problems, d) and informations (problems, d, d) of a fit on these `rows` of all prefixes (k,)."""
    number = np.unique(problem, return_inverse=True)[1]
    count = int(number.max()) + 1
    return _sums_by(number[rows], fit.gradient, count), _sums_by(number[rows], fit.information, count)


def _sums_by(number: IntArray, rows: FloatArray, count: int) -> FloatArray:
    """The sums of rows (k, …) with the same number below `count`: (count, …)."""
    sums = np.zeros((count, *rows.shape[1:]))
    np.add.at(sums, number, rows)
    return sums


class SizeEffect(NamedTuple):
    """How a direction's size affects its success: the exponent α, and what `one_newton_step` needs to resample it."""

    exponent: float
    gradients: FloatArray
    informations: FloatArray


def size_effect(observed: Observations, means: FloatArray, run: IntArray) -> SizeEffect | None:
    """How the size of a direction affects its success, given the rewards of its members.

    logit P(right) = logit m + a_run + b · (mean log size of the problem's directions at this depth) + α · log size,
    by maximum likelihood; each direction counts once. The coefficients a (one per run of depths) and b absorb the
    differences between depths and between problems, because easy problems have few and large directions. So α compares
    the directions of one problem and depth.

    `gradients` (problems, d) and `informations` (problems, d, d) are those of each problem at the fit; α is the last of
    the d coefficients. Returns None if no two directions of one problem and depth differ in size.
    """
    known = observed.direction >= 0
    if not known.any():
        return None
    direction, run_numbers = (np.unique(each[known], return_inverse=True)[1] for each in (observed.direction, run))
    weights = 1 / np.bincount(direction)[direction]
    log_sizes = np.log(np.bincount(direction, observed.size[known]))[direction]
    around = group_average(log_sizes, levels_of(observed.take(known)), weights)
    design = np.column_stack([np.eye(run_numbers.max() + 1)[run_numbers], around, log_sizes])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    prior = np.full(design.shape[1], _WEAK_PRECISION)
    fit = _logistic_regression(design, log_odds(means[known]), *_outcomes(observed.take(known)), weights, prior)
    return SizeEffect(float(fit.coefficients[-1]), *_by_problem(fit, observed.problem, known))


class LogisticFit(NamedTuple):
    """Coefficients (d,), and for each row its gradient (k, d) and information (k, d, d) at these coefficients."""

    coefficients: FloatArray
    gradient: FloatArray
    information: FloatArray


def _logistic_regression(
    design: FloatArray,
    offset: FloatArray,
    right: IntArray,
    completions: IntArray,
    weights: FloatArray,
    prior: FloatArray,
) -> LogisticFit:
    """The logistic regression logit P(right) = offset + design · coefficients, by Newton's method.

    `design` is (k, d); `offset`, `right`, `completions` and `weights` are (k,); `prior` (d,) holds the precisions of
    normal priors with mean 0 on the coefficients.
    """
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(offset + design @ coefficients)))
        gradient = design * (weights * (right - completions * chance))[:, None]
        curvature = design * (weights * completions * chance * (1 - chance))[:, None]
        total_gradient = gradient.sum(axis=0) - prior * coefficients
        step = np.linalg.solve(design.T @ curvature + np.diag(prior), total_gradient)
        longest = np.abs(step).max()
        if longest < 1e-8:
            break
        coefficients += step / max(1, longest)
    return LogisticFit(coefficients, gradient, design[:, :, None] * curvature[:, None, :])


def one_newton_step(estimate: float, gradients: FloatArray, informations: FloatArray, drawn: FloatArray) -> FloatArray:
    """The last coefficient in each bootstrap resample (b,), by one Newton step from the fitted `estimate`.

    `drawn` (b, problems) counts how often each resample draws each problem; `gradients` (problems, d) and
    `informations` (problems, d, d) are sums by problem at the fit.
    """
    information = np.tensordot(drawn, informations, axes=1)
    steps = np.linalg.solve(information + 1e-9 * np.eye(information.shape[-1]), (drawn @ gradients)[..., None])
    return np.asarray(estimate + steps[:, -1, 0], dtype=np.float64)
