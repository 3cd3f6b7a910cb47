"""Reads answers out of solutions, groups those that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.equality import equivalent, group
from rollwise.answers.extraction import answer_of, on_course
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "BELIEVED",
    "VOTES",
    "answer_of",
    "equivalent",
    "evaluate",
    "group",
    "on_course",
    "verified",
    "weighted_majority",
]
