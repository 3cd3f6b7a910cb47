"""From answer labels and weights to a winner. Grouping answers by equality is `rollwise.answers.equality`' work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rollwise.core import FloatArray, IntArray


@dataclass(frozen=True)
class Verdict:
    """The winning voter (its index, the heaviest of the winning group), the group's label and its share of the vote.

    `voter` and `label` are None where nobody had an answer, or where `verified` found no right one; then `attempt` is
    the heaviest voter with an answer, if there is any.
    """

    voter: int | None
    label: int | None
    support: float
    attempt: int | None = None


def _elect(labels: IntArray, votes: FloatArray, weights: FloatArray) -> Verdict:
    """The label with most votes; ties to more weight, then to the earlier voter. Label -1 is no answer."""
    voters = np.flatnonzero(labels >= 0)
    if not len(voters):
        return Verdict(None, None, 0.0)
    if votes[voters].sum() <= 0:
        votes = np.ones_like(votes)
    totals = np.bincount(labels[voters], votes[voters])
    heavy = np.bincount(labels[voters], weights[voters])
    first = {int(label): -int(index) for index, label in reversed(list(enumerate(labels))) if label >= 0}
    label = max(first, key=lambda one: (round(float(totals[one]), 12), round(float(heavy[one]), 12), first[one]))
    members = voters[labels[voters] == label]
    voter = int(members[np.argmax(weights[members])])
    return Verdict(voter, label, float(totals[label] / totals.sum()), voter)


def weighted_majority(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer whose voters weigh most together. Support is their share of the weight of all who answered.

    Where nobody weighs anything, every voter counts alike.
    """
    return _elect(labels, weights, weights)


def majority(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer with most voters; weights break ties only."""
    return _elect(labels, np.ones(len(labels)), weights)


def best_of_n(labels: IntArray, weights: FloatArray) -> Verdict:
    """The answer of the heaviest voter. Support is the share of those who answered alike."""
    voters = np.flatnonzero(labels >= 0)
    if not len(voters):
        return Verdict(None, None, 0.0)
    voter = int(voters[np.argmax(weights[voters])])
    label = int(labels[voter])
    return Verdict(voter, label, float(np.mean(labels[voters] == label)), voter)


def verified(labels: IntArray, weights: FloatArray, right: IntArray) -> Verdict:
    """The heaviest voter among those whose answer was checked to be right; none where nobody's was.

    Support is the share of right answers among those who answered.
    """
    attempt = best_of_n(labels, weights).voter
    good = np.flatnonzero((labels >= 0) & (right > 0))
    if not len(good):
        return Verdict(None, None, 0.0, attempt)
    voter = int(good[np.argmax(weights[good])])
    return Verdict(voter, int(labels[voter]), len(good) / int(np.sum(labels >= 0)), voter)


BELIEVED = "believed_majority"
VOTES: dict[str, Callable[[IntArray, FloatArray], Verdict]] = {
    "weighted_majority": weighted_majority,
    BELIEVED: weighted_majority,
    "majority": majority,
    "best_of_n": best_of_n,
}
"""The votes that need labels and weights only; `verified` needs the world's word too. A path weighs its reward, in a
vote that is BELIEVED the chance to be right that a belief sees in it.
"""
