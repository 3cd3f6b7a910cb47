"""The chance that all rollouts fail, against exact fractions, quadrature and limits."""

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

from rollwise.allocation.failure import check_belief, log_expected_failure, shared_log_failures, sharing
from rollwise.core import Belief
from rollwise.errors import InputError

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
    """The reference is the sum of the logarithms of a million factors."""
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
def test_members_have_the_given_variance_and_correlation(mean: float, concentration: float, correlation: float) -> None:
    """Two rollouts of one member fail with E[(1 - p_i)^2], two of two members with E[(1 - p_i)(1 - p_j)]."""
    variance = math.exp(shared(mean, concentration, correlation, [0], 2)) - (1 - mean) ** 2
    covariance = math.exp(shared(mean, concentration, correlation, [0, 0], 2)) - (1 - mean) ** 2
    assert math.exp(shared(mean, concentration, correlation, [0, 0, 0], 1)) == pytest.approx(1 - mean)
    assert variance == pytest.approx(mean * (1 - mean) / (concentration + 1), rel=1e-6)
    assert covariance / variance == pytest.approx(correlation, rel=1e-5)


def test_the_distribution_of_a_member_is_not_its_belief() -> None:
    """Only the first two moments are those of the belief; the third differs if the doubt is shared in part."""
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
        failures = (betaln(own * p, own * (1 - p) + count) - betaln(own * p, own * (1 - p)) for count in each)
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


def test_trimmed_terms_weigh_nothing() -> None:
    """At a large κ the number of fresh draws spreads wide and its ends are trimmed; the sum by hand keeps the ends."""
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


def test_members_of_a_direction_with_a_known_chance_fail_independently() -> None:
    assert shared(0.3, math.inf, 0.5, [0, 0], 4) == pytest.approx(4 * math.log(0.7))


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
