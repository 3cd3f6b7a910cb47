"""Calibrations: truths recovered from simulated prefixes, sums against loops, and beliefs in files and searches."""

import functools
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import betabinom
from typer.testing import CliRunner

import rollwise
from rollwise.allocation.optimal import OptimalDirectionsOptions, optimal_directions
from rollwise.bench.run import begin, resume
from rollwise.calibration.estimators import (
    LARGEST_CONCENTRATION,
    SMALLEST_CORRELATION,
    concentration_of,
    held_out_means,
    isotonic,
    likelihood_sums,
    mean_curve,
    moment_sums,
    most_likely_concentration,
    sharing_sums,
)
from rollwise.calibration.file import read_belief
from rollwise.calibration.fit import calibrate
from rollwise.calibration.observations import Observations, depth_runs
from rollwise.calibration.prefixes import load_prefixes, prefix_source
from rollwise.calibration.record import Calibration, Estimate, Source, Within, remarks_on
from rollwise.calibration.regression import fit_within, size_effect
from rollwise.calibration.scoring import observe_prefixes, recorded_rewards
from rollwise.cli import build_app
from rollwise.core import Belief, Candidates, Directions, FloatArray
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.numerics import keyed_generator
from rollwise.report.beliefs import belief_notes
from rollwise.search.config import Config
from rollwise.search.events import Allocated
from rollwise.search.parts import belief_file, settled
from rollwise.search.records import event_records
from rollwise.search.runner import Runner, run_to_end


