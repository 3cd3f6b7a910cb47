"""Estimates from completed prefixes: the chance for each reward, its concentration κ, and correlations in a direction.

All estimates use counts: c of the n completions of a prefix ended right. The model: a prefix with reward R ends right
with a chance p of mean m(R) and variance m(1 - m) / (κ + 1), and the prefixes of a direction share part of p.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.calibration.observations import Observations, levels_of
from rollwise.core import BoolArray, FloatArray
from rollwise.errors import InputError

SMALLEST_CONCENTRATION, LARGEST_CONCENTRATION = 0.01, 1000.0
"""The bounds of an estimated κ. If prefixes of equal reward differ no more than chance explains, κ is the largest."""
SMALLEST_CORRELATION = 0.01
"""The value that replaces an estimated correlation of 0 or below, because a belief's correlation lies in (0, 1]."""
PRIOR_PREFIXES = 0.25
"""The weight, in prefixes' completions, that draws a calibrated mean towards the overall share of right completions.

Of the values tried from 1/64 to 2, a quarter did well on held-out problems of every bundled world; 1 pulls the few high
pools of a hard world down too far.
"""


@dataclass(frozen=True)
class Curve:
    """A non-decreasing map from reward to chance. It is linear between the knots `rewards` and constant beyond them."""

    rewards: tuple[float, ...]
    means: tuple[float, ...]

    def __call__(self, rewards: FloatArray) -> FloatArray:
        """The chance at each reward."""
        return np.interp(rewards, self.rewards, self.means)


def isotonic(scores: FloatArray, truths: FloatArray, weights: FloatArray, prior: float = 0.0) -> Curve:
    """The non-decreasing map from score to truth with the least weighted squared error (pool adjacent violators).

    `scores`, `truths` and `weights` are (k,); truths are shares in [0, 1]. With a `prior` weight a, a pool of weight w
    and mean y gets the mean (wy + ag) / (w + a), with the overall share g = (Σ weights · truths + ½) / (Σ weights + 1).
    Then the pools are made non-decreasing again, with the weights w + a. So no chance becomes 0 or 1. The map has a
    knot at each end of a pool.
    """
    from scipy.optimize import isotonic_regression

    distinct, place = np.unique(scores, return_inverse=True)
    weight, right = np.bincount(place, weights), np.bincount(place, weights * truths)
    blocks = isotonic_regression(right / weight, weights=weight).blocks
    starts, ends = blocks[:-1], blocks[1:] - 1
    pool_weight, pool_right = np.add.reduceat(weight, starts), np.add.reduceat(right, starts)
    overall = (right.sum() + 0.5) / (weight.sum() + 1)
    means = (pool_right + prior * overall) / (pool_weight + prior)
    if prior:
        means = isotonic_regression(means, weights=pool_weight + prior).x
    knots = np.column_stack([distinct[starts], distinct[ends]]).ravel()
    kept = np.append(True, np.diff(knots) > 0)
    return Curve(tuple(knots[kept].tolist()), tuple(np.repeat(means, 2)[kept].tolist()))


def mean_curve(observed: Observations) -> Curve:
    """The calibrated mean m(R): isotonic regression of right / completions on the raw reward.

    The weights are the completions; the prior weighs as much as the completions of PRIOR_PREFIXES prefixes.
    """
    shares, weights = observed.right / observed.completions, observed.completions.astype(np.float64)
    return isotonic(observed.reward, shares, weights, PRIOR_PREFIXES * float(weights.mean()))


def held_out_means(observed: Observations, folds: int = 5) -> FloatArray:
    """The mean m at each prefix (k,), fitted on the problems of the other folds.

    A problem's fold is its place among the problems, modulo `folds`. Raises InputError if all prefixes belong to the
    same problem.
    """
    _, number = np.unique(observed.problem, return_inverse=True)
    if number.max() == 0:
        raise InputError(
            "all prefixes come from the same problem: complete prefixes of several problems, at best dozens"
        )
    fold = number % min(folds, int(number.max()) + 1)
    means = np.empty(len(observed))
    for held_out in np.unique(fold):
        curve = mean_curve(observed.take(fold != held_out))
        means[fold == held_out] = curve(observed.reward[fold == held_out])
    return means


def concentration_of(excess: NDArray[Any], scale: NDArray[Any]) -> FloatArray:
    """κ = 1 / ρ̂ - 1 with ρ̂ = excess / scale, clipped to its bounds; the largest κ if ρ̂ ≤ 0 or scale is 0."""
    share = np.divide(excess, scale, out=np.zeros(np.shape(scale)), where=np.asarray(scale) > 0)
    return np.clip(1 / np.maximum(share, 1e-9) - 1, SMALLEST_CONCENTRATION, LARGEST_CONCENTRATION)


def moment_sums(observed: Observations, means: FloatArray) -> FloatArray:
    """For each problem in order, Σ (c - nm)² - nm(1 - m) and Σ n(n - 1)m(1 - m): (problems, 2).

    The ratio of their totals is ρ̂ = 1 / (κ + 1).
    """
    n, v = observed.completions, means * (1 - means)
    _, number = np.unique(observed.problem, return_inverse=True)
    excess, scale = (observed.right - n * means) ** 2 - n * v, n * (n - 1) * v
    return np.column_stack([np.bincount(number, excess), np.bincount(number, scale)])


