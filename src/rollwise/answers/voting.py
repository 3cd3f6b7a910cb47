"""Votes: they turn answer labels and weights into a winner. `rollwise.answers.equality` makes the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rollwise.core import FloatArray, IntArray


@dataclass(frozen=True)
class Verdict:
    """The result of a vote.

    `voter` is the index of the heaviest voter for the winning answer, `label` the label of that answer, and `support`
    its share of the vote. `voter` and `label` are None if nobody has an answer, or if `verified` found no right answer.
    `attempt` is the winner; if `verified` found no right answer, it is the heaviest voter who has an answer, or None.
    """

    voter: int | None
    label: int | None
    support: float
    attempt: int | None = None


def _elect(labels: IntArray, votes: FloatArray, weights: FloatArray) -> Verdict:
    """The label with the most votes. Ties go to the larger weight, then to the earlier voter; sums that differ by less
    than 1e-12, or by less than that share of the largest, are equal.

    `labels`, `votes` and `weights` are (n,); the label -1 stands for no answer.
    """
    voters = np.flatnonzero(labels >= 0)
    if not len(voters):
        return Verdict(None, None, 0.0)
    if votes[voters].sum() <= 0:
        votes = np.ones_like(votes)
    vote_sums = np.bincount(labels[voters], votes[voters])
    weight_sums = np.bincount(labels[voters], weights[voters])
    most, heaviest = (min(1.0, float(sums.max())) or 1.0 for sums in (vote_sums, weight_sums))
    first_voters = {int(labels[voter]): int(voter) for voter in reversed(voters)}

    def rank(label: int) -> tuple[float, float, int]:
        votes_now, weight = float(vote_sums[label]) / most, float(weight_sums[label]) / heaviest
        return round(votes_now, 12), round(weight, 12), -first_voters[label]

    winner = max(first_voters, key=rank)
    members = voters[labels[voters] == winner]
    voter = int(members[np.argmax(weights[members])])
    return Verdict(voter, winner, float(vote_sums[winner] / vote_sums.sum()), voter)


def weighted_majority(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer with the largest sum of weights. Support is its share of the weight of all voters with an answer.

    If no voter has any weight, all voters count the same.
    """
    return _elect(labels, weights, weights)


def majority(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer with the most voters; weights only break ties."""
    return _elect(labels, np.ones(len(labels)), weights)


def best_of_n(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer of the heaviest voter. Support is the share of voters with the same answer."""
    voters = np.flatnonzero(labels >= 0)
    if not len(voters):
        return Verdict(None, None, 0.0)
    voter = int(voters[np.argmax(weights[voters])])
    label = int(labels[voter])
    return Verdict(voter, label, float(np.mean(labels[voters] == label)), voter)


def verified(labels: IntArray, weights: FloatArray, right: IntArray) -> Verdict:
    """The heaviest voter whose answer was checked to be right; no winner if no answer is right.

    `right` (n,) is above 0 for right answers. Support is the share of right answers among voters with an answer.
    """
    attempt = best_of_n(labels, weights).voter
    right_voters = np.flatnonzero((labels >= 0) & (right > 0))
    if not len(right_voters):
        return Verdict(None, None, 0.0, attempt)
    voter = int(right_voters[np.argmax(weights[right_voters])])
    return Verdict(voter, int(labels[voter]), len(right_voters) / int(np.sum(labels >= 0)), voter)


BELIEVED = "believed_majority"
VOTES: dict[str, Callable[[IntArray, FloatArray], Verdict]] = {
    "weighted_majority": weighted_majority,
    BELIEVED: weighted_majority,
    "majority": majority,
    "best_of_n": best_of_n,
}
"""The votes that need only labels and weights; `verified` also needs the world's check of each answer.

A path's weight is its reward. In the vote BELIEVED, its weight is the chance that it is right according to a belief.
"""