def simulated(
    concentration: float,
    correlation: float = 1.0,
    exponent: float = 0.0,
    directions: int = 20,
    members: int = 1,
    seed: int = 0,
    problems: int = 60,
    completions: int = 16,
) -> tuple[Observations, FloatArray]:
    """Prefixes of one depth and their true means: p_j ~ Beta(κ_j m, κ_j(1 - m)) for a direction, κ_j + 1 = (κ + 1) / ρ,
    p_i ~ Beta(τp_j, τ(1 - p_j)) for its members, τ = κ / (1 - ρ), and binomial counts.
    """
    draw = keyed_generator("simulated", concentration, correlation, exponent, seed)
    count = problems * directions
    rewards, sizes = draw.uniform(0, 1, count), draw.geometric(0.3, count) + members - 1
    means = 0.05 + 0.85 * rewards**1.5
    spread = exponent * (np.log(sizes) - np.log(sizes).mean())
    means = means * np.exp(spread) / (1 - means + means * np.exp(spread))
    common = (concentration + 1) / correlation - 1
    chances = np.repeat(draw.beta(common * means, common * (1 - means)), members)
    if correlation < 1:
        own = concentration / (1 - correlation)
        chances = draw.beta(np.maximum(own * chances, 1e-12), np.maximum(own * (1 - chances), 1e-12))
    paths = np.ones(count * members, dtype=np.int64)
    paths[::members] += sizes - members
    observed = Observations(
        reward=np.repeat(rewards, members),
        depth=np.ones(len(paths), dtype=np.int64),
        right=draw.binomial(completions, chances),
        completions=np.full(len(paths), completions),
        problem=np.repeat(np.arange(count) // directions, members),
        direction=np.repeat(np.arange(count), members),
        size=paths,
    )
    return observed, np.repeat(means, members)


def contains(estimate: Estimate | None, truth: float) -> bool:
    """Whether the interval of an estimate contains the truth."""
    assert estimate is not None
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.low <= truth <= estimate.high


SEEDS = range(6)


def test_known_concentrations_are_recovered_within_their_intervals() -> None:
    """Over 160 such simulations, 94 % of the intervals by moments and 90 % of those by likelihood contain the truth.

    The share is below 95 % because the intervals take the means as known.
    """
    covered = {"moments": 0, "likelihood": 0}
    for truth in (0.5, 2.0, 8.0, 30.0):
        fits = [calibrate(simulated(truth, seed=seed)[0]).depths[0] for seed in range(12)]
        assert all(fit.concentration == fit.likelihood.value for fit in fits)
        for name in covered:
            estimates = [getattr(fit, name) for fit in fits]
            assert np.median([estimate.value for estimate in estimates]) == pytest.approx(truth, rel=0.15)
            covered[name] += sum(contains(estimate, truth) for estimate in estimates)
    assert min(covered.values()) >= 0.75 * 48


def test_the_method_chooses_the_concentration_in_use() -> None:
    by_moments = calibrate(simulated(8)[0], method="moments").depths[0]
    by_likelihood = calibrate(simulated(8)[0], method="likelihood").depths[0]
    assert by_moments.concentration == by_moments.moments.value == by_likelihood.moments.value
    assert by_likelihood.concentration == by_likelihood.likelihood.value != by_moments.concentration


@pytest.mark.parametrize("truth", [0.2, 0.6, 1.0])
def test_the_correlation_within_directions_is_recovered_and_across_directions_it_is_0(truth: float) -> None:
    made = [calibrate(simulated(4, truth, directions=8, members=4, seed=seed)[0]) for seed in SEEDS]
    values = [calibration.correlation.value for calibration in made if calibration.correlation]
    assert np.mean(values) == pytest.approx(truth, abs=0.04)
    assert sum(contains(calibration.correlation, truth) for calibration in made) >= 5
    assert sum(contains(calibration.correlation_across, 0.0) for calibration in made) >= 5


def test_the_correlation_of_shared_chances_is_1_even_if_crowded_directions_have_smaller_errors() -> None:
    """Each prefix counts once, however many others its direction has."""
    crowds, _ = simulated(200, directions=4, members=30, seed=1)
    lone, _ = simulated(1, directions=30, members=2, seed=2)
    both = Observations(
        **{
            name: np.concatenate([getattr(crowds, name), getattr(lone, name) + (10_000 if name == "direction" else 0)])
            for name in Observations.__dataclass_fields__
        }
    )
    found = calibrate(both).correlation
    assert found is not None
    assert found.value == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("truth", [-0.4, 0.0, 0.6])
def test_the_exponent_of_size_is_recovered(truth: float) -> None:
    exponents = [calibrate(simulated(4, 0.7, truth, 8, 3, seed, problems=150)[0]).size_exponent for seed in SEEDS]
    assert np.mean([exponent.value for exponent in exponents if exponent]) == pytest.approx(truth, abs=0.08)
    assert sum(contains(exponent, truth) for exponent in exponents) >= 5


def test_large_directions_of_easy_problems_do_not_affect_the_size_exponent() -> None:
    observed, means = simulated(4, 0.7, 0.0, 8, 3, problems=150)
    easy = np.bincount(observed.problem, observed.right - 16 * means)[observed.problem] > 0
    confounded = replace(observed, size=np.where(easy, 10 * observed.size, observed.size))
    single_run = np.zeros(len(observed), dtype=np.int64)
    with_confounder, plain = (size_effect(each, means, single_run) for each in (confounded, observed))
    assert with_confounder is not None
    assert plain is not None
    assert with_confounder.exponent == pytest.approx(plain.exponent, abs=0.05)
    assert contains(calibrate(confounded).size_exponent, 0.0)


def within_fields(share: float, *shifts: float) -> dict[str, Any]:
    return {"share": {"value": share, "low": 0.0, "high": 2.0}, "level": 1.0, "shifts": list(shifts)}


def of_problems(share: float, seed: int, problems: int = 150, members: int = 12) -> Observations:
    """Prefixes whose log-odds are those of their problem plus `share` times the rest of their reward's log-odds."""
    draw = keyed_generator("within", share, seed)
    hard, own = draw.normal(-1, 1, (problems, 1)), draw.normal(0, 1, (problems, members))
    right = draw.binomial(16, expit(hard + share * (own - own.mean(axis=1, keepdims=True))))
    count = problems * members
    return Observations(
        reward=expit(hard + own).ravel(),
        depth=np.ones(count, dtype=np.int64),
        right=right.ravel(),
        completions=np.full(count, 16),
        problem=np.repeat(np.arange(problems), members),
        direction=np.arange(count),
        size=np.ones(count, dtype=np.int64),
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_within_corrects_a_curve_that_mixes_differences_between_problems_and_between_paths(
    share: float,
) -> None:
    """The curve alone exaggerates the differences between the paths of a problem; `within` corrects this."""
    errors: dict[str, list[float]] = {"pooled": [], "adjusted": []}
    for seed in SEEDS:
        observed = of_problems(share, seed)
        made = calibrate(observed)
        for name, each in (("pooled", replace(made, within=None)), ("adjusted", made)):
            believed = [
                logit(each.belief(observed.reward[rows], observed.depth[rows]).mean) for rows in by_problem(observed)
            ]
            truth = [share * logit(observed.reward[rows]) for rows in by_problem(observed)]
            slopes = [np.polyfit(t - t.mean(), odds, 1)[0] for odds, t in zip(believed, truth, strict=True) if share]
            spreads = [float(np.std(odds)) for odds in believed]
            errors[name].append(abs(np.mean(slopes) - 1) if share else float(np.mean(spreads)))
    assert np.mean(errors["adjusted"]) < 0.12
    assert share == 1 or np.mean(errors["adjusted"]) < 0.5 * np.mean(errors["pooled"])


def by_problem(observed: Observations) -> list[Any]:
    """For each problem, which rows belong to it."""
    return [observed.problem == problem for problem in np.unique(observed.problem)]


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_the_slope_within_problems_agrees_with_another_optimiser(share: float) -> None:
    """Two depths form two runs, and some prefixes were sampled several times."""
    observed = of_problems(share, 0, problems=30)
    draw = keyed_generator("sizes")
    observed = replace(observed, depth=draw.integers(1, 3, len(observed)), size=draw.integers(1, 5, len(observed)))
    run = observed.depth - 1
    means = held_out_means(observed)
    odds = logit(means)
    found = fit_within(observed, odds, run, 1.0)
    assert found is not None
    level = [(observed.problem == observed.problem[row]) & (run == run[row]) for row in range(len(observed))]
    around = np.array([np.average(odds[rows], weights=observed.size[rows]) for rows in level])

    def loss(x: FloatArray) -> float:
        fitted_odds = x[run] + x[2] * around + x[3] * (odds - around)
        prior = ((x[2:] - 1) ** 2).sum() / 2
        return float((np.logaddexp(0, fitted_odds) * observed.completions - observed.right * fitted_odds).sum()) + prior

    def with_share(most: float, x: FloatArray) -> float:
        return loss(np.append(x, most))

    best = minimize(loss, [0.0, 0.0, 1.0, 1.0], tol=1e-10).x
    np.testing.assert_allclose([*found.shifts, found.level, found.share], best, atol=1e-3)
    for most in (share / 2, share / 3):
        bound = fit_within(observed, odds, run, most)
        assert bound is not None
        assert bound.share == most
        rest = minimize(functools.partial(with_share, most), [0.0, 0.0, 1.0], tol=1e-10).x
        np.testing.assert_allclose([*bound.shifts, bound.level], rest, atol=1e-3)


def test_the_share_is_0_if_its_interval_reaches_0() -> None:
    """Noise has a positive estimate in half of all draws; a reward that predicts little needs many problems."""
    for seed in range(12):
        made = calibrate(of_problems(0.0, seed, problems=60))
        belief = made.belief(np.array([0.1, 0.5, 0.9]), np.ones(3, dtype=np.int64))
        assert made.within is not None
        assert made.within.share.low == 0
        assert np.ptp(belief.mean) == made.within.share.value == 0
    few, many = (calibrate(of_problems(0.06, 1, problems=problems)).within for problems in (8, 400))
    assert few is not None
    assert many is not None
    assert few.share.value == 0 < few.share.high
    assert 0 < many.share.low < many.share.value


def test_intervals_of_the_share_within_a_problem_contain_the_slope_of_many_problems() -> None:
    many = calibrate(of_problems(0.4, 99, problems=2000)).within
    assert many is not None
    fits = [calibrate(of_problems(0.4, seed)).within for seed in range(10)]
    assert sum(within is not None and contains(within.share, many.share.value) for within in fits) >= 8


@pytest.mark.parametrize("apart", ["the reward separates all outcomes", "all end right at one depth"])
def test_perfectly_separable_outcomes_are_fitted_too(apart: str) -> None:
    observed = of_problems(1.0, 0, problems=30)
    if apart.startswith("the reward"):
        observed = replace(observed, right=np.where(observed.reward > 0.5, 16, 0))
    else:
        observed = replace(observed, depth=1 + observed.direction % 2)
        observed = replace(observed, right=np.where(observed.depth == 2, 16, observed.right))
    made = calibrate(observed)
    belief = made.belief(np.array([0.1, 0.9]), np.array([1, 1]))
    assert np.isfinite(belief.mean).all()
    assert belief.mean[0] < belief.mean[1]


def test_beliefs_about_one_candidate_and_about_none() -> None:
    made = fitted(within=Within(Estimate(0.3, 0, 1), 0.8, (0.5, 0.0)))
    mean = made.belief(np.array([0.4]), np.array([2])).mean
    np.testing.assert_allclose(logit(mean), 0.5 + 0.8 * logit(made.depths[0].curve(np.array([0.4]))))
    assert len(made.belief(np.empty(0), np.empty(0, dtype=np.int64)).mean) == 0


def test_within_is_none_if_all_rewards_of_each_problem_are_equal() -> None:
    observed = of_problems(0.5, 1, problems=30)
    equal = replace(observed, reward=np.repeat(observed.reward[::12], 12))
    assert calibrate(equal).within is None


def test_the_level_of_the_adjusted_chances_is_calibrated_too() -> None:
    """Chances agree with outcomes although only 4 tenths of the reward's differences within a problem hold."""
    observed = of_problems(0.4, 5, problems=400)
    made = calibrate(observed)
    assert made.after.error < 0.015
    means = np.concatenate(
        [made.belief(observed.reward[rows], observed.depth[rows]).mean for rows in by_problem(observed)]
    )
    for low in (0.0, 0.25, 0.5, 0.75):
        here = (means >= low) & (means < low + 0.25)
        assert means[here].mean() == pytest.approx((observed.right / 16)[here].mean(), abs=0.02)


def finished(share: float, seed: int = 0, problems: int = 200, paths: int = 16) -> Observations:
    """Finished solutions whose log-odds are half their problem's plus `share` times the rest of their reward's."""
    observed = of_problems(share, seed, problems, paths)
    draw = keyed_generator("finished", share, seed)
    odds = logit(observed.reward).reshape(problems, paths)
    hard = odds.mean(axis=1, keepdims=True)
    right = draw.random(odds.shape) < expit(0.5 * hard + share * (odds - hard))
    ones = np.ones(len(observed), dtype=np.int64)
    return replace(observed, depth=0 * ones, right=right.ravel().astype(np.int64), completions=ones)


def voting(share: float = 1.0, seed: int = 0) -> Calibration:
    return calibrate(of_problems(0.5, seed, problems=30), ended=finished(share, seed))


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_ended_recovers_how_much_of_the_reward_holds_among_the_answers_to_one_question(share: float) -> None:
    made = voting(share).ended
    assert made is not None
    assert (made.solutions, made.problems) == (3200, 200)
    assert made.within.share.value == pytest.approx(share, abs=0.15)
    assert contains(made.within.share, made.within.share.value)
    few = calibrate(of_problems(0.5, 0, problems=30), ended=finished(share, 3, 6, 5)).ended
    assert few is not None
    assert contains(few.within.share, few.within.share.value)
    assert made.within.level == pytest.approx(0.5, abs=0.15)
    rewards = np.array([0.2, 0.4, 0.6, 0.8])
    odds = logit(made.chances(rewards))
    np.testing.assert_allclose(np.diff(odds), made.within.share.value * np.diff(logit(rewards)), atol=1e-9)
    np.testing.assert_allclose(odds.mean(), made.within.shifts[0] + made.within.level * logit(rewards).mean())
    assert made.chances(np.array([0.0, 1.0])) == pytest.approx(np.clip(made.chances(np.array([0.0, 1.0])), 0, 1))
    assert len(made.chances(np.empty(0))) == 0


def test_an_inverted_reward_does_not_affect_a_vote() -> None:
    observed = finished(1.0)
    inverted = replace(observed, reward=1 - observed.reward)
    made = calibrate(of_problems(0.5, 0, problems=30), ended=inverted).ended
    assert made is not None
    assert made.within.share.value == 0
    assert made.within.share.low == made.within.share.high == 0
    assert np.ptp(made.chances(np.array([0.1, 0.5, 0.99]))) < 1e-12
    chances = np.concatenate([made.chances(inverted.reward[rows]) for rows in by_problem(inverted)])
    assert chances.mean() == pytest.approx(observed.right.mean(), abs=0.01)
    assert calibrate(of_problems(0.5, 0, problems=30), ended=observed.take(observed.problem == 0)).ended is None


def test_means_are_recovered_and_calibrated() -> None:
    observed, means = simulated(8, problems=200)
    assert np.abs(held_out_means(observed) - means).mean() < 0.02
    made = calibrate(observed)
    gap = float(np.abs(observed.reward - means).mean())
    assert made.before.error == pytest.approx(gap, abs=0.02)
    assert made.after.error < 0.015
    assert made.after.brier < made.before.brier
    assert sum(each.prefixes for each in made.before.bins) == len(observed)


def test_held_out_means_remove_the_bias_of_the_concentration() -> None:
    """The true κ is 30. Means fitted on the same prefixes make it larger, and means off by 0.05 make it smaller."""
    found = []
    for seed in SEEDS:
        observed, true = simulated(30, seed=seed)
        held_out, own = held_out_means(observed), mean_curve(observed)(observed.reward)
        found.append(
            [concentration_of(*moment_sums(observed, m).sum(axis=0)) for m in (true, held_out, own, true + 0.05)]
        )
    exact, held_out, own, off = np.median(found, axis=0)
    assert exact == pytest.approx(30, rel=0.1)
    assert held_out == pytest.approx(30, rel=0.15)
    assert own > 33
    assert off < 24


def test_prefixes_that_differ_less_than_chance_have_the_largest_concentration() -> None:
    observed, _ = simulated(8)
    even = replace(observed, right=np.full(len(observed), 8))
    fit = calibrate(even).depths[0]
    assert fit.moments == Estimate(LARGEST_CONCENTRATION, LARGEST_CONCENTRATION, LARGEST_CONCENTRATION)
    assert fit.concentration == pytest.approx(LARGEST_CONCENTRATION)
    assert any("differ no more than by chance" in note for note in belief_notes(calibrate(even)))
    concentrations = concentration_of(np.array([-1.0, 0.0, 5.0]), np.array([10.0, 0.0, 10.0]))
    assert concentrations.tolist() == [LARGEST_CONCENTRATION, LARGEST_CONCENTRATION, 1.0]


def pooled(scores: Sequence[float], truths: Sequence[float], weights: Sequence[float]) -> dict[float, float]:
    """Pool adjacent violators, merge by merge."""
    pools: list[tuple[float, float, list[float]]] = []
    for score in sorted(set(scores)):
        rows = [(t, w) for s, t, w in zip(scores, truths, weights, strict=True) if s == score]
        weight = sum(w for _, w in rows)
        pools.append((sum(t * w for t, w in rows) / weight, weight, [score]))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (a, u, low), (b, v, high) = pools[-2:]
            pools[-2:] = [((a * u + b * v) / (u + v), u + v, low + high)]
    return {score: mean for mean, _, many in pools for score in many}


ROWS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=12)


@given(ROWS)
def test_isotonic_pools_adjacent_violators(rows: list[tuple[int, int, int]]) -> None:
    scores, truths, weights = np.array(rows, dtype=np.float64).T
    expected = pooled(scores.tolist(), (truths / 4).tolist(), weights.tolist())
    curve = isotonic(scores, truths / 4, weights)
    assert curve(np.array(list(expected))) == pytest.approx(list(expected.values()), abs=1e-12)


@given(ROWS, st.floats(0.1, 10))
def test_with_a_prior_no_chance_is_certain_and_the_curve_never_falls(
    rows: list[tuple[int, int, int]], prior: float
) -> None:
    scores, truths, weights = np.array(rows, dtype=np.float64).T
    curve = isotonic(scores / 8, truths / 4, weights, prior)
    values = curve(np.linspace(-1, 2, 61))
    assert np.all(np.diff(values) >= -1e-12)
    assert 0 < values.min() <= values.max() < 1
    assert set(curve.rewards) <= set((scores / 8).tolist())


def test_a_prior_draws_a_pool_towards_the_overall_share_by_its_weight() -> None:
    scores, truths = np.array([0.1, 0.2, 0.9]), np.array([0.5, 0.0, 1.0])
    curve = isotonic(scores, truths, np.full(3, 16.0), prior=4.0)
    overall = 24.5 / 49
    low, high = (8 + 4 * overall) / 36, (16 + 4 * overall) / 20
    assert curve.rewards == (0.1, 0.2, 0.9)
    assert curve.means == pytest.approx((low, low, high))
    assert curve(np.array([0.0, 0.15, 0.55, 1.0])) == pytest.approx([low, low, (low + high) / 2, high])


small = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(-1, 2), st.integers(0, 6), st.floats(0.1, 0.9)),
    min_size=2,
    max_size=14,
)


