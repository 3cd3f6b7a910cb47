"""Figures of models against brute force and worked tables."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.calibration.estimators import area_under_curve, calibration_error, isotonic
from rollwise.calibration.rollouts import Rollout
from rollwise.core import Problem
from rollwise.training.evaluation import Judged, calibrated, policy_figures, prefix_figures, solved_share


@pytest.mark.parametrize(("samples", "right", "budget"), [(6, 0, 2), (6, 1, 2), (6, 2, 4), (6, 6, 1), (5, 3, 3)])
def test_solved_share_is_the_mean_over_all_choices(samples: int, right: int, budget: int) -> None:
    chosen = list(combinations(range(samples), budget))
    expected = sum(min(indices) < right for indices in chosen) / len(chosen)
    assert solved_share(samples, right, budget) == pytest.approx(expected)


def test_a_lost_sample_counts_as_wrong() -> None:
    right, wrong = Rollout(("a",), (True,), True), Rollout(("a",), (False,), True)
    sampled = [(Problem("one", "?", level=1), [right, wrong, wrong]), (Problem("two", "?", level=1), [wrong] * 4)]
    figures = policy_figures(sampled, samples=4, budgets=(1, 4))["1"]
    assert (figures["questions"], figures["solved_at_1"], figures["solved_at_4"]) == (2, 1 / 8, 1 / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_area_under_curve_counts_pairs(rows: list[tuple[int, int, int]]) -> None:
    """Each row holds a score and how many true and how many false outcomes it has."""
    scores = np.array([row[0] for row in rows], dtype=np.float64)
    true, false = (np.array([row[column] for row in rows], dtype=np.float64) for column in (1, 2))
    weights = true + false
    shares = np.divide(true, weights, out=np.zeros_like(true), where=weights > 0)
    pairs = [
        (float(a > b) + float(a == b) / 2, n * m)
        for a, n in zip(scores, true, strict=True)
        for b, m in zip(scores, false, strict=True)
    ]
    total = sum(weight for _, weight in pairs)
    area = area_under_curve(scores, shares, weights)
    if total == 0:
        assert np.isnan(area)
    else:
        assert area == pytest.approx(sum(value * weight for value, weight in pairs) / total)


def test_calibration_error_of_a_worked_table() -> None:
    scores = np.array([0.1, 0.15, 0.9, 0.95, 1.0])
    truths = np.array([0, 1, 1, 1, 0])
    # bin 0.1 to 0.2: |0.25 - 1| = 0.75; bin 0.9 to 1: |2.85 - 2| = 0.85
    assert calibration_error(scores, truths) == pytest.approx((0.75 + 0.85) / 5)


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=8))
def test_isotonic_is_better_than_random_monotone_maps(rows: list[tuple[int, float, int]]) -> None:
    scores, truths, weights = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    fitted = isotonic(scores, truths, weights)(np.unique(scores))
    assert np.all(np.diff(fitted) >= -1e-12)
    place = np.unique(scores, return_inverse=True)[1]

    def loss(values: np.ndarray) -> float:
        return float((weights * (values[place] - truths) ** 2).sum())

    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.sort(fitted + rng.normal(0, 0.2, len(fitted)))
        assert loss(fitted) <= loss(other) + 1e-9


def made_up(count: int = 4000) -> Judged:
    """Prefixes with the square of their worth as reward, which is too low; valid if the worth is above a half."""
    rng = np.random.default_rng(1)
    worth = rng.random(count)
    completions = np.full(count, 16.0)
    return Judged(
        question=np.arange(count) // 10,
        level=rng.integers(1, 4, count),
        depth=rng.integers(1, 3, count),
        reward=worth**2,
        valid=(worth > 0.5).astype(np.int64),
        worth=rng.binomial(16, worth) / completions,
        completions=completions,
    )


def test_calibration_corrects_a_monotone_distortion_and_is_fitted_on_other_questions() -> None:
    judged = made_up()
    figures = prefix_figures(judged)
    assert figures["all"]["ece"] == pytest.approx(1 / 6, abs=0.02)
    assert figures["all"]["ece_calibrated"] < 0.02
    assert figures["all"]["auc_validity"] == 1.0
    assert figures["all"]["auc_outcome"] == pytest.approx(5 / 6, abs=0.02)  # ∫∫ 4u(1 - v) over u > v
    assert sum(figures[f"level {level}"]["prefixes"] for level in (1, 2, 3)) == 4000
    halves = judged.take(judged.question % 2 == 0)
    changed = Judged(**{**vars(judged), "worth": np.where(judged.question % 2 == 0, 0.0, judged.worth)})
    np.testing.assert_array_equal(
        calibrated(changed)[judged.question % 2 == 0], calibrated(judged)[judged.question % 2 == 0]
    )
    assert len(halves.reward) == 2000
