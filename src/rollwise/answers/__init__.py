"""Reads answers out of solutions, groups answers that are the same mathematics, and votes."""

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.ballots import Ballot, count_ballots
from rollwise.answers.equality import equivalent, group
from rollwise.answers.extraction import last_boxed
from rollwise.answers.forms import AUTO, BOXED, FORMS, Reading, answer_of, check_form, read_answers
from rollwise.answers.graders import GRADER_NAMES, Grader, find_grader
from rollwise.answers.grading import GRADERS, Grade, grade
from rollwise.answers.stopping import (
    STOP_RULES,
    Standing,
    StopRule,
    find_stop_rule,
    likely_risk,
    lossless,
    predictive_risk,
    top_two,
    vote_decided,
)
from rollwise.answers.sums import Sum, numbers_in, put_right, sums_of
from rollwise.answers.voting import BELIEVED, VOTES, verified, weighted_majority

__all__ = [
    "AUTO",
    "BELIEVED",
    "BOXED",
    "FORMS",
    "GRADERS",
    "GRADER_NAMES",
    "STOP_RULES",
    "VOTES",
    "Ballot",
    "Grade",
    "Grader",
    "Reading",
    "Standing",
    "StopRule",
    "Sum",
    "answer_of",
    "check_form",
    "count_ballots",
    "equivalent",
    "evaluate",
    "find_grader",
    "find_stop_rule",
    "grade",
    "group",
    "last_boxed",
    "likely_risk",
    "lossless",
    "numbers_in",
    "predictive_risk",
    "put_right",
    "read_answers",
    "sums_of",
    "top_two",
    "verified",
    "vote_decided",
    "weighted_majority",
]