def few(rows: Sequence[tuple[int, int, int, int, float]]) -> tuple[Observations, FloatArray]:
    """Observations from rows of (problem, depth, direction within problem and depth, right of 6, mean)."""
    problem, depth, label, right, means = (np.array(column) for column in zip(*rows, strict=True))
    direction = np.where(label < 0, -1, (problem * 3 + depth) * 3 + label)
    six, size = np.full(len(rows), 6), 1 + np.arange(len(rows)) % 4
    return Observations(means, depth, right, six, problem, direction, size), means.astype(np.float64)


@given(small)
def test_sums_agree_with_loops_over_pairs(rows: list[tuple[int, int, int, int, float]]) -> None:
    observed, means = few(rows)
    count = range(len(rows))
    e = [int(observed.right[i]) / 6 - means[i] for i in count]
    u = [int(c) * (int(c) - 1) / 30 - 2 * m * int(c) / 6 + m * m for c, m in zip(observed.right, means, strict=True)]
    expected = np.zeros(4)
    for i in count:
        for place, same in ((0, True), (2, False)):
            others = [
                e[j]
                for j in count
                if j != i
                and min(observed.direction[i], observed.direction[j]) >= 0
                and (observed.direction[i] == observed.direction[j]) == same
                and (observed.problem[i], observed.depth[i]) == (observed.problem[j], observed.depth[j])
            ]
            if others:
                expected[place : place + 2] += e[i] * sum(others) / len(others), u[i]
    assert sharing_sums(observed, means).sum(axis=0) == pytest.approx(expected, abs=1e-9)
    excess = sum((36 * e[i] ** 2) - 6 * means[i] * (1 - means[i]) for i in count)
    scale = sum(30 * m * (1 - m) for m in means)
    assert moment_sums(observed, means).sum(axis=0) == pytest.approx([excess, scale], abs=1e-9)
    assert len(moment_sums(observed, means)) == len(set(observed.problem.tolist()))


