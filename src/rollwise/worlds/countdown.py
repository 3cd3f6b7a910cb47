"""The numbers game: use each number once, with + − × ÷, to make a target.

A step names one operation and what is left; the state (numbers left, target) is the exact direction. A small recursive
search tells whether a state can still reach the target, so truth is known at every step.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.answers import evaluate
from rollwise.core import Curriculum, Policy, Problem
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator

Numbers = tuple[int, ...]

SEPARATOR = "\n\n"
ANSWER_PREFIX = "Answer: \\boxed{"
LARGEST_RESULT = 500
LARGEST_TOKEN = 999
LONGEST_TEXT = 500
HELD_OUT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Level:
    """How a level's problems are drawn: how many numbers, each 1..largest, and the range of targets."""

    count: int
    largest: int
    low: int
    high: int


LEVELS = {
    1: Level(count=3, largest=10, low=5, high=100),
    2: Level(count=3, largest=25, low=10, high=300),
    3: Level(count=4, largest=10, low=10, high=200),
    4: Level(count=4, largest=25, low=50, high=300),
    5: Level(count=5, largest=25, low=50, high=300),
}
"""What demonstrations and attempts are drawn from."""
QUESTIONS = LEVELS | {1: Level(count=3, largest=15, low=60, high=300)}
"""What is asked. Many combinations come near a small target: what is learnt at level 1 is harder than level 2."""

CURRICULUM = Curriculum(
    stages=(
        (0.3, {(1, 0): 0.25, (2, 0): 0.25, (4, 1): 0.15, (5, 2): 0.35}),
        (0.6, {(1, 0): 0.1, (2, 0): 0.1, (5, 2): 0.15, (3, 0): 0.2, (4, 0): 0.2, (5, 1): 0.25}),
        (1.0, {(1, 0): 0.12, (2, 0): 0.08, (5, 2): 0.05, (3, 0): 0.12, (4, 0): 0.12, (5, 1): 0.08, (5, 0): 0.43}),
    ),
    reward_kinds={
        (1, 0): 0.05,
        (2, 0): 0.1,
        (4, 1): 0.05,
        (5, 2): 0.1,
        (3, 0): 0.1,
        (4, 0): 0.15,
        (5, 1): 0.1,
        (5, 0): 0.35,
    },
    level_shares={1: 0.07, 2: 0.08, 3: 0.15, 4: 0.2, 5: 0.5},
    longest=12,
    demonstrations="made by random play",
    label="whether a right answer can still be reached, told exactly by search",
    held_out=(
        "up to the order of its numbers, occurs in training, not even as what is left after a step (three numbers or "
        "more)"
    ),
)
"""What is left after some steps of a long problem is a short one, so planning is learnt from the end backwards."""

_STEP = re.compile(r"(\d+) ([+−×÷]) (\d+) = (\d+), left: (\d+(?: \d+)*)")
_ANSWER = re.compile(r"Answer: \\boxed\{(.+)\}", re.DOTALL)
_QUESTION = re.compile(
    r"\s*use\s+(?P<numbers>\d+(?:(?:\s*,\s*|\s+)(?:and\s+)?\d+)*)(?:[\s,]\D*)?\bto\s+(?:make|reach|get)\s+"
    r"(?P<target>\d+)\W*",
    re.IGNORECASE,
)


def combine(a: int, operator: str, b: int) -> int | None:
    """A operator b where the rules allow it, that is as a whole number above zero, else None."""
    if operator == "+":
        return a + b
    if operator == "×":
        return a * b
    if operator == "−":
        return a - b if a > b else None
    return a // b if b and a % b == 0 else None


def question_text(numbers: Sequence[int], target: int) -> str:
    """The question as the policy was trained to read it."""
    return f"Use {', '.join(map(str, numbers))}, each once, with + − × ÷ to make {target}."


def read_question(question: str) -> tuple[Numbers, int]:
    """The numbers in the order given, and the target. Raises InputError where the text is no question of this game."""
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
    """Every state one legal step away: sorted numbers left."""
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


def held_out_split(numbers: Sequence[int], target: int) -> str:
    """The split, test, validation or train, by a hash of the canonical form (sorted numbers, target)."""
    draw = keyed_generator("countdown split", tuple(sorted(numbers)), target).random()
    return "test" if draw < HELD_OUT_SHARE else "validation" if draw < 2 * HELD_OUT_SHARE else "train"


