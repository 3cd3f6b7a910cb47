"""The exact counts against a heap, brute force, and the divisor methods that they generalise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation import exact_counts as counts
from rollwise.allocation.exact_counts import fill_evenly, greedy_counts, optimal_counts, relaxed_counts
from rollwise.allocation.failure import log_expected_failure
from rollwise.allocation.rounding import divisor
from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

quick = settings(max_examples=60)

Known = tuple[FloatArray, FloatArray, int, IntArray, IntArray, IntArray]


# The exact optimum


@st.composite
def problems(draw: st.DrawFn) -> Known:
    """Draws (means, concentrations, width, floors, caps, spent) whose bounds allow the width."""
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
    """Both with a table of all quotients, as for few, and with a bisection to the last quotient, as for many."""
    mean, concentration, width, floors, caps, spent = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "_TABLE", table)
        made = optimal_counts(mean, concentration, width, floors, caps, spent)
    rows = log_expected_failure(mean[:, None], concentration[:, None], spent[:, None] + np.arange(width + 2))
    heap = greedy_counts([iter(row.tolist()) for row in rows], width, floors, caps)
    for result in (made, heap):
        assert result.sum() == width
        assert np.all((floors <= result) & (result <= caps))
    index = np.arange(len(mean))
    best, other = rows[index, made].sum(), rows[index, heap].sum()
    assert best == other or math.isclose(best, other, rel_tol=1e-11, abs_tol=1e-11)


@settings(max_examples=200)
@given(problem=problems(), bounded=st.booleans(), sure=st.sampled_from([1.0, 1e9, 1e15, math.inf]))
def test_passing_the_relaxed_counts_changes_no_count(problem: Known, bounded: bool, sure: float) -> None:
    mean, concentration, width, floors, caps, spent = problem
    arguments = mean, concentration * sure, width, floors if bounded else None, caps if bounded else None, spent
    assert optimal_counts(*arguments, relaxed_counts(*arguments)).tolist() == optimal_counts(*arguments).tolist()


@quick
@given(problem=problems())
def test_counts_grow_with_the_width(
    problem: Known,
) -> None:
    mean, concentration, width, floors, caps, spent = problem
    if width < caps.sum():
        less, more = (optimal_counts(mean, concentration, size, floors, caps, spent) for size in (width, width + 1))
        assert np.all(less <= more)


@quick
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_counts_follow_their_path(problem: Known, seed: int) -> None:
    """The means are changed so that no quotients tie, since ties go by position."""
    mean, concentration, width, floors, caps, spent = problem
    mean = (mean + 1e-3) * np.random.default_rng(seed).uniform(0.5, 1, len(mean))
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
def test_spent_rollouts_update_the_belief(
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


def test_rising_confidence_moves_rollouts_from_one_each_to_the_best_path() -> None:
    mean = np.array([0.5, 0.9, 0.2, 0.7])
    assert optimal_counts(mean, np.full(4, 1e-9), 4).tolist() == [1, 1, 1, 1]
    for concentration in (1e12, math.inf):
        assert optimal_counts(mean, np.full(4, concentration), 4).tolist() == [0, 4, 0, 0]


def test_ties_go_to_the_path_with_fewer_rollouts_then_to_the_earlier_path() -> None:
    assert optimal_counts(np.full(3, 0.5), np.full(3, 2.0), 7).tolist() == [3, 2, 2]
    assert optimal_counts(np.full(3, 0.5), np.full(3, math.inf), 7).tolist() == [3, 2, 2]
    assert optimal_counts(np.zeros(3), np.full(3, 2.0), 4).tolist() == [2, 1, 1]
    # 0.5 / (1 + 1) = 0.25 / (1 + 0): a second rollout for the first or one for the second
    assert optimal_counts(np.array([0.5, 0.25]), np.ones(2), 2).tolist() == [1, 1]


def test_a_hopeless_path_gets_only_what_the_caps_of_the_others_leave() -> None:
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
def test_bounds_that_do_not_allow_the_width_are_refused(floors: list[int], caps: list[int], message: str) -> None:
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
    """(N + kκ) w - κ, from the paper's appendix, is the optimum without the bound at 0."""
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
    """A path that could get more has no larger quotient than a path that could get less."""
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
def test_closed_form_and_bisection_of_water_filling_agree(problem: Known) -> None:
    """Passing caps that never bind makes `relaxed_counts` use the bisection."""
    mean, concentration, width, floors, _, spent = problem
    wide = np.full(len(mean), width + 1)
    closed = relaxed_counts(mean, concentration, width, floors, None, spent)
    np.testing.assert_allclose(closed, relaxed_counts(mean, concentration, width, floors, wide, spent), atol=1e-6)
    assert closed.sum() == pytest.approx(width)
