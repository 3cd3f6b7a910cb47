"""Fitting a calibration on completed prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from rollwise.calibration.estimators import (
    SMALLEST_CORRELATION,
    Curve,
    area_under_curve,
    average_of,
    calibration_error,
    concentration_of,
    fit_within,
    held_out_means,
    interval,
    likelihood_sums,
    log_odds,
    mean_curve,
    moment_sums,
    most_likely,
    one_step,
    resamples,
    score_bins,
    sharing_sums,
    size_effect,
)
from rollwise.calibration.observations import Observations, depth_runs, levels_of
from rollwise.calibration.record import Bin, Calibration, DepthFit, Ended, Estimate, Method, Reliability, Source, Within
from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator

NOTHING_KNOWN = Source()


def calibrate(
    seen: Observations,
    source: Source = NOTHING_KNOWN,
    least: int = 100,
    method: Method = "likelihood",
    seed: int = 0,
    ended: Observations | None = None,
) -> Calibration:
    """Fit a Calibration on completed prefixes; those of finished solutions come apart, as `ended`.

    By runs of depths that hold at least `least` prefixes of 10 problems (fewer where there are fewer): the mean by
    isotonic regression, κ by moments, ρ̂ = Σ[(c - nm)² - nm(1 - m)] / Σ[n(n - 1)m(1 - m)], κ = 1 / ρ̂ - 1, and by
    beta-binomial likelihood, both with means fitted on other problems; what holds within a problem by logistic
    regression, as for finished solutions, and all after it with means drawn in accordingly; the correlation from
    products of residuals in a direction; α by logistic regression on log size. `method` says which κ a belief takes.
    Intervals resample the problems, keyed by `seed`; the means are not fitted anew. Raises InputError where there is
    nothing to fit κ on.
    """
    problems = len(np.unique(seen.problem))
    if problems < 2:
        raise InputError(f"{problems} problems tell nothing of others: complete prefixes of several, at best dozens")
    if not np.any(seen.completions >= 2):
        raise InputError(
            "κ needs at least 2 completions of a prefix, better 8: make the prefixes again with more completions, e.g. "
            "rollwise world rollouts --completions 8"
        )
    seen = seen.take(seen.completions >= 2)
    runs = depth_runs(seen, min(least, len(seen)), min(10, problems))
    run = np.searchsorted([first for first, _ in runs], seen.depth, side="right") - 1
    means = np.empty(len(seen))
    for index in range(len(runs)):
        means[run == index] = held_out_means(seen.take(run == index))
    drawn = resamples(problems, keyed_generator(seed, "calibration"))
    odds = log_odds(means)
    within = _within(seen, odds, run, drawn, 1.0)
    if within is not None:
        means = within.chances(odds, average_of(odds, levels_of(seen), seen.size), run)
    shared = sharing_sums(seen, means)
    fits = tuple(_fit_depth(seen, means, run == index, runs[index], drawn, method) for index in range(len(runs)))
    truths = seen.right / seen.completions
    return Calibration(
        depths=fits,
        method=method,
        within=within,
        ended=None if ended is None else _ended(ended, seed),
        correlation=_correlation(shared[:, 0], shared[:, 1], drawn, SMALLEST_CORRELATION),
        correlation_across=_correlation(shared[:, 2], shared[:, 3], drawn, -1.0),
        size_exponent=_size_exponent(seen, means, run, drawn),
        before=_reliability(seen.reward, truths, seen.completions),
        after=_reliability(means, truths, seen.completions),
        source=source,
    )


def _by_problem(
    sums_of: Callable[[Observations, FloatArray], FloatArray], seen: Observations, means: FloatArray, inside: BoolArray
) -> FloatArray:
    """Sums of some prefixes, with a row of zeros for each problem that has none among them."""
    names = np.unique(seen.problem)
    some = sums_of(seen.take(inside), means[inside])
    result = np.zeros((len(names), some.shape[1]))
    result[np.isin(names, seen.problem[inside])] = some
    return result


def _fit_depth(
    seen: Observations,
    means: FloatArray,
    inside: BoolArray,
    depths: tuple[int, int],
    drawn: FloatArray,
    method: Method,
) -> DepthFit:
    here = seen.take(inside)
    likely, sums = (_by_problem(each, seen, means, inside) for each in (likelihood_sums, moment_sums))
    excess, scale = sums.T
    moments = _estimate(
        float(concentration_of(excess.sum(), scale.sum())), concentration_of(drawn @ excess, drawn @ scale)
    )
    likelihood = _estimate(float(most_likely(likely.sum(axis=0))), most_likely(drawn @ likely))
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
    """A correlation from its sums by problem (problems,); None where there are no pairs whose chances vary."""
    if squares.sum() <= 0:
        return None
    reach = drawn @ squares
    resampled = (drawn @ products)[reach > 0] / reach[reach > 0]
    return _estimate(float(np.clip(products.sum() / squares.sum(), least, 1)), np.clip(resampled, least, 1))


def _within(seen: Observations, odds: FloatArray, run: IntArray, drawn: FloatArray, most: float) -> Within | None:
    """What holds within a problem: a share up to `most`, or none where the interval of an estimate reaches 0, since
    rollouts or votes that follow noise lose more than a little knowledge unused is worth.
    """
    found = fit_within(seen, odds, run, most)
    if found is None:
        return None
    resampled = one_step(found.free, found.gradients, found.informations, drawn)
    share = _estimate(found.share, np.clip(resampled, 0, most))
    if share.low == 0:
        found = fit_within(seen, odds, run, 0.0) or found
        share = replace(share, value=0.0)
    return Within(share, _rounded((found.level,))[0], _rounded(found.shifts.tolist()))


def _ended(seen: Observations, seed: int) -> Ended | None:
    """Of finished solutions, each as often as it was sampled; None where they are of one problem or all alike."""
    problems = len(np.unique(seen.problem))
    if problems < 2:
        return None
    drawn = resamples(problems, keyed_generator(seed, "ended"))
    within = _within(seen, log_odds(seen.reward), np.zeros(len(seen), dtype=np.int64), drawn, np.inf)
    return None if within is None else Ended(int(seen.completions.sum()), problems, within)


def _size_exponent(seen: Observations, means: FloatArray, run: IntArray, drawn: FloatArray) -> Estimate | None:
    found = size_effect(seen, means, run)
    return None if found is None else _estimate(found[0], one_step(*found, drawn))


def _estimate(value: float, resampled: FloatArray) -> Estimate:
    return Estimate(*_rounded((value, *interval(resampled))))


def _reliability(scores: FloatArray, truths: FloatArray, completions: IntArray) -> Reliability:
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
    """The curve with rounded knots, of those that become equal the last; no chance is rounded to 0 or 1."""
    knots = dict(
        zip(_rounded(curve.rewards), _rounded([min(max(mean, 1e-6), 1 - 1e-6) for mean in curve.means]), strict=True)
    )
    return Curve(tuple(knots), tuple(knots.values()))


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    """To six significant digits, so that files stay small."""
    return tuple(float(f"{value:.6g}") for value in values)
