"""What completed prefixes say: how rewards map to chances, how much a reward is worth, what a direction has in common.

Everything is an estimate from counts: of n completions of a prefix c ended right. A prefix of reward R is taken to end
right with chance p of mean m(R) and variance m(1 - m) / (κ + 1); p is shared in part by the prefixes of a direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.calibration.observations import Observations, levels_of
from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError

SMALLEST, LARGEST = 0.01, 1000.0
"""The bounds of an estimated κ. Where prefixes differ no more than chance makes them, κ is LARGEST."""
SMALLEST_CORRELATION = 0.01
"""What an estimated correlation of 0 or below becomes: a belief's lies in (0, 1]."""
PRIOR_PREFIXES = 0.25
"""A calibrated mean is drawn towards the overall share right by so many prefixes' completions. Of 1/64 to 2, a quarter
did well on held-out problems of every bundled world; 1 pulls the few high pools of a hard world too far down.
"""
_LEAST = 1e-6  # a precision that only keeps outcomes which are told apart wholly from leaving no curvature


@dataclass(frozen=True)
class Curve:
    """A non-decreasing map from reward to chance: linear between the knots `rewards`, constant beyond them."""

    rewards: tuple[float, ...]
    means: tuple[float, ...]

    def __call__(self, rewards: FloatArray) -> FloatArray:
        """The chance at each reward."""
        return np.interp(rewards, self.rewards, self.means)


def isotonic(scores: FloatArray, truths: FloatArray, weights: FloatArray, prior: float = 0.0) -> Curve:
    """The non-decreasing map from score to truth of least weighted squared error (pool adjacent violators).

    `truths` (k,) are shares in [0, 1]. With a `prior` weight a, a pool of weight w and mean y becomes (wy + ag) /
    (w + a), g = (Σ weights · truths + ½) / (Σ weights + 1) the overall share, and the pools are made non-decreasing
    again by weights w + a: so that nothing is taken to be impossible or certain. A pool has a knot at either end.
    """
    from scipy.optimize import isotonic_regression

    seen, place = np.unique(scores, return_inverse=True)
    heavy, good = np.bincount(place, weights), np.bincount(place, weights * truths)
    blocks = isotonic_regression(good / heavy, weights=heavy).blocks
    starts, ends = blocks[:-1], blocks[1:] - 1
    held, means = np.add.reduceat(heavy, starts), np.add.reduceat(good, starts)
    overall = (good.sum() + 0.5) / (heavy.sum() + 1)
    means = (means + prior * overall) / (held + prior)
    if prior:
        means = isotonic_regression(means, weights=held + prior).x
    knots = np.column_stack([seen[starts], seen[ends]]).ravel()
    kept = np.append(True, np.diff(knots) > 0)
    return Curve(tuple(knots[kept].tolist()), tuple(np.repeat(means, 2)[kept].tolist()))


def mean_curve(seen: Observations) -> Curve:
    """The calibrated mean m(R): isotonic regression of right / completions on the raw reward, weighted by completions,
    with a prior of PRIOR_PREFIXES prefixes' completions.
    """
    shares, weights = seen.right / seen.completions, seen.completions.astype(np.float64)
    return isotonic(seen.reward, shares, weights, PRIOR_PREFIXES * float(weights.mean()))


def held_out_means(seen: Observations, folds: int = 5) -> FloatArray:
    """The mean m at each prefix (k,), fitted on the problems of the other folds: their number in order, modulo `folds`.

    Raises InputError where all prefixes are of one problem.
    """
    _, number = np.unique(seen.problem, return_inverse=True)
    if number.max() == 0:
        raise InputError("the prefixes come from one problem; a calibration needs several, at best dozens")
    fold = number % min(folds, int(number.max()) + 1)
    means = np.empty(len(seen))
    for one in np.unique(fold):
        means[fold == one] = mean_curve(seen.take(fold != one))(seen.reward[fold == one])
    return means


