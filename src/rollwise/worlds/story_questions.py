"""The questions of the world of stories: a chain of people, each of whose numbers follows from earlier numbers.

The last person's number is asked for. If Ann's number is known, a clause may be plain ("Ben: 12 more than Ann"), turned
round ("Ben: Ann has 12 more than Ben", which tempts readers to add), or leave two ways to compute it ("Cal: 3 times as
many as Ann and Ben together": add first, or multiply first).
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from rollwise.core import IntArray
from rollwise.errors import InputError

LARGEST_TOKEN = 999
LONGEST_TEXT = 1500
"""How many characters a question may have."""
MOST_CLAUSES = 12
SLIPS = (-10, -1, 1, 10)
"""The errors that a small plausible slip of arithmetic makes."""

EXAMPLE = "Ann has 37 apples. Ben: 12 more than Ann. Cal: Ben has 15 more than Cal. How many has Cal?"


class Kind(StrEnum):
    """How a clause states a number. A turned clause names the new person where a plain clause names a known person."""

    MORE = "more"
    FEWER = "fewer"
    TIMES = "times"
    TURNED_MORE = "turned more"
    TURNED_FEWER = "turned fewer"
    TOGETHER = "together"


OPERATORS = {"+": operator.add, "−": operator.sub, "×": operator.mul}
RIGHT = {Kind.MORE: "+", Kind.FEWER: "−", Kind.TIMES: "×", Kind.TURNED_MORE: "−", Kind.TURNED_FEWER: "+"}
TEMPTING = {Kind.TURNED_MORE: "+", Kind.TURNED_FEWER: "−"}
"""RIGHT holds the operator of each clause, and TEMPTING that of the tempting wrong reading of turned clauses."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A sentence: its kind, its number, and the positions of the earlier people that it names."""

    kind: Kind
    amount: int
    people: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The first person's number, and a clause for each further person. `names` and `things` are only words."""

    base: int
    clauses: tuple[Clause, ...]
    names: tuple[str, ...]
    things: str

    @property
    def text(self) -> str:
        """The question in the words that the policy was trained on."""
        sentences = [_sentence(clause, self.names, place) for place, clause in enumerate(self.clauses, start=1)]
        first = f"{self.names[0]} has {self.base} {self.things}"
        return ". ".join([first, *sentences, f"How many has {self.names[-1]}?"])

    @property
    def canonical(self) -> tuple[object, ...]:
        """The story without its words; equal for stories that differ only in names and things."""
        return (self.base, *((str(clause.kind), clause.amount, *sorted(clause.people)) for clause in self.clauses))

    @property
    def gold(self) -> int:
        """The right answer."""
        return int(readings(self)[0, -1])


def _sentence(clause: Clause, names: tuple[str, ...], place: int) -> str:
    new, known = names[place], names[clause.people[0]]
    match clause.kind:
        case Kind.TIMES:
            return f"{new}: {clause.amount} times as many as {known}"
        case Kind.TOGETHER:
            return f"{new}: {clause.amount} times as many as {known} and {names[clause.people[1]]} together"
        case Kind.MORE | Kind.FEWER:
            return f"{new}: {clause.amount} {clause.kind} than {known}"
        case Kind.TURNED_MORE | Kind.TURNED_FEWER:
            return f"{new}: {known} has {clause.amount} {clause.kind.removeprefix('turned ')} than {new}"


def stated_number(clause: Clause, numbers: Sequence[Any], operators: Mapping[Kind, str] = RIGHT) -> Any:
    """The new person's number under the operators of a reading; `numbers` of the earlier people are ints or arrays."""
    known = functools.reduce(operator.add, [numbers[person] for person in clause.people])
    return OPERATORS[operators.get(clause.kind, "×")](known, clause.amount)


@functools.lru_cache(maxsize=10_000)
def readings(story: Story) -> IntArray:
    """Everyone's number under every reading of the turned clauses: (2^turned, people). The right reading is row 0."""
    turned = [place for place, clause in enumerate(story.clauses) if clause.kind in TEMPTING]
    tempted = np.array(list(itertools.product((False, True), repeat=len(turned))), dtype=bool)
    numbers = [np.full(len(tempted), story.base, dtype=np.int64)]
    for place, clause in enumerate(story.clauses):
        number = stated_number(clause, numbers)
        if place in turned:
            misread = stated_number(clause, numbers, TEMPTING)
            number = np.where(tempted[:, turned.index(place)], misread, number)
        numbers.append(number)
    return np.stack(numbers, axis=1)


def sensitivities(story: Story) -> IntArray:
    """How much person i's number grows if person j's number is 1 larger: (people, people). Every clause is linear."""
    moved = np.eye(len(story.clauses) + 1, dtype=np.int64)
    for place, clause in enumerate(story.clauses, start=1):
        factor = clause.amount if clause.kind in (Kind.TIMES, Kind.TOGETHER) else 1
        moved[place] += factor * moved[list(clause.people)].sum(axis=0)
    return moved


