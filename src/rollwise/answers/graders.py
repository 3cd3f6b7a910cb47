"""Graders: each says whether an answer is right, which answers are the same, and whether a gold answer can be read."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rollwise.answers.choices import letter_of
from rollwise.answers.comparing import reading_of
from rollwise.answers.equality import Worker, equivalent, group, worker
from rollwise.answers.evaluation import exact
from rollwise.core import IntArray
from rollwise.errors import EngineError, InputError, UnknownNameError
from rollwise.plugins import is_own_file, load_file

BOXED_ANSWER = "Please reason step by step, and put your final answer within \\boxed{}."
BOXED_LETTER = "Please reason step by step, and put the letter of your final choice within \\boxed{}."
LONGEST_TEXT_GOLD = 100
"""A gold answer of more characters that is no mathematics is a whole solution or a remark, not an answer."""
SECONDS = 5.0
"""The time limit for one answer."""

Labels = Callable[[Sequence[str | None]], IntArray]


@dataclass(frozen=True)
class Grader:
    """How answers are graded.

    `right(gold, answer)` says whether an answer is right. `group(answers)` gives labels (n,), equal for answers that
    count as the same in a vote, -1 for None. `reads(gold)` says whether a gold answer can be used; `golds` says in
    words what it has to be. `asks` tells the policy how to give its answer, and `form` is the form in which the answer
    is read (see FORMS) unless the user names another.
    """

    name: str
    right: Callable[[str, str], bool]
    group: Labels
    reads: Callable[[str], bool]
    golds: str
    asks: str = BOXED_ANSWER
    form: str = "auto"

    def refuse_unreadable(self, gold: str) -> None:
        """Raise InputError if a gold answer cannot be read."""
        if not gold.strip() or not self.reads(gold):
            raise InputError(f"the gold “{gold.strip():.60}” is not {self.golds}, as the grader {self.name} needs")


@functools.cache
def find_grader(name: str) -> Grader:
    """The grader of a name.

    `math` (also `auto`) compares mathematics as `equivalent` does. `integer` and `number` compare values: `number` up
    to a millionth of the larger one, `number(1%)` up to a hundredth of it, and `number(0.01)` up to a distance of 0.01.
    `choice` compares letters from A to E, `text` the spelling after trimming. `file.py:function` is a function
    (answer, gold) → bool, which runs in a process of its own. Raises InputError.
    """
    if name in ("auto", "math"):
        return Grader("math", equivalent, group, _is_answer, "an answer that mathematics can compare")
    if name == "integer":
        return _keyed("integer", _integer, "a whole number")
    if (match := _NUMBER.fullmatch(name)) is not None:
        return _number_grader(name, match["tolerance"] or "0.0001%")
    if name == "choice":
        return _keyed("choice", letter_of, "a letter from A to E", BOXED_LETTER, "choice")
    if name == "text":
        return _keyed("text", str.strip, "a text")
    if is_own_file(name):
        return _own_grader(name)
    raise UnknownNameError("grader", name, [*GRADER_NAMES, "number(TOLERANCE)", "file.py:function"])


GRADER_NAMES = ("auto", "math", "integer", "number", "choice", "text")
_NUMBER = re.compile(r"number(?:\((?P<tolerance>\d+(?:\.\d+)?%?)\))?")
_STATED = re.compile(r"\s*[A-Za-z]\w*\s*=\s*(.*)", re.DOTALL)


def _is_answer(gold: str) -> bool:
    reading = reading_of(gold)
    return reading.node is not None or reading.choice is not None or len(gold) <= LONGEST_TEXT_GOLD


def _keyed(
    name: str, read: Callable[[str], Hashable], golds: str, asks: str = BOXED_ANSWER, form: str = "auto"
) -> Grader:
    """A grader for which two answers are the same if `read` gives the same for both; None if it cannot read one."""

    def right(gold: str, answer: str) -> bool:
        found = read(answer)
        return found is not None and found == read(gold)

    def labels(answers: Sequence[str | None]) -> IntArray:
        return _numbered([None if answer is None else (read(answer), _unread(read, answer)) for answer in answers])

    return Grader(name, right, labels, lambda gold: read(gold) is not None, golds, asks, form)


def _unread(read: Callable[[str], Hashable], answer: str) -> str | None:
    """The text of an answer that cannot be read, which is the same as no other text."""
    return answer.strip() if read(answer) is None else None


def _numbered(keys: Sequence[Hashable]) -> IntArray:
    """Labels (n,) of keys, in order of appearance; -1 for None."""
    numbers: dict[Hashable, int] = {}
    return np.array([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _integer(answer: str) -> int | None:
    value = _rational(answer)
    return int(value) if value is not None and value.denominator == 1 else None


def _rational(answer: str) -> Fraction | None:
    """The exact value of an answer without its unit and without `x =` before it; None if there is none."""
    stated = _STATED.fullmatch(answer)
    node = reading_of(stated[1] if stated else answer).node
    return None if node is None else exact(node)


@functools.lru_cache(maxsize=8192)
def _value(answer: str) -> Fraction | None:
    """The value of an answer that is a number: exact if it is rational, else from many digits."""
    value = _rational(answer)
    if value is not None:
        return value
    stated = _STATED.fullmatch(answer)
    found = worker.call("constant", stated[1] if stated else answer, seconds=SECONDS)
    return None if found is None else Fraction(found)


def _number_grader(name: str, tolerance: str) -> Grader:
    """A grader of numbers. `tolerance` is a distance, or a share of the larger number if it ends in %."""
    share = Fraction(tolerance.removesuffix("%")) / (100 if tolerance.endswith("%") else 1)

    def near(left: Fraction, right: Fraction) -> bool:
        scale = max(abs(left), abs(right)) if tolerance.endswith("%") else 1
        return abs(left - right) <= share * scale

    def right(gold: str, answer: str) -> bool:
        wanted, found = _value(gold), _value(answer)
        return wanted is not None and found is not None and near(wanted, found)

    def labels(answers: Sequence[str | None]) -> IntArray:
        values = sorted({value for answer in answers if answer is not None and (value := _value(answer)) is not None})
        first_of: dict[Fraction, Fraction] = {}
        for before, value in zip([None, *values], values, strict=False):
            first_of[value] = first_of[before] if before is not None and near(before, value) else value
        keys = [
            None if answer is None else first_of[value] if (value := _value(answer)) is not None else answer.strip()
            for answer in answers
        ]
        return _numbered(keys)

    return Grader(name, right, labels, lambda gold: _value(gold) is not None, "a number")


def _own_grader(name: str) -> Grader:
    """A function of the user's, each call in a process that is killed at the time limit."""
    function = load_file(name, "grader")
    try:
        inspect.signature(function).bind("answer", "gold")
    except (TypeError, ValueError):
        raise InputError(f"{name} has to be a function that takes (answer, gold) and returns True or False") from None
    process = Worker("rollwise.answers.own_grader", name)

    def right(gold: str, answer: str) -> bool:
        reply = process.call("right", answer, gold, seconds=SECONDS)
        if isinstance(reply, bool):
            return reply
        told = reply if isinstance(reply, str) else f"ended its process or took longer than {SECONDS:g} seconds"
        raise EngineError(f"the grader {name} {told}")

    return Grader(name, right, functools.partial(group, compare="text"), lambda gold: True, "a text")
