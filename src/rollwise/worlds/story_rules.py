"""Stories: a chain of people, each of whose numbers follows from earlier ones; the last one's is asked for.

Where Ann is known, a clause may be plain ("Ben: 12 more than Ann"), turned round ("Ben: Ann has 12 more than Ben",
which tempts one to add), or leave two ways ("Cal: 3 times as many as Ann and Ben together": add first, or multiply).
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

SEPARATOR = "\n\n"
ANSWER_PREFIX = "Answer: \\boxed{"
LARGEST_TOKEN = 999
LONGEST_TEXT = 1500
MOST_CLAUSES = 12
SLIPS = (-10, -1, 1, 10)
"""By how much a small plausible error of arithmetic is off."""

EXAMPLE = "Ann has 37 apples. Ben: 12 more than Ann. Cal: Ben has 15 more than Cal. How many has Cal?"


class Kind(StrEnum):
    """How a clause tells a person's number. TURNED ones name the new person where a plain one names the known."""

    MORE = "more"
    FEWER = "fewer"
    TIMES = "times"
    TURNED_MORE = "turned more"
    TURNED_FEWER = "turned fewer"
    TOGETHER = "together"


class Way(StrEnum):
    """How a solution computes a multiple of two numbers together: SHORT adds first, LONG multiplies each first."""

    SHORT = "short"
    LONG = "long"


OPERATORS = {"+": operator.add, "−": operator.sub, "×": operator.mul}
RIGHT = {Kind.MORE: "+", Kind.FEWER: "−", Kind.TIMES: "×", Kind.TURNED_MORE: "−", Kind.TURNED_FEWER: "+"}
TEMPTING = {Kind.TURNED_MORE: "+", Kind.TURNED_FEWER: "−"}


@dataclass(frozen=True, slots=True)
class Clause:
    """A sentence: its kind, its number, and the earlier people it names, by position."""

    kind: Kind
    amount: int
    people: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The first person's number and a clause for each further person; `names` and `things` are only words."""

    base: int
    clauses: tuple[Clause, ...]
    names: tuple[str, ...]
    things: str

    @property
    def text(self) -> str:
        """The question as the policy was trained to read it."""
        told = [_sentence(clause, self.names, place) for place, clause in enumerate(self.clauses, start=1)]
        first = f"{self.names[0]} has {self.base} {self.things}"
        return ". ".join([first, *told, f"How many has {self.names[-1]}?"])

    @property
    def canonical(self) -> tuple[object, ...]:
        """The story without its words: equal for stories that differ in names and things only."""
        return (self.base, *((str(one.kind), one.amount, *sorted(one.people)) for one in self.clauses))

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


def told(clause: Clause, numbers: Sequence[Any], operators: Mapping[Kind, str] = RIGHT) -> Any:
    """The new person's number, by the operators of a reading; `numbers` are ints or arrays."""
    known = functools.reduce(operator.add, [numbers[person] for person in clause.people])
    return OPERATORS[operators.get(clause.kind, "×")](known, clause.amount)


@functools.lru_cache(maxsize=10_000)
def readings(story: Story) -> IntArray:
    """Everyone's number under every way to read the turned clauses, (2^turned, people); all read right comes first."""
    turned = [place for place, clause in enumerate(story.clauses) if clause.kind in TEMPTING]
    tempted = np.array(list(itertools.product((False, True), repeat=len(turned))), dtype=bool)
    numbers = [np.full(len(tempted), story.base, dtype=np.int64)]
    for place, clause in enumerate(story.clauses):
        found = told(clause, numbers)
        if place in turned:
            found = np.where(tempted[:, turned.index(place)], told(clause, numbers, TEMPTING), found)
        numbers.append(found)
    return np.stack(numbers, axis=1)


def sensitivities(story: Story) -> IntArray:
    """By how much person i's number moves where person j's is one larger, (people, people); every clause is linear."""
    moved = np.eye(len(story.clauses) + 1, dtype=np.int64)
    for place, clause in enumerate(story.clauses, start=1):
        factor = clause.amount if clause.kind in (Kind.TIMES, Kind.TOGETHER) else 1
        moved[place] += factor * moved[list(clause.people)].sum(axis=0)
    return moved