@pytest.mark.parametrize("truth", [0.3, 5.0, 60.0])
def test_the_most_likely_concentration_agrees_with_an_optimiser(truth: float) -> None:
    observed, means = simulated(truth, problems=20)

    def loss(values: FloatArray) -> float:
        k = math.exp(values[0])
        return -float(np.sum(betabinom.logpmf(observed.right, observed.completions, k * means, k * (1 - means))))

    best = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-5})
    found = most_likely_concentration(likelihood_sums(observed, means).sum(axis=0)).item()
    assert found == pytest.approx(math.exp(best.x[0]), rel=1e-2)


def test_the_size_exponent_agrees_with_an_optimiser() -> None:
    observed, means = simulated(6, 0.8, 0.5, 6, 2, problems=30)
    run = (observed.problem % 2).astype(np.int64)
    logs = np.log(np.bincount(observed.direction, observed.size))
    around = logs.reshape(30, 6).mean(axis=1)[observed.problem]

    def loss(values: FloatArray) -> float:
        log_odds = np.log(means / (1 - means)) + values[run] + values[2] * around + values[3] * logs[observed.direction]
        return float((0.5 * (observed.completions * np.logaddexp(0, log_odds) - observed.right * log_odds)).sum())

    found = size_effect(observed, means, run)
    assert found is not None
    assert found[0] == pytest.approx(minimize(loss, np.zeros(4)).x[3], abs=1e-4)
    assert np.abs(found[1].sum(axis=0)).max() < 1e-5
    assert size_effect(replace(observed, size=np.ones(len(observed), dtype=np.int64)), means, run) is None
    assert size_effect(replace(observed, direction=np.full(len(observed), -1)), means, run) is None