@functools.lru_cache(maxsize=10_000)
def faults_end_wrong(story: Story) -> bool:
    """Whether every fault changes the answer, while all numbers on the way stay in 1..LARGEST_TOKEN.

    A fault is to misread any turned clauses, to slip once by one of SLIPS, or both. The result is exact, because every
    clause is linear: a misreading or a slip shifts all later numbers by constants. A slip in a sum that is then
    multiplied is multiplied too.
    """
    numbers, moved = readings(story), sensitivities(story)
    weights = [(1, clause.amount) if clause.kind is Kind.TOGETHER else (1,) for clause in story.clauses]
    reach = max(SLIPS) * (moved[:, 1:] * [max(each) for each in weights]).max(axis=1)
    if numbers.min() <= max(SLIPS) or (numbers - reach).min() < 1 or (numbers + reach).max() > LARGEST_TOKEN:
        return False
    shifts = {
        slip * weight * int(moved[-1, place])
        for place, each in enumerate(weights, start=1)
        for weight in each
        for slip in SLIPS
    }
    errors = (numbers[:, -1] - numbers[0, -1]).tolist()
    return 0 not in errors[1:] and shifts.isdisjoint(-error for error in errors)


_NAME = "[A-Z][a-z]{1,11}"
_FIRST = re.compile(rf"(?P<new>{_NAME}) has (?P<amount>\d+) (?P<things>[a-z]+)")
_THAN = re.compile(rf"(?P<subject>{_NAME}) has (?P<amount>\d+) (?P<kind>more|fewer) than (?P<other>{_NAME})")
_TIMES = re.compile(
    rf"(?P<new>{_NAME}) has (?P<amount>\d+) times as many as (?P<known>{_NAME})(?: and (?P<second>{_NAME}) together)?"
)
_HEADING = re.compile(rf"(?P<new>{_NAME}): (?P<rest>(?P<short>\d)?.*)")
_ASKED = re.compile(rf"How many (?:has (?P<has>{_NAME})|does (?P<does>{_NAME}) have)\?")


@functools.lru_cache(maxsize=10_000)
def read_story(question: str) -> Story:
    """The story in a text. Raises InputError if it is no story, or if its numbers are not whole numbers above zero."""
    sentences = re.split(r"\.\s+", " ".join(question.split())) if len(question) <= LONGEST_TEXT else []
    first = _FIRST.fullmatch(sentences[0]) if sentences else None
    asked = _ASKED.fullmatch(sentences[-1]) if sentences else None
    if first is None or asked is None:
        raise InputError(f"this is not a story of this world: {question[:80]!r}; write it like {EXAMPLE!r}")
    clause_texts = sentences[1:-1]
    if not 1 <= len(clause_texts) <= MOST_CLAUSES:
        raise InputError(f"a story has 1 to {MOST_CLAUSES} sentences between the first and the question")
    names = [first["new"]]
    clauses = []
    for sentence in clause_texts:
        clause, new = _read_clause(_spelled_out(sentence), names)
        if (heading := _HEADING.fullmatch(sentence)) and heading["new"] != new:
            raise InputError(
                f"this sentence states the number of {new}, not of {heading['new']}: {sentence[:80]!r}; change a name"
            )
        clauses.append(clause)
        names.append(new)
    if (asked["has"] or asked["does"]) != names[-1]:
        raise InputError(f"a story asks for the last person's number: end with 'How many has {names[-1]}?'")
    story = Story(int(first["amount"]), tuple(clauses), tuple(names), first["things"])
    _check_numbers(story)
    return story


def _spelled_out(sentence: str) -> str:
    """A sentence without its heading: "Ben: 12 more than Ann" is "Ben has 12 more than Ann"."""
    heading = _HEADING.fullmatch(sentence)
    if heading is None:
        return sentence
    return f"{heading['new']} has {heading['rest']}" if heading["short"] else heading["rest"]


def _read_clause(sentence: str, names: list[str]) -> tuple[Clause, str]:
    """A sentence's clause, and the name of the new person whose number it states. `names` are the known people."""
    if match := _THAN.fullmatch(sentence):
        subject, other = match["subject"], match["other"]
        if (subject in names) != (other in names):
            known, new, turned = (subject, other, "turned ") if subject in names else (other, subject, "")
            return Clause(Kind(turned + match["kind"]), int(match["amount"]), (names.index(known),)), new
    elif match := _TIMES.fullmatch(sentence):
        people = [name for name in (match["known"], match["second"]) if name]
        if match["new"] not in names and len(set(people) & set(names)) == len(people):
            kind = Kind.TOGETHER if len(people) == 2 else Kind.TIMES
            return Clause(kind, int(match["amount"]), tuple(map(names.index, people))), match["new"]
    else:
        raise InputError(
            f"stories of this world have no sentence like {sentence[:80]!r}; write it like "
            "'Ben has 12 more than Ann', '12 fewer than Ann', '3 times as many as Ann', "
            "'3 times as many as Ann and Cal together'"
        )
    raise InputError(f"each sentence has to relate one new person to people named before, unlike {sentence[:80]!r}")


def _check_numbers(story: Story) -> None:
    stated = [story.base, *(clause.amount for clause in story.clauses)]
    if min(stated) < 1 or max(stated) > LARGEST_TOKEN:
        raise InputError(f"the numbers of a story have to lie in 1 to {LARGEST_TOKEN}")
    for name, number in zip(story.names, readings(story)[0].tolist(), strict=True):
        if not 1 <= number <= 10 * LARGEST_TOKEN:
            raise InputError(
                f"{name} would have {number}; change the story so that everyone has 1 to {10 * LARGEST_TOKEN}"
            )