def concentration_of(excess: NDArray[Any], scale: NDArray[Any]) -> FloatArray:
    """κ = 1 / ρ̂ - 1 with ρ̂ = excess / scale, within [SMALLEST, LARGEST]; LARGEST where ρ̂ ≤ 0 or nothing is known."""
    share = np.divide(excess, scale, out=np.zeros(np.shape(scale)), where=np.asarray(scale) > 0)
    return np.clip(1 / np.maximum(share, 1e-9) - 1, SMALLEST, LARGEST)


def moment_sums(seen: Observations, means: FloatArray) -> FloatArray:
    """By problem (in their order) Σ (c - nm)² - nm(1 - m) and Σ n(n - 1)m(1 - m), (problems, 2), whose ratio is
    ρ̂ = 1 / (κ + 1).
    """
    n, v = seen.completions, means * (1 - means)
    _, number = np.unique(seen.problem, return_inverse=True)
    excess, scale = (seen.right - n * means) ** 2 - n * v, n * (n - 1) * v
    return np.column_stack([np.bincount(number, excess), np.bincount(number, scale)])


def sharing_sums(seen: Observations, means: FloatArray) -> FloatArray:
    """By problem (in their order) what two correlations are ratios of, (problems, 4).

    0, 1: Σ e_i ē_i and Σ u_i over prefixes i with others in their direction; e = c/n - m, ē_i the mean e of these
    others, u = c(c - 1)/(n(n - 1)) - 2mc/n + m², whose mean is (p - m)² whatever m: so the ratio is 1 where directions
    share p and m. 2, 3: the same with the prefixes of other directions of the same problem and depth as the others.
    """
    n, c, m = seen.completions, seen.right, means
    problem, number = np.unique(seen.problem, return_inverse=True)
    known = seen.direction >= 0
    share = (c / n)[known]
    error = share - m[known]
    square = (c * (c - 1) / (n * (n - 1)))[known] - 2 * m[known] * share + m[known] ** 2
    direction = np.unique(seen.direction[known], return_inverse=True)[1]
    level = levels_of(seen)[known]
    inside, around = (np.bincount(group, error)[group] for group in (direction, level))
    members, neighbours = (np.bincount(group)[group] for group in (direction, level))
    columns = []
    for others, count in ((inside - error, members - 1), (around - inside, neighbours - members)):
        held = count > 0
        products = np.divide(error * others, count, out=np.zeros(len(error)), where=held)
        columns += [np.bincount(number[known], each, minlength=len(problem)) for each in (products, square * held)]
    return np.column_stack(columns)


GRID = np.geomspace(SMALLEST, LARGEST, 140)


def likelihood_sums(seen: Observations, means: FloatArray) -> FloatArray:
    """By problem (in their order) the beta-binomial log-likelihood (problems, len(GRID)) of each κ of the GRID, less
    what does not depend on κ.
    """
    from scipy.special import betaln

    _, number = np.unique(seen.problem, return_inverse=True)
    wrong = seen.completions - seen.right
    columns = []
    for concentration in GRID:
        a, b = concentration * means, concentration * (1 - means)
        columns.append(np.bincount(number, betaln(seen.right + a, wrong + b) - betaln(a, b)))
    return np.column_stack(columns)