def test_depths_with_few_prefixes_join_the_run_of_their_neighbours() -> None:
    held = {1: 3, 2: 4, 3: 12, 5: 10, 6: 2, 9: 1}
    depth = np.repeat(list(held), list(held.values()))
    observed = few([(index % 3, 1, 0, 1, 0.5) for index in range(len(depth))])[0]
    observed = replace(observed, depth=depth)
    assert depth_runs(observed, 10, 3) == [(1, 3), (5, 9)]
    assert depth_runs(observed, 14, 3) == [(1, 9)]
    assert depth_runs(observed, 1, 1) == [(each, each) for each in held]
    assert depth_runs(observed, 1000, 3) == [(1, 9)]


def fitted(**changes: Any) -> Calibration:
    observed, _ = simulated(8, 0.5, 0.3, 6, 3, problems=24)
    deep = replace(observed, depth=np.where(observed.problem % 2 == 0, 2, 4), reward=observed.reward / 2)
    source = Source(world="stories", policy="demonstrator", reward="dial", temperature=0.8, problems=24)
    return replace(calibrate(deep, source), **changes)


def test_a_belief_uses_the_curve_and_the_concentration_of_its_depth() -> None:
    made = fitted(within=Within(Estimate(1, 1, 1), 1, (0.0, 0.0)))
    assert [(fit.first, fit.last) for fit in made.depths] == [(2, 2), (4, 4)]
    rewards = np.tile(np.linspace(0, 1, 11), 6)
    depths = np.repeat([1, 2, 3, 4, 5, 99], 11)
    belief = made.belief(rewards, depths)
    for depth, fit in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (99, 1)):
        expected = made.depths[fit]
        np.testing.assert_allclose(belief.mean[depths == depth], expected.curve(np.linspace(0, 1, 11)))
        assert set(belief.concentration[depths == depth].tolist()) == {expected.concentration}
    assert made.correlation is not None
    assert belief.correlation == made.correlation.value
    assert fitted(correlation=None).belief(rewards, depths).correlation == 1


@pytest.mark.parametrize("within", [None, Within(Estimate(0, 0, 0.3), 1, (0.0, 0.0))])
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=64),
    times=st.integers(1, 3),
    concentration=st.floats(0.01, 1000),
)
def test_if_nothing_holds_within_a_problem_the_optimum_matches_plain_sampling(
    within: Within | None, labels: list[int], times: int, concentration: float
) -> None:
    """Also if the fit has a correlation near 1 and a positive size exponent."""
    fits = tuple(replace(fit, concentration=concentration) for fit in fitted().depths)
    shared, larger = Estimate(0.95, 0.9, 1), Estimate(0.3, 0.1, 0.5)
    made = fitted(within=within, depths=fits, correlation=shared, size_exponent=larger)
    rewards = np.full(len(labels), 0.3)
    belief = made.belief(rewards, np.full(len(labels), 2))
    candidates = Candidates(
        paths=tuple((index,) for index in range(len(labels))),
        rewards=rewards,
        directions=Directions(labels=np.unique(labels, return_inverse=True)[1]),
        belief=belief,
    )
    found = optimal_directions(candidates, times * len(labels), OptimalDirectionsOptions())
    assert found.counts.tolist() == [times] * len(labels)


def test_a_belief_draws_log_odds_towards_the_average_of_their_depth() -> None:
    rewards, depths = np.tile(np.linspace(0, 0.5, 6), 2), np.repeat([2, 4], 6)
    wide = logit(fitted(within=None).belief(rewards, depths).mean)
    for share in (0.0, 0.4, 1.0):
        drawn = logit(fitted(within=Within(Estimate(share, 0, 1), 0.7, (0.5, -0.2))).belief(rewards, depths).mean)
        for depth, shift in ((2, 0.5), (4, -0.2)):
            here, there = drawn[depths == depth], wide[depths == depth]
            np.testing.assert_allclose(here.mean(), shift + 0.7 * there.mean(), atol=1e-12)
            np.testing.assert_allclose(np.ptp(here), share * np.ptp(there), atol=1e-12)