@dataclass(frozen=True, slots=True)
class State:
    """What is left after some steps. A broken state holds a step that does not follow from the ones before."""

    numbers: Numbers
    target: int
    broken: bool = False
    answered: str | None = None


def advance(state: State, step: str) -> State:
    """The state after one more step, read from the step's text."""
    text = step.strip()
    answer = _ANSWER.fullmatch(text)
    if answer is not None:
        return State(state.numbers, state.target, state.broken or state.answered is not None, answered=answer[1])
    match = _STEP.fullmatch(text) if len(text) <= LONGEST_TEXT else None
    if match is None:
        return State(state.numbers, state.target, broken=True)
    a, b, result = int(match[1]), int(match[3]), int(match[4])
    claimed = tuple(sorted(map(int, match[5].split())))
    left = Counter(state.numbers)
    left.subtract((a, b))
    left[result] += 1
    follows = (
        min(left.values()) >= 0
        and combine(a, match[2], b) == result
        and claimed == tuple(sorted(left.elements()))
        and state.answered is None
    )
    return State(claimed, state.target, broken=state.broken or not follows)


@dataclass(frozen=True, slots=True)
class _Term:
    """A number on the table and the expression that made it; `rank` 1 for sums, 2 for products, 3 for numbers."""

    value: int
    text: str
    rank: int = 3


def _join(a: _Term, operator: str, b: _Term, result: int) -> _Term:
    rank = 1 if operator in "+−" else 2
    left = f"({a.text})" if a.rank < rank else a.text
    right = f"({b.text})" if b.rank < rank or (b.rank == rank and operator in "−÷") else b.text
    return _Term(result, f"{left} {operator} {right}", rank)


@dataclass(frozen=True)
class _Play:
    """A game from a table of numbers to the last one: the tables, the first included, and the text of each step."""

    tables: tuple[tuple[_Term, ...], ...]
    steps: tuple[str, ...] = ()

    @property
    def states(self) -> list[Numbers]:
        """Sorted numbers on each table."""
        return [tuple(sorted(term.value for term in table)) for table in self.tables]

    @property
    def result(self) -> int:
        """The last number."""
        return self.tables[-1][0].value

    @property
    def texts(self) -> list[str]:
        """The steps and the answer."""
        return [*self.steps, f"{ANSWER_PREFIX}{self.tables[-1][0].text}}}"]

    def until(self, count: int) -> _Play:
        """The first `count` steps of this game."""
        return _Play(self.tables[: count + 1], self.steps[:count])


def _deal(numbers: Sequence[int]) -> _Play:
    return _Play((tuple(_Term(number, str(number)) for number in numbers),))


def _play_on(rng: np.random.Generator, begun: _Play) -> _Play:
    """Random play from where a game stands to its end."""
    tables, steps = list(begun.tables), list(begun.steps)
    while len(tables[-1]) > 1:
        table = list(tables[-1])
        i, j = rng.permutation(len(table))[:2]
        small, large = sorted((table[i], table[j]), key=lambda term: term.value)
        moves = [(small, "+", large), (small, "×", large), (large, "−", small), (large, "÷", small)]
        legal = [
            (a, operator, b, result)
            for a, operator, b in moves
            if (result := combine(a.value, operator, b.value)) is not None
            and result <= LARGEST_RESULT
            and not (operator == "÷" and b.value == 1)
        ]
        if not legal:
            legal = [(small, "+", large, small.value + large.value)]
        a, operator, b, result = legal[int(rng.integers(len(legal)))]
        table = [term for index, term in enumerate(table) if index not in (i, j)]
        table.append(_join(a, operator, b, result))
        left = sorted(term.value for term in table)
        steps.append(f"{a.value} {operator} {b.value} = {result}, left: {' '.join(map(str, left))}")
        tables.append(tuple(table))
    return _Play(tuple(tables), tuple(steps))


def _is_for_training(played: _Play, target: int) -> bool:
    """Whether no state of three or more numbers on the way is held out."""
    return all(held_out_split(state, target) == "train" for state in played.states if len(state) >= 3)


