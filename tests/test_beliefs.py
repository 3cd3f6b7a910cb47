"""The optimum's parts against exact fractions, quadrature and brute force; its limits against the divisor methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln

from rollwise.beliefs import (
    check_belief,
    fill_evenly,
    greedy_by_cost,
    greedy_counts,
    log_expected_failure,
    optimal_counts,
    relaxed_counts,
    shared_log_failures,
    sharing,
)
from rollwise.core import Belief, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import divisor

quick = settings(max_examples=60)


def log_fraction(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def shared(mean: float, concentration: float, correlation: float, spent: Sequence[int], total: int) -> float:
    return next(islice(shared_log_failures(mean, concentration, correlation, spent), total, None))


# The chance that every rollout fails


@quick
@given(
    mean=st.fractions(0, 1, max_denominator=999),
    concentration=st.fractions(Fraction(1, 10**9), 10**12, max_denominator=10**9),
    rollouts=st.integers(0, 60),
)
def test_failure_is_the_product_of_its_factors(mean: Fraction, concentration: Fraction, rollouts: int) -> None:
    """E[(1 - p)^B] = Π_{s < B} (κ(1 - m) + s) / (κ + s), in exact fractions."""
    exact = Fraction(1)
    for step in range(rollouts):
        exact *= (concentration * (1 - mean) + step) / (concentration + step)
    found = float(log_expected_failure(float(mean), float(concentration), rollouts))
    assert found == (-math.inf if exact == 0 else pytest.approx(log_fraction(exact), rel=1e-9, abs=1e-12))


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.8), (2.0, 0.5), (1.0, 1.0), (7.5, 22.0)])
@pytest.mark.parametrize("rollouts", [0, 0.5, 1, 7, 256])
def test_failure_is_the_integral(a: float, b: float, rollouts: float) -> None:
    integral, _ = quad(lambda p: (1 - p) ** rollouts, 0, 1, weight="alg", wvar=(a - 1, b - 1), epsabs=0)
    expected = math.log(integral) - float(betaln(a, b))
    assert float(log_expected_failure(a / (a + b), a + b, rollouts)) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_failure_at_the_ends() -> None:
    found = log_expected_failure([0, 0.3, 0.3, 1, 1, 0.3], [2, math.inf, 1e15, 2, math.inf, 1e-15], [9, 3, 3, 1, 0, 7])
    expected = [0, 3 * math.log(0.7), 3 * math.log(0.7), -math.inf, 0, math.log(0.7)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_failure_of_a_million_rollouts_keeps_nine_digits() -> None:
    """Against the sum over the million factors' logarithms."""
    steps = np.arange(10**6)
    for mean, concentration in ((0.5, 1.0), (0.01, 300.0), (0.9, 1e6)):
        expected = math.fsum(np.log1p(-mean * concentration / (concentration + steps)).tolist())
        assert float(log_expected_failure(mean, concentration, 10**6)) == pytest.approx(expected, rel=1e-9)


# What a direction shares

beliefs = {
    "mean": st.floats(0.02, 0.98),
    "concentration": st.floats(0.1, 50),
    "correlation": st.floats(0.05, 0.99),
}


@quick
@given(**beliefs)
def test_members_have_the_variance_and_correlation_asked_for(
    mean: float, concentration: float, correlation: float
) -> None:
    """E[(1 - p_i)^2] and E[(1 - p_i)(1 - p_j)] are what two rollouts of one and of two members fail with."""
    one = math.exp(shared(mean, concentration, correlation, [0], 2)) - (1 - mean) ** 2
    two = math.exp(shared(mean, concentration, correlation, [0, 0], 2)) - (1 - mean) ** 2
    assert math.exp(shared(mean, concentration, correlation, [0, 0, 0], 1)) == pytest.approx(1 - mean)
    assert one == pytest.approx(mean * (1 - mean) / (concentration + 1), rel=1e-6)
    assert two / one == pytest.approx(correlation, rel=1e-5)