def test_a_calibration_survives_json() -> None:
    nothing = fitted(within=None, correlation=None, size_exponent=None, correlation_across=None)
    for made in (fitted(), nothing, voting()):
        assert Calibration.of(json.loads(json.dumps(made.as_dict()))) == made
    assert calibrate(simulated(8)[0]) == calibrate(simulated(8)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "has version 1, but rollwise reads version 3"),
        ({"within": within_fields(1.5, 0.0, 0.0)}, r"within a problem has to lie in \[0, 1\], not 1.5"),
        ({"within": within_fields(0.5, 0.0)}, "number of shifts has to be 2, one per run of depths, not 1"),
        ({"within": {"value": 1.5, "low": 0, "high": 2}}, "the belief: within has no field 'value'"),
        (
            {"ended": {"solutions": 9, "problems": 3, "within": within_fields(-0.1, 0.0)}},
            "in a vote has to be at least 0",
        ),
        (
            {"ended": {"solutions": 9, "problems": 3, "within": within_fields(1.0)}},
            "shifts has to be 1, one per run of depths, not 0",
        ),
        ({"colour": "red"}, "the belief has no field 'colour'"),
        ({"method": "guess"}, "the belief: method takes 'moments' or 'likelihood'"),
        ({"depths": []}, "needs at least one fit"),
        ({"depths": 3}, "the belief: depths takes a list, not 3"),
        ({"correlation": {"value": 0, "low": 0, "high": 0}}, "a correlation has to lie above 0"),
        ({"correlation": {"value": 0.5, "low": 0.1}}, "the belief: correlation lacks the field 'high'"),
        ({"source": {"world": 3}}, "the belief: source"),
    ],
)
def test_a_file_that_holds_no_valid_belief_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "belief.json"
    file.write_text(json.dumps(fitted().as_dict() | change))
    with pytest.raises(InputError, match=rf"{message}.*; fit a belief with rollwise calibrate"):
        read_belief(file)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("concentration", 0, "concentration has to be above 0"),
        ("concentration", "high", r"depths\[0\].concentration takes a finite number, not 'high'"),
        ("prefixes", 1.5, r"depths\[0\].prefixes takes a whole number, not 1.5"),
        ("curve", {"rewards": [0.1, 0.2], "means": [0.5, 0.4]}, "means have to rise with the reward"),
        ("curve", {"rewards": [0.1], "means": [1.0]}, "a mean between 0 and 1"),
        ("curve", {"rewards": [], "means": []}, "for each reward"),
        ("first", 7, "from the first to the last"),
        ("last", 9, "in order of depth and without overlap"),
    ],
)
def test_a_depth_that_makes_no_sense_is_refused(field: str, value: Any, message: str) -> None:
    values = json.loads(json.dumps(fitted().as_dict()))
    values["depths"][0][field] = value
    with pytest.raises(InputError, match=message):
        Calibration.of(values)
    with pytest.raises(InputError, match="a belief is a JSON object"):
        Calibration.of([])


def test_remarks_name_the_parts_that_differ_from_the_fit() -> None:
    fit = Source("stories", "trained", "aa", "weak", "bb", temperature=0.8)
    assert remarks_on(fit, fit) == []
    assert remarks_on(fit, replace(fit, policy="runs/mine")) == []
    assert remarks_on(Source(), fit) == remarks_on(fit, Source()) == []
    remarks = remarks_on(fit, Source("countdown", "trained", "cc", "dial", "", temperature=1.0))
    assert len(remarks) == 4
    assert "for the world stories" in remarks[0]
    assert "another policy of the same name, trained" in remarks[1]
    assert "for the reward weak, but the search uses dial" in remarks[2]
    assert "for the temperature 0.8, but the search uses 1.0" in remarks[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completions": 1, "right": 1}, "at least 2 completions.*--completions 8"),
        ({"problem": 0}, "belong to 1 problem.*complete prefixes of several"),
        ({"reward": 1.5}, r"lies in \[0, 1\]"),
        ({"right": 17}, "right counts some of its completions"),
    ],
)
def test_prefixes_that_allow_no_fit_are_refused(change: dict[str, float], message: str) -> None:
    observed, _ = simulated(8, problems=4)
    with pytest.raises(InputError, match=message):
        calibrate(
            replace(observed, **{name: np.full_like(getattr(observed, name), value) for name, value in change.items()})
        )


def test_a_problem_whose_prefixes_were_completed_once_is_left_out() -> None:
    observed, _ = simulated(8, problems=10)
    last = observed.problem == 9
    once = replace(
        observed,
        completions=np.where(last, 1, observed.completions),
        right=np.where(last, np.minimum(observed.right, 1), observed.right),
    )
    assert calibrate(once) == calibrate(observed.take(~last))


def test_without_directions_no_correlation_is_fitted() -> None:
    observed, _ = simulated(8, problems=10)
    made = calibrate(replace(observed, direction=np.full(len(observed), -1)))
    assert made.correlation is made.correlation_across is made.size_exponent is None
    assert "taken to share one chance" in belief_notes(made)[2]
    single = calibrate(observed)
    assert single.correlation is None
    assert single.correlation_across is not None
    opposed = replace(observed, direction=observed.direction // 2, reward=np.full(len(observed), 0.5))
    opposed = replace(opposed, right=np.where(np.arange(len(observed)) % 2, 0, 16))
    found = calibrate(opposed).correlation
    assert found is not None
    assert found.value == SMALLEST_CORRELATION


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments))


def refused(*arguments: str) -> str:
    error = run(*arguments).exception
    assert isinstance(error, InputError), error
    return str(error)


REWARD = "worth(0.1,1)"


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prefixes") / "prefixes.jsonl"
    asked = ("--questions", "6", "--levels", "1,2,3", "--paths", "5", "--completions", "6")
    made = run("world", "rollouts", "stories", "--policy", "demonstrator", "--out", str(file), *asked)
    assert made.exit_code == 0, made.output
    return file


@pytest.fixture(scope="module")
def belief(prefixes: Path) -> Path:
    out = prefixes.with_name("belief.json")
    made = run("calibrate", "--prefixes", str(prefixes), "--reward", REWARD, "--out", str(out))
    assert made.exit_code == 0, made.output
    for part in ("κ by likelihood", "calibrated", "correlation", "size_exponent", "fewer than 30 problems"):
        assert part in " ".join(made.output.split())
    return out


def test_a_belief_names_its_sources(prefixes: Path, belief: Path) -> None:
    made = read_belief(belief)
    unfinished = [prefix for _, several in load_prefixes(prefixes) for prefix in several if not prefix.ended]
    source = made.source
    assert (source.world, source.policy, source.reward, source.temperature) == ("stories", "demonstrator", REWARD, 0.8)
    assert (source.problems, source.prefixes, source.completions) == (18, len(unfinished), 6 * len(unfinished))
    assert (source.policy_digest, source.reward_digest) == ("", "")
    assert len(source.prefixes_digest) == 16
    assert source.command.startswith("rollwise calibrate --prefixes")
    assert sum(fit.prefixes for fit in made.depths) == len(unfinished)
    assert prefix_source(prefixes)["policy"] == "demonstrator"


