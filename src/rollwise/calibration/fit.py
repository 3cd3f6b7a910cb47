"""Fits a calibration on completed prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from rollwise.calibration.estimators import (
    SMALLEST_CORRELATION,
    Curve,
    area_under_curve,
    bootstrap_counts,
    calibration_error,
    concentration_of,
    held_out_means,
    likelihood_sums,
    mean_curve,
    moment_sums,
    most_likely_concentration,
    percentile_interval,
    score_bins,
    sharing_sums,
)
from rollwise.calibration.observations import Observations, depth_runs, levels_of
from rollwise.calibration.record import Bin, Calibration, DepthFit, Ended, Estimate, Method, Reliability, Source, Within
from rollwise.calibration.regression import fit_within, group_average, log_odds, one_newton_step, size_effect
from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator

NOTHING_KNOWN = Source()
PROBLEMS_PER_RUN = 10
"""How many problems a run of depths should hold prefixes of."""


def calibrate(
    observed: Observations,
    source: Source = NOTHING_KNOWN,
    least: int = 100,
    method: Method = "likelihood",
    seed: int = 0,
    ended: Observations | None = None,
) -> Calibration:
    """The Calibration fitted on completed prefixes; finished solutions are given apart, as `ended`.

    Depths are fitted in runs that hold at least `least` prefixes of PROBLEMS_PER_RUN problems, or all there are. The
    steps, each of which uses means fitted on other problems (`held_out_means`):

    1. the mean, by isotonic regression (`mean_curve`);
    2. how much holds within a problem, by logistic regression (`fit_within`); the next steps use the means that result;
    3. κ by moments, ρ̂ = Σ[(c - nm)² - nm(1 - m)] / Σ[n(n - 1)m(1 - m)] and κ = 1 / ρ̂ - 1, and κ by beta-binomial
       likelihood; `method` chooses the κ that beliefs use;
    4. the correlation, from products of residuals in a direction (`sharing_sums`);
    5. α, by logistic regression on the log size of directions (`size_effect`);
    6. the share that holds among finished solutions, as in step 2.

    Intervals resample the problems, keyed by `seed`, without fitting the means again. Raises InputError if κ cannot be
    fitted: there are fewer than 2 problems, or no prefix has 2 completions.
    """
    observed = _with_repeated_completions(observed)
    problems = len(np.unique(observed.problem))
    runs = depth_runs(observed, min(least, len(observed)), min(PROBLEMS_PER_RUN, problems))
    run = np.searchsorted([first for first, _ in runs], observed.depth, side="right") - 1
    means = np.empty(len(observed))
    for index in range(len(runs)):
        means[run == index] = held_out_means(observed.take(run == index))
    drawn = bootstrap_counts(problems, keyed_generator(seed, "calibration"))
    odds = log_odds(means)
    within = _within(observed, odds, run, drawn, 1.0)
    if within is not None:
        means = within.chances(odds, group_average(odds, levels_of(observed), observed.size), run)
    shared = sharing_sums(observed, means)
    truths = observed.right / observed.completions
    return Calibration(
        depths=tuple(
            _fit_depth(observed, means, run == index, runs[index], drawn, method) for index in range(len(runs))
        ),
        method=method,
        within=within,
        ended=None if ended is None else _ended(ended, seed),
        correlation=_correlation(shared[:, 0], shared[:, 1], drawn, SMALLEST_CORRELATION),
        correlation_across=_correlation(shared[:, 2], shared[:, 3], drawn, -1.0),
        size_exponent=_size_exponent(observed, means, run, drawn),
        before=_reliability(observed.reward, truths, observed.completions),
        after=_reliability(means, truths, observed.completions),
        source=source,
    )


def _with_repeated_completions(observed: Observations) -> Observations:
    """The prefixes with at least 2 completions. Raises InputError if they belong to fewer than 2 problems."""
    repeated = observed.take(observed.completions >= 2)
    if not len(repeated):
        raise InputError(
            "κ needs at least 2 completions of a prefix, better 8: make the prefixes again with more completions, e.g. "
            "rollwise world rollouts --completions 8"
        )
    problems = len(np.unique(repeated.problem))
    if problems < 2:
        raise InputError(
            f"the prefixes with 2 completions or more belong to {problems} problem, which says nothing about others: "
            "complete prefixes of several problems, at best dozens"
        )
    return repeated


def _by_problem(
    sums_of: Callable[[Observations, FloatArray], FloatArray],
    observed: Observations,
    means: FloatArray,
    inside: BoolArray,
) -> FloatArray:
    """The sums of the prefixes `inside`, a row per problem; zeros for a problem that has none of them."""
    problems = np.unique(observed.problem)
    sums = sums_of(observed.take(inside), means[inside])
    result = np.zeros((len(problems), sums.shape[1]))
    result[np.isin(problems, observed.problem[inside])] = sums
    return result


def _fit_depth(
    observed: Observations,
    means: FloatArray,
    inside: BoolArray,
    depths: tuple[int, int],
    drawn: FloatArray,
    method: Method,
) -> DepthFit:
    """The fit of the prefixes `inside`, whose depths are `depths` (first, last)."""
    here = observed.take(inside)
    log_likelihoods = _by_problem(likelihood_sums, observed, means, inside)
    excess, scale = _by_problem(moment_sums, observed, means, inside).T
    moments = _estimate(
        float(concentration_of(excess.sum(), scale.sum())), concentration_of(drawn @ excess, drawn @ scale)
    )
    likelihood = _estimate(
        float(most_likely_concentration(log_likelihoods.sum(axis=0))),
        most_likely_concentration(drawn @ log_likelihoods),
    )
    return DepthFit(
        first=depths[0],
        last=depths[1],
        prefixes=len(here),
        problems=len(np.unique(here.problem)),
        curve=_rounded_curve(mean_curve(here)),
        concentration=(moments if method == "moments" else likelihood).value,
        moments=moments,
        likelihood=likelihood,
    )


def _correlation(products: FloatArray, squares: FloatArray, drawn: FloatArray, least: float) -> Estimate | None:
    """A correlation from its sums by problem (problems,), at least `least`; None if no pairs have chances that vary."""
    if squares.sum() <= 0:
        return None
    resampled_squares = drawn @ squares
    usable = resampled_squares > 0
    resampled = (drawn @ products)[usable] / resampled_squares[usable]
    return _estimate(float(np.clip(products.sum() / squares.sum(), least, 1)), np.clip(resampled, least, 1))


def _within(observed: Observations, odds: FloatArray, run: IntArray, drawn: FloatArray, most: float) -> Within | None:
    """What holds within a problem, a share up to `most`; None if nothing varies within a problem.

    The share is 0 if the interval of its estimate reaches 0. Rollouts or votes that follow noise lose more than a
    little unused knowledge costs.
    """
    fitted = fit_within(observed, odds, run, most)
    if fitted is None:
        return None
    resampled = one_newton_step(fitted.free, fitted.gradients, fitted.informations, drawn)
    share = _estimate(fitted.share, np.clip(resampled, 0, most))
    if share.low == 0:
        fitted = fit_within(observed, odds, run, 0.0) or fitted
        share = replace(share, value=0.0)
    return Within(share, _rounded((fitted.level,))[0], _rounded(fitted.shifts.tolist()))


def _ended(observed: Observations, seed: int) -> Ended | None:
    """The fit of finished solutions, each counted as often as it was sampled.

    None if they belong to fewer than 2 problems, or if the rewards of each problem are all the same.
    """
    problems = len(np.unique(observed.problem))
    if problems < 2:
        return None
    drawn = bootstrap_counts(problems, keyed_generator(seed, "ended"))
    single_run = np.zeros(len(observed), dtype=np.int64)
    within = _within(observed, log_odds(observed.reward), single_run, drawn, np.inf)
    return None if within is None else Ended(int(observed.completions.sum()), problems, within)


def _size_exponent(observed: Observations, means: FloatArray, run: IntArray, drawn: FloatArray) -> Estimate | None:
    effect = size_effect(observed, means, run)
    return None if effect is None else _estimate(effect.exponent, one_newton_step(*effect, drawn))


def _estimate(value: float, resampled: FloatArray) -> Estimate:
    return Estimate(*_rounded((value, *percentile_interval(resampled))))


def _reliability(scores: FloatArray, truths: FloatArray, completions: IntArray) -> Reliability:
    """How well scores (k,) agree with the shares `truths` (k,) of right completions.

    The Brier score of a completion is (s - t)² + t(1 - t) for a prefix with score s and share t.
    """
    squares = (scores - truths) ** 2 + truths * (1 - truths)
    area = area_under_curve(scores, truths, completions.astype(np.float64))
    bins = tuple(
        Bin(int(inside.sum()), *_rounded((scores[inside].mean(), truths[inside].mean())))
        for inside in score_bins(scores)
        if inside.any()
    )
    error, brier = _rounded((calibration_error(scores, truths), np.average(squares, weights=completions)))
    return Reliability(error, None if np.isnan(area) else _rounded((area,))[0], brier, bins)


def _rounded_curve(curve: Curve) -> Curve:
    """The curve with rounded knots. Of knots that become equal the last stays, and no chance is rounded to 0 or 1."""
    means = _rounded([min(max(mean, 1e-6), 1 - 1e-6) for mean in curve.means])
    mean_of_knot = dict(zip(_rounded(curve.rewards), means, strict=True))
    return Curve(tuple(mean_of_knot), tuple(mean_of_knot.values()))


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    """The values with six significant digits, which keeps files small."""
    return tuple(float(f"{value:.6g}") for value in values)