def test_a_members_distribution_is_not_that_of_its_belief() -> None:
    """Only two moments are: the third differs where doubt is shared in part."""
    assert shared(0.5, 0.5, 0.5, [0], 2) == pytest.approx(float(log_expected_failure(0.5, 0.5, 2)))
    assert abs(shared(0.5, 0.5, 0.5, [0], 6) - float(log_expected_failure(0.5, 0.5, 6))) > 0.004


@pytest.mark.parametrize(
    ("mean", "concentration", "correlation", "members", "total"),
    [
        (0.4, 3.0, 0.6, 1, 5),
        (0.4, 3.0, 0.6, 4, 30),
        (0.2, 8.0, 0.2, 5, 256),
        (0.7, 5.0, 0.9, 3, 256),
        (0.5, 30.0, 0.5, 40, 1000),
    ],
)
def test_shared_failure_is_the_integral(
    mean: float, concentration: float, correlation: float, members: int, total: int
) -> None:
    """∫ Beta(p; κ_j m, κ_j(1 - m)) Π_i E[(1 - p_i)^B_i | p] dp, the log integrand scaled to its largest."""
    common = (concentration + 1) / correlation - 1
    own = correlation * common / (1 - correlation) - 1
    assert sharing(concentration, correlation) == pytest.approx((common, own))
    each = [total // members + (member < total % members) for member in range(members)]

    def log_density(p: float) -> float:
        beta = (common * mean - 1) * math.log(p) + (common * (1 - mean) - 1) * math.log1p(-p)
        failures = (betaln(own * p, own * (1 - p) + one) - betaln(own * p, own * (1 - p)) for one in each)
        return beta + math.fsum(map(float, failures)) - float(betaln(common * mean, common * (1 - mean)))

    top = max(log_density(p) for p in np.linspace(0.0005, 0.9995, 2000).tolist())
    breaks = [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5]
    integral, _ = quad(lambda p: math.exp(log_density(p) - top), 0, 1, points=breaks, limit=400, epsabs=1e-11)
    assert shared(mean, concentration, correlation, [0] * members, total) == pytest.approx(
        top + math.log(integral), abs=1e-6
    )


@quick
@given(
    mean=st.floats(0.01, 0.99),
    concentration=st.floats(0.01, 1000),
    members=st.integers(1, 6),
    spent=st.integers(0, 3),
    total=st.integers(0, 40),
)
def test_full_and_no_sharing_are_the_closed_form(
    mean: float, concentration: float, members: int, spent: int, total: int
) -> None:
    had = [spent] * members
    whole = log_expected_failure(mean, concentration, [spent * members, spent * members + total])
    assert shared(mean, concentration, 1.0, had, total) == pytest.approx(float(whole[1] - whole[0]), rel=1e-9, abs=1e-9)
    each = spent + np.array([total // members + (member < total % members) for member in range(members)])
    apart = log_expected_failure(mean, concentration, each) - log_expected_failure(mean, concentration, spent)
    assert shared(mean, concentration, 1e-9, had, total) == pytest.approx(float(apart.sum()), rel=1e-4, abs=1e-6)


@quick
@given(spent=st.lists(st.integers(0, 5), min_size=1, max_size=6), **beliefs)
def test_shared_failure_falls_and_is_convex(
    spent: list[int], mean: float, concentration: float, correlation: float
) -> None:
    values = np.array(list(islice(shared_log_failures(mean, concentration, correlation, spent), 200)))
    assert values[0] == 0
    assert np.diff(values).max() <= 0
    assert np.diff(values, 2).min() > -1e-11


def test_what_is_left_out_weighs_nothing() -> None:
    """With a large κ the number of fresh draws spreads wide and its ends are trimmed; the sum by hand keeps them."""
    mean, concentration, correlation, total = 0.3, 400.0, 0.5, 900
    common, own = sharing(concentration, correlation)
    chances = np.ones(1)
    for before in range(total):
        fresh = own / (own + before)
        chances = np.append(chances * (1 - fresh), 0) + np.append(0, chances * fresh)
    steps = np.log1p(-mean * common / (common + np.arange(total)))
    terms = np.log(np.maximum(chances, 1e-320)) + np.append(0, np.cumsum(steps))
    expected = float(np.logaddexp.reduce(terms))
    assert shared(mean, concentration, correlation, [0], total) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("mean", "expected"), [(0.0, [0, 0, 0]), (1.0, [0, -math.inf, -math.inf])])
def test_certain_directions(mean: float, expected: list[float]) -> None:
    for correlation in (0.4, 1.0):
        assert list(islice(shared_log_failures(mean, 2.0, correlation, [0, 0]), 3)) == expected


def test_certainty_about_a_direction_leaves_nothing_to_share() -> None:
    assert shared(0.3, math.inf, 0.5, [0, 0], 4) == pytest.approx(4 * math.log(0.7))


# The exact optimum


@st.composite
def problems(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray]:
    """(means, concentrations, width, floors, caps, spent) that leave a way to hand the width out."""
    size = draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mean = generator.choice([generator.random(size), generator.integers(0, 5, size) / 4])
    concentration = generator.choice([10 ** generator.uniform(-3, 4, size), 2.0 ** generator.integers(-2, 3, size)])
    floors = generator.integers(0, draw(st.integers(1, 4)), size)
    caps = floors + generator.integers(0, 30, size)
    width = int(generator.integers(floors.sum(), caps.sum() + 1))
    return mean, concentration, width, floors, caps, generator.integers(0, draw(st.integers(1, 6)), size)


@settings(max_examples=200)
@given(problem=problems())
def test_divisor_and_heap_agree(problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray]) -> None:
    mean, concentration, width, floors, caps, spent = problem
    made = optimal_counts(mean, concentration, width, floors, caps, spent)
    rows = log_expected_failure(mean[:, None], concentration[:, None], spent[:, None] + np.arange(width + 2))
    heap = greedy_counts([iter(row.tolist()) for row in rows], width, floors, caps)
    for counts in (made, heap):
        assert counts.sum() == width
        assert np.all((floors <= counts) & (counts <= caps))
    index = np.arange(len(mean))
    best, other = rows[index, made].sum(), rows[index, heap].sum()
    assert best == other or math.isclose(best, other, rel_tol=1e-11, abs_tol=1e-11)


@quick
@given(problem=problems())
def test_counts_grow_with_the_width(
    problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray],
) -> None:
    mean, concentration, width, floors, caps, spent = problem
    if width < caps.sum():
        less, more = (optimal_counts(mean, concentration, one, floors, caps, spent) for one in (width, width + 1))
        assert np.all(less <= more)