def test_calibrate_reads_answers_in_their_form(prefixes: Path, tmp_path: Path) -> None:
    """Answers after #### are judged, if their form is asked for or found out."""
    file, out = tmp_path / "hashes.jsonl", tmp_path / "belief.json"
    text = re.sub(r"\\\\boxed\{([^{}]*)\}", r"#### \1", prefixes.read_text())
    assert "boxed" not in text
    file.write_text(text)

    def ended(*form: str) -> Any:
        made = run("calibrate", "--prefixes", str(file), "--reward", REWARD, "--out", str(out), *form)
        assert made.exit_code == 0, made.output
        return read_belief(out).ended

    assert ended("--answer", "gsm8k") == ended() != ended("--answer", "boxed")
    assert "--answer boxed" in read_belief(out).source.command
    for options, message in [(("--answer", "gsm8"), "last-number"), (("--answer", "("), "regular expression")]:
        wrong = run("calibrate", "--prefixes", str(file), "--reward", REWARD, "--out", str(out), *options)
        assert message in str(wrong.exception)
    wrong = run("calibrate", "--prefixes", str(file), "--answer", "boxed", "--out", str(out))
    assert "--answer is for --reward" in str(wrong.exception)


def test_rewards_in_the_file_need_no_reward_model(prefixes: Path, belief: Path, tmp_path: Path) -> None:
    """Rewards in the file give the same fit as a reward model, without loading torch; --draw writes a picture."""
    from rollwise.calibration.scoring import score_prefixes
    from rollwise.registry import find_reward

    file, out, picture = (tmp_path / name for name in ("mine.jsonl", "belief.json", "belief.svg"))
    lines = []
    for line, (problem, some) in zip(prefixes.read_text().splitlines(), load_prefixes(prefixes), strict=True):
        record = json.loads(line)
        scores = run_to_end(score_prefixes(find_reward(REWARD, "stories"), problem, some))
        for each, score in zip(record["prefixes"], scores, strict=True):
            each["reward"] = score
        del record["source"], record["problem"]["world"]
        lines.append(json.dumps(record) + "\n")
    file.write_text("".join(lines))
    words = ["calibrate", "--prefixes", str(file), "--out", str(out), "--draw", str(picture), "--json"]
    code = f"import sys; sys.argv[1:] = {words!r}\nfrom rollwise.cli import build_app\n"
    code += "try:\n    build_app()()\nfinally:\n    assert 'torch' not in sys.modules"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert made.returncode == 0, made.stderr
    printed, before = Calibration.of(json.loads(made.stdout)), read_belief(belief)
    assert printed == read_belief(out)
    assert replace(printed, source=before.source) == before
    assert (printed.source.world, printed.source.reward) == ("", "")
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert len(ElementTree.parse(picture).findall(".//{*}circle")) == 2 * len(printed.depths) + sum(
        len(reliability.bins) for reliability in (printed.before, printed.after)
    )


def test_a_direction_is_a_state_at_a_depth_of_a_problem(prefixes: Path) -> None:
    scored = [(problem, [(prefix, 0.5) for prefix in several]) for problem, several in load_prefixes(prefixes)]
    observed = observe_prefixes(scored)
    rows = [(problem.id, prefix.depth, prefix.state, prefix.size) for problem, pairs in scored for prefix, _ in pairs]
    assert len(set(observed.direction.tolist())) == len({row[:3] for row in rows})
    assert {
        len({rows[i][:3] for i in np.flatnonzero(observed.direction == label)}) for label in set(observed.direction)
    } == {1}
    assert int(observed.size.sum()) == sum(row[3] for row in rows)
    blank = [(problem, [(replace(prefix, state=""), 0.5) for prefix, _ in pairs]) for problem, pairs in scored]
    assert set(observe_prefixes(blank).direction.tolist()) == {-1}
    with pytest.raises(InputError, match=r"has no reward.*--reward"):
        recorded_rewards([(problem, [prefix for prefix, _ in pairs]) for problem, pairs in scored])


def test_calibrate_refuses_input_that_it_cannot_fit(prefixes: Path, tmp_path: Path) -> None:
    given = ("calibrate", "--prefixes", str(prefixes), "--out", str(tmp_path / "belief.json"))
    assert "has no reward" in refused(*given)
    assert "--world is for --reward" in refused(*given, "--world", "stories")
    assert "of the world stories, not countdown" in refused(*given, "--reward", "dial", "--world", "countdown")
    assert "ends in .svg" in refused(*given, "--reward", REWARD, "--draw", str(tmp_path / "a.png"))
    guessed = refused(*given, "--reward", REWARD, "--method", "guess")
    assert guessed == "method: Input should be 'moments' or 'likelihood'"
    assert "does not exist" in refused("calibrate", "--prefixes", str(tmp_path / "none.jsonl"))
    once = tmp_path / "once.jsonl"
    records = [json.loads(line) for line in prefixes.read_text().splitlines()]
    for record in records:
        for prefix in record["prefixes"]:
            prefix |= {"completions": 1, "right": min(1, prefix["right"]), "reward": 0.5}
    once.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "rollwise world rollouts --completions 8" in refused("calibrate", "--prefixes", str(once))
    records[0]["prefixes"][0]["reward"] = 2
    once.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "a number in [0, 1]" in refused("calibrate", "--prefixes", str(once))
    assert not (tmp_path / "belief.json").exists()


SEARCH = {"world": "stories", "policy": "demonstrator", "reward": REWARD, "directions": "state"}
STORY = "Ann has 20 beads. Ann has 4 fewer than Ben. Cal has 3 times as many as Ann and Ben together. How many has Cal?"


def test_a_search_reads_its_belief_and_stores_it_in_its_events(belief: Path) -> None:
    for strategy in ("optimal", "optimal_directions"):
        solution = rollwise.solve(STORY, strategy, 8, belief=str(belief), **SEARCH)
        made = read_belief(belief)
        allocated = [event for event in solution.events if isinstance(event, Allocated)]
        records = [record for record in event_records(solution.events, {}) if record["event"] == "allocated"]
        assert len(allocated) == len(records) > 0
        for event, record in zip(allocated, records, strict=True):
            assert event.candidates.depth is not None
            expected = made.belief(event.candidates.rewards, event.candidates.depth)
            assert record["belief"] == {
                "mean": expected.mean.tolist(),
                "concentration": expected.concentration.tolist(),
                "correlation": expected.correlation,
                "size_exponent": expected.size_exponent,
            }
    plain = rollwise.solve(STORY, "rebase", 8, belief=str(belief), **SEARCH)
    allocations = [record for record in event_records(plain.events, {}) if record["event"] == "allocated"]
    assert {record["belief"] for record in allocations} == {None}


