"""The rules of the numbers game: questions, legal operations, reachable targets, and the state after each step."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rollwise.errors import InputError

Numbers = tuple[int, ...]

SEPARATOR = "\n\n"
ANSWER_PREFIX = "Answer: \\boxed{"
LONGEST_TEXT = 500
"""How many characters a question or a step may have."""

_STEP = re.compile(r"(\d+) ([+−×÷]) (\d+) = (\d+), left: (\d+(?: \d+)*)")
_ANSWER = re.compile(r"Answer: \\boxed\{(.+)\}", re.DOTALL)
_QUESTION = re.compile(
    r"\s*use\s+(?P<numbers>\d+(?:(?:\s*,\s*|\s+)(?:and\s+)?\d+)*)(?:[\s,]\D*)?\bto\s+(?:make|reach|get)\s+"
    r"(?P<target>\d+)\W*",
    re.IGNORECASE,
)


def question_text(numbers: Sequence[int], target: int) -> str:
    """The question in the words that the policy was trained on."""
    return f"Use {', '.join(map(str, numbers))}, each once, with + − × ÷ to make {target}."


def read_question(question: str) -> tuple[Numbers, int]:
    """The numbers in the order given, and the target. Raises InputError if the text is no question of this game."""
    match = _QUESTION.fullmatch(question) if len(question) <= LONGEST_TEXT else None
    if match is None:
        raise InputError(
            f"this is not a question of the numbers game: {question[:80]!r}; "
            "write it like 'Use 18, 1, 13, 22, 7 to make 132'"
        )
    numbers = tuple(int(number) for number in re.findall(r"\d+", match["numbers"]))
    target = int(match["target"])
    if not 2 <= len(numbers) <= 7 or min(*numbers, target) < 1 or max(*numbers, target) > 9999:
        raise InputError("the numbers game takes two to seven numbers and a target, each from 1 to 9999")
    return numbers, target


def combine(a: int, operator: str, b: int) -> int | None:
    """The result of a operator b, if it is a whole number above zero; otherwise None, because the rules forbid it."""
    if operator == "+":
        return a + b
    if operator == "×":
        return a * b
    if operator == "−":
        return a - b if a > b else None
    return a // b if b and a % b == 0 else None


@functools.lru_cache(maxsize=500_000)
def can_reach(numbers: Numbers, target: int) -> bool:
    """Whether the sorted numbers, each used once, can make the target under the rules. Exact, by full recursion."""
    if len(numbers) == 1:
        return numbers[0] == target
    if len(numbers) == 2:
        a, b = numbers
        return target in (a + b, a * b, b - a) or (b % a == 0 and b // a == target)
    return any(can_reach(rest, target) for rest in successors(numbers))


@functools.lru_cache(maxsize=100_000)
def successors(numbers: Numbers) -> frozenset[Numbers]:
    """The sorted numbers left after each legal step from the sorted `numbers`."""
    states = set()
    for i, a in enumerate(numbers):
        for j in range(i + 1, len(numbers)):
            b = numbers[j]
            rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
            for larger, operator, smaller in ((b, "+", a), (b, "×", a), (b, "−", a), (b, "÷", a)):
                result = combine(larger, operator, smaller)
                if result is not None:
                    states.add(tuple(sorted((*rest, result))))
    return frozenset(states)


@dataclass(frozen=True, slots=True)
class State:
    """The sorted numbers left after some steps, and the answer once it is given.

    A state is broken if any step does not follow from the steps before it.
    """

    numbers: Numbers
    target: int
    broken: bool = False
    answered: str | None = None


def advance(state: State, step: str) -> State:
    """The state after one more step, which is read from its text. The numbers left are those that the step states."""
    text = step.strip()
    answer = _ANSWER.fullmatch(text)
    if answer is not None:
        return State(state.numbers, state.target, state.broken or state.answered is not None, answered=answer[1])
    match = _STEP.fullmatch(text) if len(text) <= LONGEST_TEXT else None
    if match is None:
        return State(state.numbers, state.target, broken=True)
    a, b, result = int(match[1]), int(match[3]), int(match[4])
    stated = tuple(sorted(map(int, match[5].split())))
    left = Counter(state.numbers)
    left.subtract((a, b))
    left[result] += 1
    follows = (
        min(left.values()) >= 0
        and combine(a, match[2], b) == result
        and stated == tuple(sorted(left.elements()))
        and state.answered is None
    )
    return State(stated, state.target, broken=state.broken or not follows)
