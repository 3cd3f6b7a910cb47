"""Reads answers out of solutions, groups answers that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.equality import equivalent, group
from rollwise.answers.extraction import answer_of
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "BELIEVED",
    "VOTES",
    "answer_of",
    "equivalent",
    "evaluate",
    "group",
    "verified",
    "weighted_majority",
]