def most_likely(sums: FloatArray) -> FloatArray:
    """The κ at the peak of each row of log-likelihoods over the GRID: of the parabola through the three highest, in
    log κ; a bound where the likelihood still rises there.
    """
    best = np.clip(sums.argmax(axis=-1), 1, len(GRID) - 2)[..., None]
    low, middle, high = (np.take_along_axis(sums, best + step, axis=-1)[..., 0] for step in (-1, 0, 1))
    bend = low - 2 * middle + high
    shift = np.divide(low - high, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    edge = np.where(low > middle, -1.0, np.where(high > middle, 1.0, np.clip(shift, -1, 1)))
    return np.exp(np.log(GRID[best[..., 0]]) + edge * np.log(GRID[1] / GRID[0]))


def log_odds(chances: FloatArray) -> FloatArray:
    """ℓ = log(p / (1 - p)), of chances nearer than 1e-6 to 0 or 1 that of 1e-6 from there."""
    inside = np.clip(chances, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def average_of(odds: FloatArray, groups: IntArray, weights: NDArray[Any]) -> FloatArray:
    """ℓ̄ (k,): the average of the log-odds of each one's group, by `weights`."""
    return (np.bincount(groups, weights * odds) / np.bincount(groups, weights))[groups]


@dataclass(frozen=True)
class Within:
    """How much of a difference in log-odds holds among the prefixes of one problem and depth, as `fit_within` finds it:
    logit P(right) = shifts[run] + level · ℓ̄ + share · (ℓ - ℓ̄). `free` is the share without its bounds; `gradients` and
    `informations` are by problem, at that, the prior among them in equal parts, for `one_step`.
    """

    share: float
    free: float
    level: float
    shifts: FloatArray
    gradients: FloatArray
    informations: FloatArray


def fit_within(seen: Observations, odds: FloatArray, run: IntArray, most: float) -> Within | None:
    """The `Within` of greatest likelihood for log-odds ℓ (k,), of a share in 0 to `most`; ℓ̄ is the average over the
    problem's prefixes at a depth, each as often as it was sampled.

    A reward that tells hard problems from easy ones and nothing of the paths of one has share 0, though its curve fits
    overall. The level is at least 0; level and share have a normal prior of mean 1 and deviation 1: where ℓ hardly
    varies, outcomes say nothing of them. None where no two prefixes of a problem and depth differ.
    """
    around = average_of(odds, levels_of(seen), seen.size)
    if np.ptp(odds - around) < 1e-9:
        return None
    runs = np.unique(run, return_inverse=True)[1]
    shifts = np.eye(int(runs.max()) + 1)[runs]
    parts = np.column_stack([around, odds - around])
    design = np.column_stack([shifts, parts])
    counts = seen.right, seen.completions, np.ones(len(seen))
    prior = np.append(np.full(shifts.shape[1], _LEAST), [1.0, 1.0])
    unbound = found, gradient, information = _newton(design, odds, *counts, prior)
    slopes, free, bounds = np.ones(2), np.ones(2, dtype=bool), np.array([np.inf, most])
    while True:
        wanted = 1 + found[shifts.shape[1] :]
        slopes[free] = np.clip(wanted, 0, bounds[free])
        if np.array_equal(slopes[free], wanted):
            break
        free[free] = slopes[free] == wanted
        chosen = np.append(np.ones(shifts.shape[1], dtype=bool), free)
        found = _newton(design[:, chosen], parts @ np.where(free, 1, slopes), *counts, prior[chosen])[0]
    number = np.unique(seen.problem, return_inverse=True)[1]
    count = int(number.max()) + 1
    gradients = _sums_by(number, gradient, count) - prior * unbound[0] / count
    informations = _sums_by(number, information, count) + np.diag(prior) / count
    level, share = slopes.tolist()
    return Within(share, 1 + float(unbound[0][-1]), level, found[: shifts.shape[1]], gradients, informations)


def _sums_by(number: IntArray, rows: FloatArray, count: int) -> FloatArray:
    """Sums of rows (k, …) by their number below `count`, (count, …)."""
    sums = np.zeros((count, *rows.shape[1:]))
    np.add.at(sums, number, rows)
    return sums


def size_effect(seen: Observations, means: FloatArray, run: IntArray) -> tuple[float, FloatArray, FloatArray] | None:
    """How a direction's size bears on its success given its members' rewards: (α, gradients, informations), the latter
    by problem, (problems, d) and (problems, d, d), at the fit, for `one_step`; α is the last of the d.

    logit P(right) = logit m + a_run + b · (mean log size of the problem's directions at this depth) + α · log size, by
    maximum likelihood, each direction counting once. The a, one a run of depths, and b take out what depths and
    problems differ by: easy problems have few directions, and large ones. So α compares directions of one problem and
    depth. None where no two of these differ in size.
    """
    known = seen.direction >= 0
    if not known.any():
        return None
    number = np.unique(seen.problem, return_inverse=True)[1]
    direction, runs = (np.unique(each[known], return_inverse=True)[1] for each in (seen.direction, run))
    logs, weights = np.log(np.bincount(direction, seen.size[known]))[direction], 1 / np.bincount(direction)[direction]
    level = levels_of(seen.take(known))
    around = (np.bincount(level, weights * logs) / np.bincount(level, weights))[level]
    design = np.column_stack([np.eye(runs.max() + 1)[runs], around, logs])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    offset = log_odds(means[known])
    least = np.full(design.shape[1], _LEAST)
    answer, gradient, information = _newton(design, offset, seen.right[known], seen.completions[known], weights, least)
    count = int(number.max()) + 1
    return float(answer[-1]), _sums_by(number[known], gradient, count), _sums_by(number[known], information, count)


def _newton(
    design: FloatArray,
    offset: FloatArray,
    right: IntArray,
    completions: IntArray,
    weights: FloatArray,
    prior: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logistic regression with an offset: the coefficients (d,), gradient (k, d) and information (k, d, d) by row.

    `prior` (d,) are the precisions of normal priors with mean 0 on the coefficients.
    """
    answer = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(offset + design @ answer)))
        gradient = design * (weights * (right - completions * chance))[:, None]
        curving = design * (weights * completions * chance * (1 - chance))[:, None]
        downhill = gradient.sum(axis=0) - prior * answer
        step = np.linalg.solve(design.T @ curving + np.diag(prior), downhill)
        longest = np.abs(step).max()
        if longest < 1e-8:
            break
        answer += step / max(1, longest)
    return answer, gradient, design[:, :, None] * curving[:, None, :]


def one_step(estimate: float, gradients: FloatArray, informations: FloatArray, drawn: FloatArray) -> FloatArray:
    """The last coefficient in each resample: `drawn` (b, problems), by one Newton step from the fit."""
    information = np.tensordot(drawn, informations, axes=1)
    steps = np.linalg.solve(information + 1e-9 * np.eye(information.shape[-1]), (drawn @ gradients)[..., None])
    return np.asarray(estimate + steps[:, -1, 0], dtype=np.float64)


def resamples(problems: int, generator: np.random.Generator, count: int = 1000) -> FloatArray:
    """How often each problem is drawn in each bootstrap resample: (count, problems)."""
    return generator.multinomial(problems, np.full(problems, 1 / problems), size=count).astype(np.float64)


def interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled estimates."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def area_under_curve(scores: FloatArray, truths: NDArray[Any], weights: FloatArray | None = None) -> float:
    """The chance that a true one scores above a false one, ties counting half; NaN where one kind is missing.

    `truths` (n,) may be shares in [0, 1]: then each entry counts as that much true and the rest false. `weights` (n,).
    """
    heavy = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    true = np.bincount(place, heavy * truths)
    false = np.bincount(place, heavy * (1 - truths))
    total = true.sum() * false.sum()
    below = np.cumsum(false) - false
    return float((true * (below + false / 2)).sum() / total) if total > 0 else float("nan")


def calibration_error(scores: FloatArray, truths: NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error: over equal bins of the score, the mean gap between score and truth, by size."""
    gaps = [abs(float((scores - truths)[inside].sum())) for inside in score_bins(scores, bins)]
    return sum(gaps) / len(scores)


def score_bins(scores: FloatArray, bins: int = 10) -> Iterator[BoolArray]:
    """Which scores (n,) fall in each of so many equal bins of [0, 1]; 1 falls in the last."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    yield from (place == one for one in range(bins))
