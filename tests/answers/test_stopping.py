"""Stop rules against brute force over all completions, scipy's distributions, and simulated votes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rollwise.answers import VOTES, Standing, find_stop_rule, likely_risk, lossless, predictive_risk, verified
from rollwise.answers.stopping import top_two, vote_decided
from rollwise.calibration.record import Ended, Estimate, Within
from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

quick = settings(max_examples=150, deadline=None)
voters = st.lists(st.tuples(st.integers(-1, 2), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=7)


def _arrays(cast: list[tuple[int, float, bool]]) -> tuple[IntArray, FloatArray, IntArray]:
    labels, weights, right = zip(*cast, strict=True) if cast else ((), (), ())
    return np.array(labels, np.int64), np.array(weights, np.float64), np.array(right, np.int64)


def _winner(vote: str, cast: list[tuple[int, float, bool]]) -> int | None:
    labels, weights, right = _arrays(cast)
    return verified(labels, weights, right).label if vote == "verified" else VOTES[vote](labels, weights).label


@quick
@given(st.sampled_from([*VOTES, "verified"]), voters, st.integers(1, 2))
def test_a_decided_vote_has_the_same_winner_whatever_comes(
    vote: str, cast: list[tuple[int, float, bool]], remaining: int
) -> None:
    labels, weights, right = _arrays(cast)
    if not vote_decided(vote, labels, weights, remaining, right):
        return
    to_come = itertools.product((-1, 0, 1, 2, 3), (0.0, 0.5, 1.0), (False, True))  # 3 is an answer not seen so far
    now = _winner(vote, cast)
    for more in itertools.product(list(to_come), repeat=remaining):
        assert _winner(vote, [*cast, *more]) == now


@pytest.mark.parametrize("vote", ["weighted_majority", "majority"])
def test_a_vote_is_decided_as_soon_as_no_completion_changes_it(vote: str) -> None:
    """The worst completion gives every vote to one rival; a tie does not count as decided."""
    for mine, other, remaining in itertools.product(range(6), range(4), range(1, 6)):
        cast = [(0, 1.0, False)] * mine + [(1, 1.0, False)] * other
        decided = vote_decided(vote, *_arrays(cast)[:2], remaining, _arrays(cast)[2])
        assert decided == (abs(mine - other) > remaining)


def test_a_vote_by_belief_is_open_until_the_end_because_later_paths_change_its_weights() -> None:
    shift = Ended(1, 1, Within(Estimate(1, 1, 1), 6.0, (0.0,)))
    before = shift.chances(np.array([0.9, 0.9, 0.9, 0.3]))
    after = shift.chances(np.array([0.9, 0.9, 0.9, 0.3, 0.01]))
    assert np.all(after[:4] < before)
    assert not vote_decided("believed_majority", np.zeros(4, np.int64), before, 1, np.zeros(4, np.int64))


def test_weights_outside_the_unit_interval_decide_nothing() -> None:
    labels, right = np.zeros(5, np.int64), np.zeros(5, np.int64)
    for weights in ([2.0] * 5, [1.0, 1.0, 1.0, 1.0, -1.0]):
        assert not vote_decided("weighted_majority", labels, np.array(weights), 1, right)
    assert vote_decided("weighted_majority", labels, np.ones(5), 1, right)


@quick
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_likely_risk_is_a_binomial_tail_and_a_beta_posterior(a: int, b: int) -> None:
    risk = float(likely_risk(a, b))
    assert risk == pytest.approx(stats.binom.cdf(b, a + b + 1, 0.5), rel=1e-9)
    assert risk == pytest.approx(stats.beta.cdf(0.5, a + 1, b + 1), rel=1e-7)


@quick
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_predictive_risk_is_a_beta_binomial_tail(a: int, b: int, remaining: int) -> None:
    level_from = -(-(a - b + remaining) // 2)  # b + x >= a + R - x
    expected = stats.betabinom.sf(level_from - 1, remaining, b + 1, a + 1)
    assert float(predictive_risk(a, b, remaining)) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    if bool(lossless(a, b, remaining)):
        assert float(predictive_risk(a, b, remaining)) == 0


def test_the_predictive_risk_is_the_share_of_simulated_votes_that_turn() -> None:
    rng = np.random.default_rng(5)
    for a, b, remaining in ((4, 1, 11), (9, 6, 20), (3, 0, 77)):
        shares = rng.beta(b + 1, a + 1, size=200_000)
        more = rng.binomial(remaining, shares)
        turned = np.mean(b + more >= a + remaining - more)
        assert float(predictive_risk(a, b, remaining)) == pytest.approx(turned, abs=0.004)


def test_the_predictive_risk_tends_to_the_likely_risk() -> None:
    assert float(predictive_risk(7, 2, 20_000)) == pytest.approx(float(likely_risk(7, 2)), rel=2e-3)


def test_risks_take_arrays_and_broadcast() -> None:
    leaders = np.arange(12).reshape(3, 4)
    risks = predictive_risk(leaders, 1, np.array([5, 6, 7, 8]))
    assert risks.shape == (3, 4)
    assert risks[2, 3] == predictive_risk(11, 1, 8)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("kind", ["likely", "predictive"])
def test_a_rule_with_a_confidence_errs_no_more_often_on_votes_that_its_prior_draws(kind: str, level: float) -> None:
    """Two answers with shares drawn from the prior, 41 votes: the stopped winner is the final one often enough."""
    rng, n = np.random.default_rng(3), 41
    votes = rng.random((4000, n)) < rng.random((4000, 1))
    ones = votes.cumsum(axis=1)
    seen = np.broadcast_to(np.arange(1, n + 1), ones.shape)
    standing = Standing(np.maximum(ones, seen - ones), np.minimum(ones, seen - ones), seen, n - seen)
    stops = find_stop_rule(f"{kind}({level})").decides(standing)
    stops[:, -1] = True
    at = stops.argmax(axis=1)
    then = (2 * ones > seen)[np.arange(4000), at]
    final = 2 * ones[:, -1] > n
    assert np.mean(then == final) >= level
    assert at.mean() < 0.6 * n


def test_windows_and_fixed_budgets() -> None:
    standing = Standing(np.array([3, 4, 5, 6]), 0, np.array([3, 4, 5, 6]), 10, np.array([3, 4, 5, 6]))
    assert find_stop_rule("first(5)").decides(standing).tolist() == [False, False, True, True]
    assert find_stop_rule("window(3)").decides(standing).tolist() == [True, False, False, True]
    assert find_stop_rule("window(5)").decides(standing).tolist() == [False, False, True, False]
    assert not find_stop_rule("never").decides(standing).any()


def test_names_are_made_uniform() -> None:
    named = {"likely": "likely(0.95)", "likely( .90 )": "likely(0.9)", "first(016)": "first(16)"}
    assert {name: find_stop_rule(name).name for name in named} == named


@pytest.mark.parametrize(
    "name", ["", "sometimes", "likely(1)", "likely(0.2)", "likely(x)", "first", "first(0)", "first(1.5)", "never(3)"]
)
def test_unknown_rules_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"stop rule|confidence"):
        find_stop_rule(name)


def test_top_two_of_few() -> None:
    assert top_two(np.array([-1, -1]), np.ones(2)) == (0, 0)
    assert top_two(np.array([2, 2, -1]), np.array([0.5, 0.25, 9])) == (0.75, 0)
    assert top_two(np.array([0, 2, 2]), np.ones(3)) == (2, 1)
