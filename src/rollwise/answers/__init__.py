"""Reads answers out of solutions, groups answers that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.ballots import Ballot, count_ballots
from rollwise.answers.equality import equivalent, group
from rollwise.answers.forms import AUTO, BOXED, FORMS, Reading, answer_of, check_form, read_answers
from rollwise.answers.grading import GRADERS, Grade, grade
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "AUTO",
    "BELIEVED",
    "BOXED",
    "FORMS",
    "GRADERS",
    "VOTES",
    "Ballot",
    "Grade",
    "Reading",
    "answer_of",
    "check_form",
    "count_ballots",
    "equivalent",
    "evaluate",
    "grade",
    "group",
    "read_answers",
    "verified",
    "weighted_majority",
]