@quick
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_counts_follow_their_path(
    problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray], seed: int
) -> None:
    """Of paths with unlike quotients; ties go by position."""
    mean, concentration, width, floors, caps, spent = problem
    mean = mean * np.random.default_rng(seed).uniform(0.5, 1, len(mean)) + 1e-3
    order = np.random.default_rng(seed).permutation(len(mean))
    made = optimal_counts(mean, concentration, width, floors, caps, spent)
    moved = optimal_counts(mean[order], concentration[order], width, floors[order], caps[order], spent[order])
    assert moved.tolist() == made[order].tolist()


@quick
@given(problem=problems(), index=st.integers(0, 8), rise=st.floats(0, 1))
def test_a_better_mean_never_gets_less(
    problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray], index: int, rise: float
) -> None:
    mean, concentration, width, floors, caps, spent = problem
    index %= len(mean)
    better = mean.copy()
    better[index] += rise * (1 - better[index])
    before = optimal_counts(mean, concentration, width, floors, caps, spent)
    assert optimal_counts(better, concentration, width, floors, caps, spent)[index] >= before[index]


@quick
@given(problem=problems())
def test_what_is_spent_updates_the_belief(
    problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray],
) -> None:
    """B failures of Beta(κm, κ(1 - m)) leave Beta(κm, κ(1 - m) + B): mean κm / (κ + B), concentration κ + B."""
    mean, concentration, width, floors, caps, spent = problem
    updated = mean * concentration / (concentration + spent), concentration + spent
    made = optimal_counts(mean, concentration, width, floors, caps, spent)
    assert made.tolist() == optimal_counts(*updated, width, floors, caps).tolist()


