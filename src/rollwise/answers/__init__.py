"""Reads answers out of solutions, groups answers that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.ballots import Ballot, count_ballots
from rollwise.answers.equality import equivalent, group
from rollwise.answers.extraction import answer_of
from rollwise.answers.grading import GRADERS, Grade, grade
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "BELIEVED",
    "GRADERS",
    "VOTES",
    "Ballot",
    "Grade",
    "answer_of",
    "count_ballots",
    "equivalent",
    "evaluate",
    "grade",
    "group",
    "verified",
    "weighted_majority",
]