def sharing_sums(observed: Observations, means: FloatArray) -> FloatArray:
    """For each problem in order, the sums (problems, 4) from which two correlations are computed as ratios.

    For a prefix i, e_i = c/n - m is its residual, ē_i the mean residual of the other prefixes of its group, and
    u_i = c(c - 1)/(n(n - 1)) - 2mc/n + m², which has the mean (p - m)² for any m.

    - Columns 0 and 1: Σ e_i ē_i and Σ u_i over the prefixes i that have others in their direction. The ratio is 1 if
      the prefixes of each direction share p and m.
    - Columns 2 and 3: the same sums, where the others are the prefixes of other directions of the same problem and
      depth.
    """
    n, c, m = observed.completions, observed.right, means
    problem, number = np.unique(observed.problem, return_inverse=True)
    known = observed.direction >= 0
    share = (c / n)[known]
    residual = share - m[known]
    square = (c * (c - 1) / (n * (n - 1)))[known] - 2 * m[known] * share + m[known] ** 2
    direction = np.unique(observed.direction[known], return_inverse=True)[1]
    level = levels_of(observed)[known]
    direction_sum, level_sum = (np.bincount(group, residual)[group] for group in (direction, level))
    direction_size, level_size = (np.bincount(group)[group] for group in (direction, level))
    columns = []
    for others, count in (
        (direction_sum - residual, direction_size - 1),
        (level_sum - direction_sum, level_size - direction_size),
    ):
        paired = count > 0
        products = np.divide(residual * others, count, out=np.zeros(len(residual)), where=paired)
        columns += [np.bincount(number[known], each, minlength=len(problem)) for each in (products, square * paired)]
    return np.column_stack(columns)


GRID = np.geomspace(SMALLEST_CONCENTRATION, LARGEST_CONCENTRATION, 140)
"""The values of κ at which the likelihood is computed."""


def likelihood_sums(observed: Observations, means: FloatArray) -> FloatArray:
    """For each problem in order, the beta-binomial log-likelihood of each κ of the GRID: (problems, len(GRID)).

    Terms that do not depend on κ are left out.
    """
    from scipy.special import betaln

    _, number = np.unique(observed.problem, return_inverse=True)
    wrong = observed.completions - observed.right
    columns = []
    for concentration in GRID:
        a, b = concentration * means, concentration * (1 - means)
        columns.append(np.bincount(number, betaln(observed.right + a, wrong + b) - betaln(a, b)))
    return np.column_stack(columns)


def most_likely_concentration(sums: FloatArray) -> FloatArray:
    """The κ at the peak of each row of log-likelihoods (…, len(GRID)).

    The peak is that of the parabola in log κ through the highest point and its neighbours. If the likelihood still
    rises at an end of the GRID, κ is that bound.
    """
    best = np.clip(sums.argmax(axis=-1), 1, len(GRID) - 2)[..., None]
    low, middle, high = (np.take_along_axis(sums, best + step, axis=-1)[..., 0] for step in (-1, 0, 1))
    curvature = low - 2 * middle + high
    peak = np.divide(low - high, 2 * curvature, out=np.zeros_like(curvature), where=curvature < 0)
    shift = np.where(high > middle, 1.0, np.clip(peak, -1, 1))  # in steps of the GRID from the middle
    shift = np.where(low > middle, -1.0, shift)
    return np.exp(np.log(GRID[best[..., 0]]) + shift * np.log(GRID[1] / GRID[0]))


def bootstrap_counts(problems: int, generator: np.random.Generator, count: int = 1000) -> FloatArray:
    """How often each bootstrap resample draws each problem: (count, problems)."""
    return generator.multinomial(problems, np.full(problems, 1 / problems), size=count).astype(np.float64)


def percentile_interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float]:
    """The central interval that contains this share of the resampled estimates."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def area_under_curve(scores: FloatArray, truths: NDArray[Any], weights: FloatArray | None = None) -> float:
    """The chance that a true entry scores above a false entry; ties count half. NaN if all entries are true or false.

    `scores`, `truths` and `weights` are (n,). Truths may be shares in [0, 1]: then an entry counts as true by that
    share and as false by the rest.
    """
    entry_weights = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    true = np.bincount(place, entry_weights * truths)
    false = np.bincount(place, entry_weights * (1 - truths))
    total = true.sum() * false.sum()
    below = np.cumsum(false) - false
    return float((true * (below + false / 2)).sum() / total) if total > 0 else float("nan")


def calibration_error(scores: FloatArray, truths: NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error: the gap between mean score and mean truth in equal bins of the score, averaged with
    the bins' sizes as weights.
    """
    gaps = [abs(float((scores - truths)[inside].sum())) for inside in score_bins(scores, bins)]
    return sum(gaps) / len(scores)


def score_bins(scores: FloatArray, bins: int = 10) -> Iterator[BoolArray]:
    """For each of `bins` equal bins of [0, 1], which scores (n,) lie in it. A score of 1 lies in the last bin."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    yield from (place == number for number in range(bins))