@pytest.mark.parametrize(("concentration", "offset"), [(1e-9, 0.0), (0.5, 0.5), (1.0, 1.0), (0.25, 0.25)])
def test_equal_concentrations_are_divisor_methods(concentration: float, offset: float) -> None:
    """κ → 0 is Adams, ½ Webster, 1 D'Hondt."""
    generator = np.random.default_rng(0)
    for size, width in ((3, 2), (5, 40), (40, 40), (64, 1000)):
        mean = generator.random(size)
        made = optimal_counts(mean, np.full(size, concentration), width)
        assert made.tolist() == divisor(mean / mean.sum() * width, width, offset).tolist()


def test_confidence_goes_from_one_each_to_all_to_the_best() -> None:
    mean = np.array([0.5, 0.9, 0.2, 0.7])
    assert optimal_counts(mean, np.full(4, 1e-9), 4).tolist() == [1, 1, 1, 1]
    for concentration in (1e12, math.inf):
        assert optimal_counts(mean, np.full(4, concentration), 4).tolist() == [0, 4, 0, 0]


def test_ties_go_to_who_has_fewer_then_to_who_comes_first() -> None:
    assert optimal_counts(np.full(3, 0.5), np.full(3, 2.0), 7).tolist() == [3, 2, 2]
    assert optimal_counts(np.full(3, 0.5), np.full(3, math.inf), 7).tolist() == [3, 2, 2]
    assert optimal_counts(np.zeros(3), np.full(3, 2.0), 4).tolist() == [2, 1, 1]
    # 0.5 / (1 + 1) = 0.25 / (1 + 0): a second rollout for the first or one for the second
    assert optimal_counts(np.array([0.5, 0.25]), np.ones(2), 2).tolist() == [1, 1]


def test_what_can_only_fail_gets_what_no_one_else_may_take() -> None:
    caps = np.array([9, 2, 3])
    assert optimal_counts(np.array([0.0, 0.4, 1e-250]), np.ones(3), 7, caps=caps).tolist() == [2, 2, 3]


@pytest.mark.parametrize(
    ("floors", "caps", "message"),
    [
        ([3, 3], [9, 9], "floors take 6 rollouts of 5"),
        ([0, 0], [2, 2], "caps let 4"),
        ([3, 0], [2, 9], "at most its cap"),
    ],
)
def test_bounds_that_leave_no_way_are_refused(floors: list[int], caps: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optimal_counts(np.full(2, 0.5), np.ones(2), 5, np.array(floors), np.array(caps))


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9), total=st.integers(0, 60))
def test_filling_raises_the_lowest_one_by_one(seed: int, size: int, total: int) -> None:
    generator = np.random.default_rng(seed)
    least = generator.integers(0, 6, size)
    most = least + generator.integers(0, 9, size)
    total = min(max(total, int(least.sum())), int(most.sum()))
    counts = least.copy()
    while counts.sum() < total:
        free = np.flatnonzero(counts < most)
        counts[free[counts[free].argmin()]] += 1
    assert fill_evenly(least, most, total).tolist() == counts.tolist()


# Rollouts that can be divided


def test_the_papers_shifted_rule_goes_negative_and_water_filling_does_not() -> None:
    """THEORY.md, section 4: (N + kκ) w - κ, the paper's appendix, is the optimum without the bound at 0."""
    w = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    shifted = (16 + 5 * 5) * w - 5
    np.testing.assert_allclose(shifted, [11.4, 7.3, 3.2, -2.13, -3.77])
    filled = relaxed_counts(w, np.full(5, 5.0), 16)
    level = 0.9 / 6.2  # 5 (0.9 / λ - 3) = 16
    np.testing.assert_allclose(filled, [5 * (0.4 / level - 1), 5 * (0.3 / level - 1), 5 * (0.2 / level - 1), 0, 0])
    positive = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    np.testing.assert_allclose(relaxed_counts(positive, np.full(5, 5.0), 64), (64 + 25) * positive - 5)


