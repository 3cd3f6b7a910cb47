"""Reads answers out of solutions, groups answers that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.equality import equivalent, group
from rollwise.answers.extraction import answer_of
from rollwise.answers.forms import FORMS, Reading, check_form, read_answers
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "BELIEVED",
    "FORMS",
    "VOTES",
    "Reading",
    "answer_of",
    "check_form",
    "equivalent",
    "evaluate",
    "group",
    "read_answers",
    "verified",
    "weighted_majority",
]