@functools.lru_cache(maxsize=10_000)
def faults_show(story: Story) -> bool:
    """Whether whoever misreads clauses, slips once by one of SLIPS, or both, ends wrong, with every number on the way
    in 1..LARGEST_TOKEN.

    Exact, since every clause is linear: a misreading or a slip shifts all later numbers by constants. A slip in a sum
    that is then multiplied counts that many times.
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
_THAN = re.compile(rf"(?P<one>{_NAME}) has (?P<amount>\d+) (?P<kind>more|fewer) than (?P<other>{_NAME})")
_TIMES = re.compile(
    rf"(?P<new>{_NAME}) has (?P<amount>\d+) times as many as (?P<known>{_NAME})(?: and (?P<second>{_NAME}) together)?"
)
_HEADING = re.compile(rf"(?P<new>{_NAME}): (?P<rest>(?P<short>\d)?.*)")
_ASKED = re.compile(rf"How many (?:has (?P<has>{_NAME})|does (?P<does>{_NAME}) have)\?")


@functools.lru_cache(maxsize=10_000)
def read_story(question: str) -> Story:
    """The story that a text tells. Raises InputError where it tells none, or one whose numbers are not whole and above
    zero.
    """
    sentences = re.split(r"\.\s+", " ".join(question.split())) if len(question) <= LONGEST_TEXT else []
    first = _FIRST.fullmatch(sentences[0]) if sentences else None
    asked = _ASKED.fullmatch(sentences[-1]) if sentences else None
    if first is None or asked is None:
        raise InputError(f"this is not a story of this world: {question[:80]!r}; write it like {EXAMPLE!r}")
    told = sentences[1:-1]
    if not 1 <= len(told) <= MOST_CLAUSES:
        raise InputError(f"a story has 1 to {MOST_CLAUSES} sentences between the first and the question")
    names = [first["new"]]
    clauses = []
    for sentence in told:
        clause, new = _read_clause(_spelled_out(sentence), names)
        if (heading := _HEADING.fullmatch(sentence)) and heading["new"] != new:
            raise InputError(f"this sentence tells of {new}, not of {heading['new']}: {sentence[:80]!r}")
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
    """A sentence's clause and the new person it tells of, given who is known."""
    if match := _THAN.fullmatch(sentence):
        one, other = match["one"], match["other"]
        if (one in names) != (other in names):
            known, new, turned = (one, other, "turned ") if one in names else (other, one, "")
            return Clause(Kind(turned + match["kind"]), int(match["amount"]), (names.index(known),)), new
    elif match := _TIMES.fullmatch(sentence):
        known = [each for each in (match["known"], match["second"]) if each]
        if match["new"] not in names and len(set(known) & set(names)) == len(known):
            kind = Kind.TOGETHER if len(known) == 2 else Kind.TIMES
            return Clause(kind, int(match["amount"]), tuple(map(names.index, known))), match["new"]
    else:
        raise InputError(
            f"this sentence is none that a story of this world has: {sentence[:80]!r}; there are: "
            "'Ben has 12 more than Ann', '12 fewer than Ann', '3 times as many as Ann', "
            "'3 times as many as Ann and Cal together'"
        )
    raise InputError(f"each sentence tells of one new person by known ones, and this does not: {sentence[:80]!r}")


def _check_numbers(story: Story) -> None:
    stated = [story.base, *(clause.amount for clause in story.clauses)]
    if min(stated) < 1 or max(stated) > LARGEST_TOKEN:
        raise InputError(f"the numbers of a story lie in 1 to {LARGEST_TOKEN}")
    for name, number in zip(story.names, readings(story)[0].tolist(), strict=True):
        if not 1 <= number <= 10 * LARGEST_TOKEN:
            raise InputError(f"{name} would have {number}; everyone in a story has at least 1 and not above 9990")


@dataclass(frozen=True, slots=True)
class Move:
    """One computation that may come next: what it is of, its operands, the way it belongs to, and whether it follows
    from the tempting wrong reading of its clause.
    """

    label: str
    left: int
    operator: str
    right: int
    way: Way | None = None
    tempting: bool = False

    @property
    def value(self) -> int:
        """What it comes to."""
        return int(OPERATORS[self.operator](self.left, self.right))

    def text(self, result: int) -> str:
        """The step that says so, with this result."""
        return f"{self.label}: {self.left} {self.operator} {self.right} = {result}"