@quick
@given(problem=problems())
def test_water_filling_is_level(
    problem: tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray],
) -> None:
    """Who could get more is worth no more, at the margin, than who could get less."""
    mean, concentration, width, floors, caps, spent = problem
    filled = relaxed_counts(mean, concentration, width, floors, caps, spent)
    assert filled.sum() == pytest.approx(width)
    assert np.all((floors <= filled + 1e-9) & (filled <= caps + 1e-9))
    quotients = mean / (1 + (spent + filled) / concentration)
    able, taken = filled < np.minimum(caps, width) - 1e-6, filled > floors + 1e-6
    if able.any() and taken.any():
        assert quotients[able].max() <= quotients[taken].min() * (1 + 1e-6)


# Unlike costs


def most_gain(gains: Sequence[Sequence[float]], costs: Sequence[int], budget: int) -> float:
    """The most that the gains can sum to, by dynamic programming over the budget."""
    best = [0.0] * (budget + 1)
    for cumulated, cost in zip(gains, costs, strict=True):
        best = [
            max(best[money - count * cost] + cumulated[count] for count in range(money // cost + 1))
            for money in range(budget + 1)
        ]
    return best[budget]


def test_gain_per_cost_is_a_good_heuristic_and_no_more() -> None:
    """Optimal in seven of eight problems; at worst the chance of failure is 0.029 above the least."""
    generator = np.random.default_rng(0)
    losses = []
    for _ in range(400):
        size, budget = int(generator.integers(2, 6)), int(generator.integers(5, 31))
        mean, concentration = generator.beta(1, 2, size), 10 ** generator.uniform(-1, 1.5, size)
        costs = generator.integers(1, 6, size)
        counts = greedy_by_cost(mean, concentration, costs.astype(np.float64), budget)
        assert counts @ costs <= budget
        assert np.all(costs > budget - counts @ costs)
        rows = -log_expected_failure(mean[:, None], concentration[:, None], np.arange(budget + 1))
        best = most_gain(rows.tolist(), costs.tolist(), budget)
        gained = float(rows[np.arange(size), counts].sum())
        assert gained <= best + 1e-9
        losses.append(math.exp(-gained) - math.exp(-best))
    assert np.mean(np.array(losses) < 1e-12) == pytest.approx(0.875)
    assert max(losses) == pytest.approx(0.0287, abs=1e-3)
    assert np.mean(losses) == pytest.approx(0.0005, abs=1e-4)


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 8), width=st.integers(0, 30), cost=st.floats(0.1, 9))
def test_equal_costs_are_the_exact_optimum(seed: int, size: int, width: int, cost: float) -> None:
    generator = np.random.default_rng(seed)
    mean, concentration = generator.random(size), 10 ** generator.uniform(-1, 2, size)
    counts = greedy_by_cost(mean, concentration, np.full(size, cost), width * cost * (1 + 1e-12))
    assert counts.tolist() == optimal_counts(mean, concentration, width).tolist()


def test_costs_have_to_be_costs() -> None:
    with pytest.raises(InputError, match="above 0"):
        greedy_by_cost(np.full(2, 0.5), np.ones(2), np.array([1.0, 0.0]), 5)


# Checking


@pytest.mark.parametrize(
    ("belief", "message"),
    [
        (Belief(np.array([0.5]), np.ones(2)), "mean for each"),
        (Belief(np.full(2, 0.5), np.ones(3)), "concentration for each"),
        (Belief(np.array([0.5, 1.1]), np.ones(2)), "calibrate"),
        (Belief(np.array([0.5, math.nan]), np.ones(2)), "calibrate"),
        (Belief(np.full(2, 0.5), np.array([1.0, 0.0])), "above 0"),
        (Belief(np.full(2, 0.5), np.array([1.0, math.nan])), "above 0"),
        (Belief(np.full(2, 0.5), np.ones(2), correlation=0.0), "correlation"),
        (Belief(np.full(2, 0.5), np.ones(2), correlation=1.1), "correlation"),
        (Belief(np.full(2, 0.5), np.ones(2), spent=np.array([1])), "spent for each"),
        (Belief(np.full(2, 0.5), np.ones(2), spent=np.array([1, -1])), "from 0 up"),
    ],
)
def test_unusable_beliefs_are_refused(belief: Belief, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_belief(belief, 2)
