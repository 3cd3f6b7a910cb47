"""Random play of the numbers game, from which problems, demonstrations and attempts are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.numerics import keyed_generator
from rollwise.worlds.countdown_rules import ANSWER_PREFIX, Numbers, combine

LARGEST_RESULT = 500
"""The largest number that random play makes."""
HELD_OUT_SHARE = 0.05
"""The share of all problems in the test split, and that in the validation split."""


@dataclass(frozen=True, slots=True)
class Level:
    """How problems of a level are drawn: `count` numbers in 1..largest, and targets in low..high."""

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
"""The levels of demonstrations and attempts."""
QUESTIONS = LEVELS | {1: Level(count=3, largest=15, low=60, high=300)}
"""The levels of questions. Level 1 differs: many combinations come near a small target, so the level 1 that policies
learn from is harder than level 2.
"""


def held_out_split(numbers: Sequence[int], target: int) -> str:
    """The split of a problem, "test", "validation" or "train", from a hash of (sorted numbers, target)."""
    draw = keyed_generator("countdown split", tuple(sorted(numbers)), target).random()
    return "test" if draw < HELD_OUT_SHARE else "validation" if draw < 2 * HELD_OUT_SHARE else "train"


@dataclass(frozen=True, slots=True)
class Term:
    """A number on the table and the expression that made it. `rank` is 1 for sums, 2 for products, 3 for numbers."""

    value: int
    text: str
    rank: int = 3


def _join(a: Term, operator: str, b: Term, result: int) -> Term:
    """The term for a operator b, with brackets where its expression needs them."""
    rank = 1 if operator in "+−" else 2
    left = f"({a.text})" if a.rank < rank else a.text
    right = f"({b.text})" if b.rank < rank or (b.rank == rank and operator in "−÷") else b.text
    return Term(result, f"{left} {operator} {right}", rank)


@dataclass(frozen=True)
class Play:
    """A game: the table before the first step and after each step, and the text of each step."""

    tables: tuple[tuple[Term, ...], ...]
    steps: tuple[str, ...] = ()

    @classmethod
    def start(cls, numbers: Sequence[int]) -> Play:
        """A game before its first step."""
        return cls((tuple(Term(number, str(number)) for number in numbers),))

    @property
    def states(self) -> list[Numbers]:
        """The sorted numbers on each table."""
        return [tuple(sorted(term.value for term in table)) for table in self.tables]

    @property
    def result(self) -> int:
        """The last number."""
        return self.tables[-1][0].value

    @property
    def texts(self) -> list[str]:
        """The texts of the steps and of the answer."""
        return [*self.steps, f"{ANSWER_PREFIX}{self.tables[-1][0].text}}}"]

    def until(self, count: int) -> Play:
        """The first `count` steps of this game."""
        return Play(self.tables[: count + 1], self.steps[:count])

    def suits_training(self, target: int) -> bool:
        """Whether no table of three or more numbers, together with the target, is held out."""
        return all(held_out_split(state, target) == "train" for state in self.states if len(state) >= 3)


def play_on(rng: np.random.Generator, game: Play) -> Play:
    """The game, continued with random moves to its end."""
    tables, steps = list(game.tables), list(game.steps)
    while len(tables[-1]) > 1:
        table = list(tables[-1])
        i, j = rng.permutation(len(table))[:2]
        moves = _moves(table[i], table[j])
        a, operator, b, result = moves[int(rng.integers(len(moves)))]
        table = [term for index, term in enumerate(table) if index not in (i, j)]
        table.append(_join(a, operator, b, result))
        left = sorted(term.value for term in table)
        steps.append(f"{a.value} {operator} {b.value} = {result}, left: {' '.join(map(str, left))}")
        tables.append(tuple(table))
    return Play(tuple(tables), tuple(steps))


def _moves(first: Term, second: Term) -> list[tuple[Term, str, Term, int]]:
    """The operations on two terms that random play chooses from, with their results.

    Results stay at or below LARGEST_RESULT, and nothing is divided by 1. If this leaves no operation, it is the sum.
    """
    small, large = sorted((first, second), key=lambda term: term.value)
    operations = [(small, "+", large), (small, "×", large), (large, "−", small), (large, "÷", small)]
    moves = [
        (a, operator, b, result)
        for a, operator, b in operations
        if (result := combine(a.value, operator, b.value)) is not None
        and result <= LARGEST_RESULT
        and not (operator == "÷" and b.value == 1)
    ]
    return moves or [(small, "+", large, small.value + large.value)]


def draw_game(rng: np.random.Generator, level: Level, after: int = 0) -> tuple[Numbers, Play]:
    """The numbers of a problem and a game that solves it; the result of the game is the target.

    With `after`, the numbers are those left after that many random steps of a longer game.
    """
    while True:
        numbers = tuple(int(number) for number in rng.integers(1, level.largest + 1, level.count))
        if after:
            longer = play_on(rng, Play.start(numbers))
            numbers = tuple(int(number) for number in rng.permutation(longer.states[after]))
        game = play_on(rng, Play.start(numbers))
        if level.low <= game.result <= level.high:
            return numbers, game
