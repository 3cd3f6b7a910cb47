"""Comparisons of many strategies against scipy, closed forms, brute force and worlds whose differences are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rollwise.bench.columns import Arm
from rollwise.bench.comparisons import compare, differences, joint_critical_value, saving, standard_error
from rollwise.core import FloatArray
from rollwise.numerics import keyed_generator

Values = dict[Arm, dict[tuple[str, int], float]]


def values_with(arms: dict[Arm, list[list[float]]]) -> Values:
    """Values by arm from a list of questions, each a list of values by seed."""
    return {
        arm: {(f"q{number}", seed): value for number, each in enumerate(questions) for seed, value in enumerate(each)}
        for arm, questions in arms.items()
    }


def test_one_comparison_has_the_interval_of_student() -> None:
    draw = keyed_generator("student")
    sample = draw.normal(0.1, 0.3, size=40)
    values = values_with({("a", 8): [[each] for each in sample], ("b", 8): [[0.0]] * 40})
    (found,) = compare(values, [(("a", 8), ("b", 8))])
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(sample.mean())
    assert (found.joint_low, found.joint_high) == pytest.approx((low, high), abs=0.004)


def test_the_interval_of_one_comparison_is_that_of_scipys_bootstrap() -> None:
    draw = keyed_generator("paired")
    one, other = draw.integers(0, 2, size=(60, 3)), draw.integers(0, 2, size=(60, 3))
    values = values_with({("a", 4): one.tolist(), ("b", 4): other.tolist()})
    (found,) = compare(values, [(("a", 4), ("b", 4))])
    gaps = (one - other).mean(axis=1)
    expected = stats.bootstrap((gaps,), np.mean, method="percentile", rng=np.random.default_rng(1), n_resamples=20_000)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.012)
    assert (found.wins, found.losses, found.ties) == ((gaps > 0).sum(), (gaps < 0).sum(), (gaps == 0).sum())


@pytest.mark.parametrize("arms", [1, 4, 12])
def test_the_critical_value_of_independent_arms_is_the_closed_form(arms: int) -> None:
    table = keyed_generator("independent", arms).normal(size=(1500, arms))
    assert joint_critical_value(table) == pytest.approx(stats.norm.ppf((1 + 0.95 ** (1 / arms)) / 2), abs=0.06)


def test_arms_that_always_agree_count_once() -> None:
    column = keyed_generator("same").normal(size=(300, 1))
    assert joint_critical_value(np.repeat(column, 9, axis=1)) == pytest.approx(joint_critical_value(column), abs=0.05)


def test_in_worlds_without_a_difference_an_arm_is_told_apart_in_one_of_twenty() -> None:
    pairs: list[tuple[Arm, Arm]] = [((name, 8), ("base", 8)) for name in "abcd"]
    wrong = 0
    for world in range(80):
        draw = keyed_generator("null", world)
        hardness = draw.random((30, 1))
        found = {(name, 8): (draw.random((30, 2)) < hardness).astype(float).tolist() for name in ("base", *"abcd")}
        wrong += any(each.told_apart for each in compare(values_with(found), pairs))
    low, high = stats.binomtest(wrong, 80).proportion_ci(0.999)
    assert low <= 0.05 <= high


def test_a_difference_of_the_detectable_size_is_told_apart_in_eight_of_ten() -> None:
    found = 0
    for world in range(50):
        draw = keyed_generator("power", world)
        sample = draw.normal(size=60)
        sample = (sample - sample.mean()) / sample.std(ddof=1) * 0.3
        values = values_with({("a", 8): [[each] for each in sample], ("b", 8): [[0.0]] * 60})
        (plain,) = compare(values, [(("a", 8), ("b", 8))])
        assert plain.detectable is not None
        moved = plain.detectable + draw.normal(scale=0.3 / math.sqrt(60))
        found += plain.joint_low + moved > 0
    low, high = stats.binomtest(found, 50).proportion_ci(0.999)
    assert low <= 0.8 <= high


def test_a_few_questions_that_agree_prove_nothing() -> None:
    few = values_with({("a", 8): [[1.0]] * 2, ("b", 8): [[0.0]] * 2})
    many = values_with({("a", 8): [[1.0]] * 30, ("b", 8): [[0.0]] * 30})
    single = values_with({("a", 8): [[1.0]], ("b", 8): [[0.0]]})
    verdicts = [compare(values, [(("a", 8), ("b", 8))])[0].told_apart for values in (single, few, many)]
    assert verdicts == [False, False, True]


def test_equal_strategies_are_not_told_apart_and_few_questions_show_little() -> None:
    for questions in (2, 300):
        rows = [[float(number % 2)] for number in range(questions)]
        (found,) = compare(values_with({("a", 8): rows, ("b", 8): rows}), [(("a", 8), ("b", 8))])
        assert (found.mean, found.told_apart, found.detectable) == (0, False, None)
        exact = stats.binomtest(0, questions).proportion_ci(0.95, method="exact").high
        assert (found.joint_low, found.joint_high) == pytest.approx((-exact, exact))


def test_agreeing_on_a_few_questions_is_not_yet_equal_accuracy() -> None:
    few = values_with({("base", 8): steady(0.5, 20), ("ours", 4): steady(0.5, 20)})
    many = values_with({("base", 8): steady(0.5, 400), ("ours", 4): steady(0.5, 400)})
    assert saving(few, "ours", ("base", 8), 0.02).budget is None
    assert saving(many, "ours", ("base", 8), 0.02).budget == 4


def test_only_shared_trials_are_compared() -> None:
    one = {("p", 0): 1.0, ("p", 1): 0.0, ("q", 0): 1.0}
    other = {("p", 0): 0.0, ("r", 0): 1.0}
    assert differences(one, other) == {"p": 1.0}
    assert compare({("a", 8): one, ("b", 8): {}}, [(("a", 8), ("b", 8))]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=2, max_size=20))
def test_swapping_the_sides_turns_a_comparison_around(questions: list[list[int]]) -> None:
    values = values_with({("a", 8): [[row[0]] for row in questions], ("b", 8): [[row[1]] for row in questions]})
    (there,) = compare(values, [(("a", 8), ("b", 8))])
    (back,) = compare(values, [(("b", 8), ("a", 8))])
    assert (there.mean, there.wins, there.losses) == (-back.mean, back.losses, back.wins)
    assert there.joint_low == pytest.approx(-back.joint_high)
    assert there.joint_low <= there.mean <= there.joint_high
    assert there.wins + there.losses + there.ties == there.questions == len(questions)


def test_the_standard_error_is_scipys() -> None:
    sample = keyed_generator("error").normal(size=17)
    assert standard_error(sample) == pytest.approx(stats.sem(sample))


def steady(share: float, questions: int = 400) -> list[list[float]]:
    """Questions of which a share is solved, the same ones whenever the share is at least as large."""
    return [[float(number < share * questions)] for number in range(questions)]


def test_rollouts_saved_end_at_the_first_budget_that_is_inferior() -> None:
    values = values_with(
        {
            ("base", 64): steady(0.60),
            ("ours", 64): steady(0.66),
            ("ours", 32): steady(0.62),
            ("ours", 16): steady(0.59),
            ("ours", 8): steady(0.50),
            ("ours", 4): steady(0.60),  # by luck: the budget above failed, so this one does not count
        }
    )
    found = saving(values, "ours", ("base", 64), 0.03)
    assert (found.budget, found.saved) == (16, 0.75)
    assert found.mean == pytest.approx(-0.01)
    strict = saving(values, "ours", ("base", 64), 0.0)
    assert strict.budget == 32
    assert saving(values, "base", ("base", 64), 0.0).budget is None  # an interval of width 0 at 0 is not above 0
    assert saving(values, "base", ("base", 64), 0.02).budget == 64


def test_where_the_mean_reaches_the_baseline_is_interpolated_on_log_n() -> None:
    arms: dict[Arm, list[list[float]]] = {
        ("base", 64): steady(0.60),
        ("ours", 16): steady(0.50),
        ("ours", 64): steady(0.70),
        ("late", 16): steady(0.1),
        ("soon", 16): steady(0.6),
        ("soon", 64): steady(0.6),
    }
    values = values_with(arms)
    assert saving(values, "ours", ("base", 64), 0.02).reached_at == pytest.approx(32)  # halfway between 16 and 64
    assert saving(values, "late", ("base", 64), 0.02).reached_at is None
    assert saving(values, "soon", ("base", 64), 0.02).reached_at == 16


def test_budgets_beyond_the_baselines_are_not_looked_at() -> None:
    values = values_with({("base", 16): steady(0.6), ("ours", 32): steady(0.9), ("ours", 16): steady(0.5)})
    assert saving(values, "ours", ("base", 16), 0.02).budget is None


def test_missing_questions_are_left_out_of_the_joint_value() -> None:
    table: FloatArray = keyed_generator("holes").normal(size=(400, 3))
    holes = table.copy()
    holes[:100, 0] = math.nan
    assert joint_critical_value(holes) == pytest.approx(joint_critical_value(table), abs=0.08)
