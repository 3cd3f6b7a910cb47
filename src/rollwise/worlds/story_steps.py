"""The steps that solve a story: the computations that may come next, and the state after each step."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import StrEnum

from rollwise.worlds.story_questions import OPERATORS, RIGHT, TEMPTING, Kind, Story, read_story

SEPARATOR = "\n\n"
ANSWER_PREFIX = "Answer: \\boxed{"


class Way(StrEnum):
    """How a solution computes a multiple of the sum of two numbers: SHORT adds first, LONG first multiplies each."""

    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Move:
    """A computation that may come next.

    `label` says what it computes, `way` the Way that it belongs to, and `tempting` whether it follows from the tempting
    wrong reading of its clause.
    """

    label: str
    left: int
    operator: str
    right: int
    way: Way | None = None
    tempting: bool = False

    @property
    def value(self) -> int:
        """Its result."""
        return int(OPERATORS[self.operator](self.left, self.right))

    def text(self, result: int) -> str:
        """The text of the step, with the given result."""
        return f"{self.label}: {self.left} {self.operator} {self.right} = {result}"


@dataclass(frozen=True, slots=True)
class State:
    """The state after some steps.

    `values` are everyone's numbers so far, `parts` the partial results of an open clause with two ways, and `way` is
    the way that was taken last. A state is misread if a step followed a tempting reading, and broken if a step
    followed from nothing.
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
    """The computations that may come next, right ones first; none if all numbers are known or the answer is given."""
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
    first, second = (story.names[person] for person in clause.people)
    if not state.parts:
        short = Move(f"{first} + {second}", known[0], "+", known[1], Way.SHORT)
        return short, Move(f"{amount} × {first}", amount, "×", known[0], Way.LONG)
    if state.way is Way.SHORT:
        return (Move(name, amount, "×", state.parts[0], Way.SHORT),)
    if len(state.parts) == 1:
        return (Move(f"{amount} × {second}", amount, "×", known[1], Way.LONG),)
    return (Move(name, state.parts[0], "+", state.parts[1], Way.LONG),)


def _operands(sign: str, known: int, amount: int) -> tuple[int, str, int]:
    return (amount, sign, known) if sign == "×" else (known, sign, amount)


_STEP = re.compile(r"(?P<label>[^:=]+): (?P<left>\d{1,9}) (?P<operator>[+−×]) (?P<right>\d{1,9}) = (?P<result>\d{1,9})")
_ANSWER = re.compile(r"Answer: \\boxed\{(.+)\}", re.DOTALL)


def answer_text(number: int) -> str:
    """The text of the last step, which gives the answer."""
    return f"{ANSWER_PREFIX}{number}}}"


def advance(story: Story, state: State, step: str) -> State:
    """The state after one more step, which is read from its text. Later steps use the stated result, right or wrong."""
    answer = _ANSWER.fullmatch(step.strip())
    if answer is not None:
        complete = state.answered is None and len(state.values) == len(story.names)
        follows = complete and answer[1] == str(state.values[-1])
        return State(state.values, (), state.way, state.misread, state.broken or not follows, answer[1])
    match = _STEP.fullmatch(step.strip())
    open_moves = [] if match is None else [move for move in moves(story, state) if move.label == match["label"]]
    if match is None or not open_moves:
        return State(state.values, state.parts, state.way, state.misread, True, state.answered)
    stated = (int(match["left"]), match["operator"], int(match["right"]))
    swapped = stated[::-1] if match["operator"] in "+×" else stated
    fitting = [move for move in open_moves if (move.left, move.operator, move.right) in (stated, swapped)]
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
    """The state of a question's story after these steps. Raises InputError if the question is no story."""
    story = read_story(question)
    return advance(story, follow(question, steps[:-1]), steps[-1]) if steps else start(story)