class Countdown:
    """The numbers game as a world: problems, step checker, true state, oracle, grader."""

    name = "countdown"
    levels = tuple(LEVELS)
    separator = SEPARATOR
    checkable = True
    curriculum = CURRICULUM
    literals = (
        *map(str, range(LARGEST_TOKEN + 1)),
        *(" + ", " − ", " × ", " ÷ ", " = ", ", left: ", " ", ", ", "(", ")", "}", ".", SEPARATOR),
        *("Use ", ", each once, with + − × ÷ to make ", ANSWER_PREFIX),
    )

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """The problem that (level, seed) names in a split; every one has a solution. Raises InputError."""
        if level not in LEVELS:
            raise InputError(f"the numbers game has levels {min(LEVELS)} to {max(LEVELS)}, not {level}")
        if split not in ("test", "validation", "train"):
            raise InputError(f"no split is called {split!r}; there are: test, validation, train")
        rng = keyed_generator("countdown problem", split, level, seed)
        while True:
            numbers, played = self._draw(rng, QUESTIONS[level])
            target = played.result
            if held_out_split(numbers, target) == split:
                return Problem(
                    f"countdown-{split}-{level}-{seed}", question_text(numbers, target), str(target), self.name, level
                )

    def parse(self, question: str) -> Problem:
        """A question typed by hand, put into the words that the policy knows. Raises InputError."""
        numbers, target = read_question(question)
        text = question_text(numbers, target)
        return Problem(text, text, str(target), self.name)

    def remark(self, problem: Problem) -> str | None:
        """A note where a question lies outside what the bundled models were trained on."""
        numbers, target = read_question(problem.question)
        counts = {level.count for level in LEVELS.values()}
        largest, high = LEVELS[5].largest, LEVELS[5].high
        if len(numbers) in counts and max(numbers) <= largest and target <= high:
            return None
        return (
            f"the bundled models know {min(counts)} to {max(counts)} numbers up to {largest} and targets up to {high}; "
            "this question lies outside"
        )

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and one solution; with `after`, the problem is what so many steps leave of one.

        Neither it nor any state of three or more numbers on the way is held out for validation or test.
        """
        while True:
            numbers, played = self._draw(rng, LEVELS[level], after)
            if _is_for_training(played, played.result):
                return self._training_problem(numbers, played.result, level), played.texts

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem, and valid steps that leave its solution somewhere for random play and so mostly fail.

        What is held out is kept out as in `demonstration`.
        """
        while True:
            numbers, right = self._draw(rng, LEVELS[level], after)
            played = _play_on(rng, right.until(int(rng.integers(len(numbers)))))
            if _is_for_training(right, right.result) and _is_for_training(played, right.result):
                return self._training_problem(numbers, right.result, level), played.texts

    def demonstrator(self) -> Policy | None:
        """None: random play is no policy to search with."""
        return None

    def _training_problem(self, numbers: Numbers, target: int, level: int) -> Problem:
        text = question_text(numbers, target)
        return Problem(text, text, str(target), self.name, level)

    def _draw(self, rng: np.random.Generator, level: Level, after: int = 0) -> tuple[Numbers, _Play]:
        while True:
            numbers = tuple(int(number) for number in rng.integers(1, level.largest + 1, level.count))
            if after:
                before = _play_on(rng, _deal(numbers))
                numbers = tuple(int(number) for number in rng.permutation(before.states[after]))
            played = _play_on(rng, _deal(numbers))
            if level.low <= played.result <= level.high:
                return numbers, played

    def _follow(self, problem: Problem, steps: Sequence[str]) -> State:
        numbers, target = read_question(problem.question)
        return functools.reduce(advance, steps, State(tuple(sorted(numbers)), target))

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the ones before."""
        return not self._follow(problem, steps).broken

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """(numbers left, whether some step is wrong), and the answer once there is one: equal state, equal chance."""
        state = self._follow(problem, steps)
        return (state.numbers, state.broken, *filter(None, [state.answered]))

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether the target can still be made from what is left; for a finished solution, whether it is right."""
        state = self._follow(problem, steps)
        if state.answered is not None:
            return self.is_right(problem, state.answered)
        return not state.broken and can_reach(state.numbers, state.target)

    def worth(self, problem: Problem, steps: Sequence[str]) -> float:
        """Raises InputError: nobody demonstrates this game with known chances."""
        raise InputError("the numbers game has no demonstrator whose chances are known; take the reward dial instead")

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an expression uses every number once and makes the target exactly."""
        numbers, target = read_question(problem.question)
        try:
            value, used = evaluate(answer)
        except InputError:
            return False
        return value == target and used == tuple(sorted(numbers))