@dataclass(frozen=True, slots=True)
class State:
    """What is known after some steps: everyone's number so far, what an open two-way clause has come to, the way taken
    last. It is misread once a step followed a tempting reading, broken once a step followed from nothing.
    """

    values: tuple[int, ...]
    parts: tuple[int, ...] = ()
    way: Way | None = None
    misread: bool = False
    broken: bool = False
    answered: str | None = None

    @property
    def valid(self) -> bool:
        """Whether every step so far follows from the story."""
        return not self.misread and not self.broken


def start(story: Story) -> State:
    """The state before the first step."""
    return State((story.base,))


def moves(story: Story, state: State) -> tuple[Move, ...]:
    """The computations that may come next, right ones first; none where only the answer is missing or given."""
    place = len(state.values)
    if place > len(story.clauses) or state.answered is not None:
        return ()
    clause, name = story.clauses[place - 1], story.names[place]
    known, amount = [state.values[person] for person in clause.people], clause.amount
    if clause.kind is not Kind.TOGETHER:
        right = Move(name, *_operands(RIGHT[clause.kind], known[0], amount))
        if clause.kind not in TEMPTING:
            return (right,)
        return right, Move(name, *_operands(TEMPTING[clause.kind], known[0], amount), tempting=True)
    one, other = (story.names[person] for person in clause.people)
    if not state.parts:
        short = Move(f"{one} + {other}", known[0], "+", known[1], Way.SHORT)
        return short, Move(f"{amount} × {one}", amount, "×", known[0], Way.LONG)
    if state.way is Way.SHORT:
        return (Move(name, amount, "×", state.parts[0], Way.SHORT),)
    if len(state.parts) == 1:
        return (Move(f"{amount} × {other}", amount, "×", known[1], Way.LONG),)
    return (Move(name, state.parts[0], "+", state.parts[1], Way.LONG),)


def _operands(sign: str, known: int, amount: int) -> tuple[int, str, int]:
    return (amount, sign, known) if sign == "×" else (known, sign, amount)


_STEP = re.compile(r"(?P<label>[^:=]+): (?P<left>\d{1,9}) (?P<operator>[+−×]) (?P<right>\d{1,9}) = (?P<result>\d{1,9})")
_ANSWER = re.compile(r"Answer: \\boxed\{(.+)\}", re.DOTALL)


def answer_text(number: int) -> str:
    """The last step, which gives the answer."""
    return f"{ANSWER_PREFIX}{number}}}"


def advance(story: Story, state: State, step: str) -> State:
    """The state after one more step, read from the step's text. A wrong result is taken over: what follows uses it."""
    answer = _ANSWER.fullmatch(step.strip())
    if answer is not None:
        told = state.answered is None and len(state.values) == len(story.names) and answer[1] == str(state.values[-1])
        return State(state.values, (), state.way, state.misread, state.broken or not told, answer[1])
    match = _STEP.fullmatch(step.strip())
    open_moves = [] if match is None else [move for move in moves(story, state) if move.label == match["label"]]
    if match is None or not open_moves:
        return State(state.values, state.parts, state.way, state.misread, True, state.answered)
    made = (int(match["left"]), match["operator"], int(match["right"]))
    swapped = made[::-1] if match["operator"] in "+×" else made
    fitting = [move for move in open_moves if (move.left, move.operator, move.right) in (made, swapped)]
    move, result = (fitting or open_moves)[0], int(match["result"])
    done = move.label == story.names[len(state.values)]
    return State(
        values=(*state.values, result) if done else state.values,
        parts=() if done else (*state.parts, result),
        way=move.way or state.way,
        misread=state.misread or (bool(fitting) and move.tempting),
        broken=state.broken or not fitting or result != move.value,
    )


@functools.lru_cache(maxsize=200_000)
def follow(question: str, steps: tuple[str, ...]) -> State:
    """The state after these steps of the story that a question tells. Raises InputError where it tells none."""
    story = read_story(question)
    return advance(story, follow(question, steps[:-1]), steps[-1]) if steps else start(story)
