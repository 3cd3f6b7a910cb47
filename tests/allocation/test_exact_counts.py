"""The exact counts against a heap, dynamic programming, and the divisor methods that they generalise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation import exact_counts as counts
from rollwise.allocation.exact_counts import fill_evenly, greedy_by_cost, greedy_counts, optimal_counts, relaxed_counts
from rollwise.allocation.failure import log_expected_failure
from rollwise.allocation.rounding import divisor
from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

quick = settings(max_examples=60)

Known = tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray]


# The exact optimum


@st.composite
def problems(draw: st.DrawFn) -> Known:
    """(means, concentrations, width, floors, caps, spent) that leave a way to hand the width out."""
    size = draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mean = generator.choice([generator.random(size), generator.integers(0, 5, size) / 4])
    concentration = generator.choice([10 ** generator.uniform(-3, 4, size), 2.0 ** generator.integers(-2, 3, size)])
    floors = generator.integers(0, draw(st.integers(1, 4)), size)
    caps = floors + generator.integers(0, 30, size)
    width = int(generator.integers(floors.sum(), caps.sum() + 1))
    return mean, concentration, width, floors, caps, generator.integers(0, draw(st.integers(1, 6)), size)


@pytest.mark.parametrize("table", [0, 2**13])
@settings(max_examples=200)
@given(problem=problems())
def test_divisor_and_heap_agree(problem: Known, table: int) -> None:
    """With all quotients in a table, as of few, and by narrowing down the last one, as of many."""
    mean, concentration, width, floors, caps, spent = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "_TABLE", table)
        made = optimal_counts(mean, concentration, width, floors, caps, spent)
    rows = log_expected_failure(mean[:, None], concentration[:, None], spent[:, None] + np.arange(width + 2))
    heap = greedy_counts([iter(row.tolist()) for row in rows], width, floors, caps)
    for found in (made, heap):
        assert found.sum() == width
        assert np.all((floors <= found) & (found <= caps))
    index = np.arange(len(mean))
    best, other = rows[index, made].sum(), rows[index, heap].sum()
    assert best == other or math.isclose(best, other, rel_tol=1e-11, abs_tol=1e-11)


@settings(max_examples=200)
@given(problem=problems(), bounded=st.booleans(), sure=st.sampled_from([1.0, 1e9, 1e15, math.inf]))
def test_relaxed_counts_spare_quotients_and_change_no_count(problem: Known, bounded: bool, sure: float) -> None:
    mean, concentration, width, floors, caps, spent = problem
    told = mean, concentration * sure, width, floors if bounded else None, caps if bounded else None, spent
    assert optimal_counts(*told, relaxed_counts(*told)).tolist() == optimal_counts(*told).tolist()


@quick
@given(problem=problems())
def test_counts_grow_with_the_width(
    problem: Known,
) -> None:
    mean, concentration, width, floors, caps, spent = problem
    if width < caps.sum():
        less, more = (optimal_counts(mean, concentration, one, floors, caps, spent) for one in (width, width + 1))
        assert np.all(less <= more)


@quick
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_counts_follow_their_path(problem: Known, seed: int) -> None:
    """Of paths with unlike quotients; ties go by position."""
    mean, concentration, width, floors, caps, spent = problem
    mean = mean * np.random.default_rng(seed).uniform(0.5, 1, len(mean)) + 1e-3
    order = np.random.default_rng(seed).permutation(len(mean))
    made = optimal_counts(mean, concentration, width, floors, caps, spent)
    moved = optimal_counts(mean[order], concentration[order], width, floors[order], caps[order], spent[order])
    assert moved.tolist() == made[order].tolist()


@quick
@given(problem=problems(), index=st.integers(0, 8), rise=st.floats(0, 1))
def test_a_better_mean_never_gets_less(problem: Known, index: int, rise: float) -> None:
    mean, concentration, width, floors, caps, spent = problem
    index %= len(mean)
    better = mean.copy()
    better[index] += rise * (1 - better[index])
    before = optimal_counts(mean, concentration, width, floors, caps, spent)
    assert optimal_counts(better, concentration, width, floors, caps, spent)[index] >= before[index]


@quick
@given(problem=problems())
def test_what_is_spent_updates_the_belief(
    problem: Known,
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
    problem: Known,
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


@quick
@given(problem=problems())
def test_water_filling_in_closed_form_is_that_by_bisection(problem: Known) -> None:
    """Caps that bind no one ask for the bisection."""
    mean, concentration, width, floors, _, spent = problem
    wide = np.full(len(mean), width + 1)
    closed = relaxed_counts(mean, concentration, width, floors, None, spent)
    np.testing.assert_allclose(closed, relaxed_counts(mean, concentration, width, floors, wide, spent), atol=1e-6)
    assert closed.sum() == pytest.approx(width)


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
