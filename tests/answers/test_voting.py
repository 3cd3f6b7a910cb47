"""Votes against worked examples and sums in a plain dictionary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.answers.voting import VOTES, Verdict, best_of_n, majority, verified, weighted_majority
from rollwise.core import FloatArray, IntArray

quick = settings(max_examples=100)
ballots = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 8)), max_size=20)
every_vote = pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
Vote = Callable[[IntArray, FloatArray], Verdict]


def arrays(labels: list[int], weights: list[float]) -> tuple[IntArray, FloatArray]:
    return np.array(labels, dtype=np.int64), np.array(weights, dtype=np.float64)


@pytest.mark.parametrize(
    ("vote", "voter", "label", "support"),
    [(best_of_n, 0, 0, 1 / 6), (weighted_majority, 1, 1, 1.5 / 3), (majority, 5, 2, 3 / 6)],
)
def test_each_vote_has_its_own_winner(vote: Vote, voter: int, label: int, support: float) -> None:
    verdict = vote(*arrays([0, 1, 1, 2, 2, 2, -1], [0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 1.0]))
    assert (verdict.voter, verdict.label, verdict.attempt) == (voter, label, voter)
    assert verdict.support == pytest.approx(support)


@pytest.mark.parametrize(
    ("vote", "labels", "weights", "voter"),
    [
        (weighted_majority, [1, 0], [0.5, 0.5], 0),
        (weighted_majority, [0, 1, 1], [0.3, 0.1, 0.2], 0),  # 0.1 + 0.2 > 0.3 in floating point only
        (weighted_majority, [1, 1, 0], [0.1, 0.2, 0.3], 1),
        (weighted_majority, [0, 0], [0.5, 0.5], 0),
        (majority, [1, 0], [0.4, 0.6], 1),
        (majority, [1, 0, 1, 0], [0.5, 0.1, 0.3, 0.7], 0),
        (weighted_majority, [1, 1, 0], [1e-20, 1e-20, 3e-13], 2),  # such as the likelihoods of whole solutions
        (weighted_majority, [0, 1, 1], [3e-20, 1e-20, 2e-20], 0),
        (majority, [1, 0], [1e-20, 3e-13], 1),
        (best_of_n, [1, 0, 0], [0.6, 0.6, 0.6], 0),
        (best_of_n, [-1, 0, 1], [0.9, 0.2, 0.3], 2),
    ],
)
def test_ties_go_to_more_weight_then_to_the_earlier_voter(
    vote: Vote, labels: list[int], weights: list[float], voter: int
) -> None:
    verdict = vote(*arrays(labels, weights))
    assert (verdict.voter, verdict.label) == (voter, labels[voter])


@every_vote
@pytest.mark.parametrize("labels", [[], [-1], [-1, -1]])
def test_without_answers_nobody_wins(vote: Vote, labels: list[int]) -> None:
    assert vote(*arrays(labels, [0.7] * len(labels))) == Verdict(None, None, 0.0)


def test_without_any_weight_all_voters_count_the_same() -> None:
    verdict = weighted_majority(*arrays([-1, 0, 1, 1], [1.0, 0.0, 0.0, 0.0]))
    assert (verdict.voter, verdict.label) == (2, 1)
    assert verdict.support == pytest.approx(2 / 3)


@quick
@given(ballot=ballots)
def test_weighted_majority_is_the_largest_sum(ballot: list[tuple[int, int]]) -> None:
    verdict = weighted_majority(*arrays([label for label, _ in ballot], [eighths / 8 for _, eighths in ballot]))
    weighted = any(eighths for label, eighths in ballot if label >= 0)
    sums: dict[int, int] = {}
    for label, eighths in ballot:
        if label >= 0:
            sums[label] = sums.get(label, 0) + (eighths if weighted else 1)
    best = max(sums.values(), default=0)
    expected = next((label for label, _ in ballot if label >= 0 and sums[label] == best), None)
    assert verdict.label == expected
    assert verdict.support == pytest.approx(best / max(1, sum(sums.values())))


@every_vote
@quick
@given(ballot=ballots)
def test_support_is_a_share_and_the_voter_voted_for_the_winner(vote: Vote, ballot: list[tuple[int, int]]) -> None:
    labels = [label for label, _ in ballot]
    verdict = vote(*arrays(labels, [eighths / 8 for _, eighths in ballot]))
    assert 0 <= verdict.support <= 1
    assert (verdict.voter is None) == (max(labels, default=-1) < 0)
    if verdict.voter is not None:
        assert labels[verdict.voter] == verdict.label
        assert ballot[verdict.voter][1] == max(eighths for label, eighths in ballot if label == verdict.label)
        assert verdict.support > 0


@pytest.mark.parametrize(
    ("labels", "weights", "right", "expected"),
    [
        ([0, 1, 2, -1], [0.9, 0.5, 0.7, 1.0], [0, 1, 1, 1], Verdict(2, 2, 2 / 3, 2)),
        ([0, 1, 1], [0.9, 0.5, 0.5], [0, 1, 1], Verdict(1, 1, 2 / 3, 1)),
        ([0, 1, -1], [0.2, 0.5, 0.9], [0, 0, 0], Verdict(None, None, 0.0, 1)),
        ([-1, -1], [0.2, 0.5], [0, 0], Verdict(None, None, 0.0, None)),
        ([], [], [], Verdict(None, None, 0.0, None)),
    ],
)
def test_verified(labels: list[int], weights: list[float], right: list[int], expected: Verdict) -> None:
    assert verified(*arrays(labels, weights), np.array(right, dtype=np.int64)) == expected


@quick
@given(ballot=st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 8), st.integers(0, 1)), max_size=20))
def test_verified_never_returns_a_wrong_answer(ballot: list[tuple[int, int, int]]) -> None:
    labels, eighths, right = ([row[column] for row in ballot] for column in range(3))
    verdict = verified(*arrays(labels, [weight / 8 for weight in eighths]), np.array(right, dtype=np.int64))
    assert 0 <= verdict.support <= 1
    right_voters = [index for index, label in enumerate(labels) if label >= 0 and right[index]]
    assert (verdict.voter is None) == (not right_voters)
    if verdict.voter is not None:
        assert verdict.voter in right_voters
        assert eighths[verdict.voter] == max(eighths[index] for index in right_voters)