def test_a_function_may_serve_as_a_belief() -> None:
    first_depths: list[int] = []

    def believe(rewards: FloatArray, depths: Any) -> Belief:
        first_depths.append(int(depths[0]))
        return Belief(np.clip(rewards, 0.01, 0.99), np.full(len(rewards), 5.0))

    rollwise.solve(STORY, "optimal", 4, belief=believe, **SEARCH)
    assert first_depths[:2] == [1, 2]


def test_solve_notes_a_belief_that_was_fitted_for_other_parts(belief: Path) -> None:
    words = ("solve", STORY, "--world", "stories", "--policy", "demonstrator", "--budget", "4", "--json")
    same = json.loads(run(*words, "--reward", REWARD, "--strategy", "optimal", "--belief", str(belief)).stdout)
    assert same["finished"] == 4
    assert "notes" not in same
    changed = ("--reward", "dial(0.3,1)", "--temperature", "1", "--aggregate", "min")
    other = json.loads(run(*words, *changed, "--strategy", "optimal", "--belief", str(belief)).stdout)
    assert [note.split(",")[-1] for note in other["notes"]] == [
        "1)",
        " but the search uses 1.0",
        " but the search aggregates by min",
    ]
    aloud = run(*words[:-1], *changed, "--strategy", "optimal", "--belief", str(belief))
    assert "the search uses dial(0.3,1)" in " ".join(aloud.output.split())
    assert "optimal_directions, N = 4" in run(*words[:-1], "--reward", REWARD, "--belief", str(belief)).output
    trusting = run(*words[:-1], "--reward", REWARD).output
    assert "dora, N = 4" in trusting
    assert "nothing says what this reward is worth" in " ".join(trusting.split())
    error = refused(*words, "--reward", REWARD, "--strategy", "optimal")
    assert "rollwise calibrate" in error
    assert "--belief FILE" in error
    voted = ("--reward", REWARD, "--strategy", "rebase", "--belief", str(belief))
    assert json.loads(run(*words, *voted).stdout)["vote"] == "believed_majority"
    elsewhere = json.loads(run(*words, "--reward", "dial(0.3,1)", *voted[2:]).stdout)
    assert "the search uses dial(0.3,1)" in elsewhere["notes"][0]
    assert "this strategy reads no belief" in refused(*words, *voted, "--vote", "weighted_majority")
    assert "cannot read the belief" in refused(
        *words, "--strategy", "optimal", "--reward", REWARD, "--belief", "none.json"
    )
    with pytest.raises(InputError, match="belief: give a file"):
        Config.of(belief=3)


def test_a_world_may_bundle_a_belief(belief: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "stories" / "belief.json"
    own.parent.mkdir()
    monkeypatch.setattr("rollwise.names.bundled", lambda world, part, name: tmp_path / world / FAMILY[part][name])
    parts = {"world": "stories", "policy": "trained", "reward": "trained"}
    assert belief_file(Config.of(**parts)) is None
    own.write_bytes(belief.read_bytes())
    assert belief_file(Config.of(**parts)) == own
    assert belief_file(Config.of(**parts | {"reward": REWARD})) is None
    assert belief_file(Config.of(**parts | {"policy": "demonstrator"})) is None
    assert belief_file(Config.of(**parts, belief="mine.json")) == Path("mine.json")


class Sure:
    """A reward model that says how sure it is, given as an object."""

    parameters, states_concentration = 0, True

    def open(self, problem: object, seed: int) -> None:
        """Never opened here."""


@pytest.mark.parametrize(
    ("fields", "strategy"),
    [
        ({}, "optimal_directions"),
        ({"strategy": "auto"}, "optimal_directions"),
        ({"strategy": "rebase"}, "rebase"),
        ({"policy": "small", "reward": "weak"}, "optimal_directions"),
        ({"reward": Sure()}, "optimal_directions"),
        ({"reward": "confidence"}, "dora"),
        ({"reward": "confidence", "belief": "mine.json"}, "optimal_directions"),
        ({"reward": "confidence", "belief": lambda rewards, depths: rewards}, "optimal_directions"),
        ({"reward": "confidence", "belief": "model"}, "optimal_directions"),
        ({"policy": "http://127.0.0.1:1"}, "dora"),
        ({"world": "stories", "policy": "demonstrator", "reward": REWARD}, "dora"),
    ],
)
def test_the_default_strategy_depends_on_whether_there_is_a_belief(fields: dict[str, Any], strategy: str) -> None:
    assert settled(Config.of(**fields)).strategy == strategy


def test_a_bench_refuses_to_resume_if_a_belief_changed(belief: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_bytes(belief.read_bytes())
    fields = {"world": "stories", "budgets": [4], "levels": [1], "limit": 2}
    parts = {name: value for name, value in SEARCH.items() if name != "world"}
    grid = fields | {"strategies": f"rebase,optimal:belief={mine}", "search": parts}
    bench = begin(tmp_path / "out", grid)
    run_to_end(bench.run())
    assert len(bench.store.results(bench.experiment.id)) == 4
    assert [name for name in bench.experiment.sources if name.startswith("belief")] == [f"belief {mine}"]
    resume(tmp_path / "out", {})
    mine.write_text(mine.read_text().replace("demonstrator", "someone else"))
    with pytest.raises(InputError, match="begun otherwise: belief"):
        resume(tmp_path / "out", {})
    with pytest.raises(InputError, match="reads no belief"):
        begin(tmp_path / "idle", fields | {"strategies": f"rebase:belief={mine}", "search": parts})
    shared = begin(
        tmp_path / "shared", fields | {"strategies": "rebase,optimal", "search": parts | {"belief": str(mine)}}
    )
    assert {remark for runner in shared.runners.values() for remark in runner.parts.notes} == {
        "the belief was fitted for the policy someone else, but the search uses demonstrator"
    }
    with pytest.raises(InputError, match="needs a belief"):
        Runner(Config.of(strategy="optimal", **SEARCH))
