"""Word problems with one whole-number answer to vote on, in which ways of solving truly differ in success.

The policies learn from a demonstrator whose habits are known: the popular way slips more than the rare one, and a
tempting wrong reading gathers many votes on one wrong answer. `story` holds the stories, `demonstrator` the habits.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rollwise.core import Curriculum, Policy, Problem
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.worlds.demonstrator import DemonstratorPolicy, Habits, demonstrate, success
from rollwise.worlds.story_rules import (
    ANSWER_PREFIX,
    SEPARATOR,
    Clause,
    Kind,
    State,
    Story,
    faults_show,
    follow,
    read_story,
    readings,
)

LARGEST = 480
SMALLEST = 12
HELD_OUT_SHARE = 0.05

NAMES = ("Ann", "Ben", "Cal", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo", "Mia")
"""In the order in which a story tells of people. With names drawn at random, small policies took thousands of steps to
learn who comes next.
"""

THINGS = ("apples", "beads", "cards", "coins", "marbles", "shells", "stamps", "stones")

HABITS = {
    "stories": Habits(),
    "stories-even": Habits(tempted_per_clause=0.04, tempted_most=0.3, long_way=0.5, slip=0.03, slip_long=0.03),
}
"""Two demonstrators of the same questions. The even one's ways hardly differ in success and its slips are as likely
everywhere: the contrast in which directions should not matter.
"""

PRACTICE = Habits(tempted_per_clause=1.0, tempted_most=0.35, long_way=0.5, slip=0.1, slip_long=0.1)
"""Whose attempts a reward model learns from: about half of their steps are on course."""


@dataclass(frozen=True, slots=True)
class Level:
    """How many clauses of each sort a level's stories have."""

    plain: int
    turned: int
    together: int


LEVELS = {1: Level(1, 1, 0), 2: Level(1, 1, 1), 3: Level(2, 1, 2), 4: Level(2, 2, 2), 5: Level(3, 2, 3)}

CURRICULUM = Curriculum(
    stages=(
        (0.2, {(1, 0): 0.4, (2, 0): 0.3, (3, 0): 0.2, (4, 0): 0.1}),
        (0.5, {(1, 0): 0.15, (2, 0): 0.2, (3, 0): 0.25, (4, 0): 0.25, (5, 0): 0.15}),
        (1.0, {(1, 0): 0.1, (2, 0): 0.15, (3, 0): 0.2, (4, 0): 0.25, (5, 0): 0.3}),
    ),
    reward_kinds={(1, 0): 0.1, (2, 0): 0.15, (3, 0): 0.2, (4, 0): 0.25, (5, 0): 0.3},
    level_shares={1: 0.1, 2: 0.15, 3: 0.2, 4: 0.25, 5: 0.3},
    longest=40,
    demonstrations="of a solver who misreads, slips and prefers the longer way at known rates",
    label="whether every step so far is valid",
    held_out="up to its names and things, occurs in training",
)


def held_out_split(story: Story) -> str:
    """The split, test, validation or train, by a hash of the story without its words."""
    draw = keyed_generator("stories split", story.canonical).random()
    return "test" if draw < HELD_OUT_SHARE else "validation" if draw < 2 * HELD_OUT_SHARE else "train"


def draw_story(rng: np.random.Generator, level: Level) -> Story:
    """A story of a level whose faults show, each reading ending at a number of its own; however its turned clauses are
    read, the numbers lie in SMALLEST..LARGEST. Every clause reads the person before, so a fault reaches the end.
    """
    while True:
        story = _drafted(rng, level)
        if story is not None and len(set(readings(story)[:, -1].tolist())) == 2**level.turned and faults_show(story):
            return story


def _drafted(rng: np.random.Generator, level: Level) -> Story | None:
    """A story with numbers in range; None where the draw led out of it."""
    sorts = ["plain"] * level.plain + ["turned"] * level.turned + ["together"] * level.together
    first = int(rng.integers(level.plain + level.turned))
    rest = [sort for place, sort in enumerate(sorts) if place != first]
    order = [sorts[first], *(rest[int(place)] for place in rng.permutation(len(rest)))]
    base = int(rng.integers(SMALLEST, min(60, _ceiling(level.together)) + 1))
    ranges, clauses = [(base, base)], list[Clause]()
    for place, sort in enumerate(order):
        drawn = _drawn_clause(rng, sort, ranges, _ceiling(order[place + 1 :].count("together")))
        if drawn is None:
            return None
        clauses.append(drawn[0])
        ranges.append(drawn[1])
    return Story(base, tuple(clauses), NAMES[: len(ranges)], THINGS[int(rng.integers(len(THINGS)))])


def _ceiling(together: int) -> int:
    """How large a number may be where so many two-way clauses follow; each makes it more than twice as large."""
    return LARGEST if together == 0 else 2 * _ceiling(together - 1) // 5


_SORTS = {
    "plain": (Kind.MORE, Kind.FEWER, Kind.TIMES),
    "turned": (Kind.TURNED_MORE, Kind.TURNED_FEWER),
    "together": (Kind.TOGETHER,),
}


def _drawn_clause(
    rng: np.random.Generator, sort: str, ranges: Sequence[tuple[int, int]], ceiling: int
) -> tuple[Clause, tuple[int, int]] | None:
    """A clause on the last person that keeps the new number, however read, in SMALLEST..ceiling, and that number's
    range over all readings; None where there is none. `ranges` are those of the people so far.
    """
    last = len(ranges) - 1
    several = [(other, last) for other in range(last)] if sort == "together" else [(last,)]
    options = [(kind, people) for kind in _SORTS[sort] for people in several]
    for place in rng.permutation(len(options)):
        kind, people = options[int(place)]
        low, high = (sum(ends) for ends in zip(*(ranges[person] for person in people), strict=True))
        largest = _largest_amount(kind, low, high, ceiling)
        if largest >= 2:
            amount = int(rng.integers(2, largest + 1))
            if kind in (Kind.TIMES, Kind.TOGETHER):
                return Clause(kind, amount, people), (low * amount, high * amount)
            down = amount if kind is not Kind.MORE else -amount
            up = amount if kind is not Kind.FEWER else -amount
            return Clause(kind, amount, people), (low - down, high + up)
    return None


def _largest_amount(kind: Kind, low: int, high: int, ceiling: int) -> int:
    """The largest number that a clause on low..high may state."""
    below, above = low - SMALLEST, min(99, ceiling - high)
    match kind:
        case Kind.TIMES | Kind.TOGETHER:
            return min(4 if kind is Kind.TIMES else 3, ceiling // high)
        case Kind.MORE:
            return above
        case Kind.FEWER:
            return below
        case _:
            return min(below, above)


class Stories:
    """Stories as a world, told to policies by a demonstrator with known habits."""

    levels = tuple(LEVELS)
    separator = SEPARATOR
    checkable = False
    curriculum = CURRICULUM
    literals = (
        *"0123456789",
        *NAMES,
        *(f" {things}" for things in THINGS),
        *(" has ", " more than ", " fewer than ", " times as many as ", " and ", " together", "How many has ", "?"),
        *(". ", ": ", " + ", " − ", " × ", " = ", SEPARATOR, ANSWER_PREFIX, "}"),
    )

    def __init__(self, name: str = "stories", habits: Habits | None = None) -> None:
        self.name, self.habits = name, habits or HABITS[name]

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """The problem that (level, seed) names in a split; the same for every demonstrator. Raises InputError."""
        if level not in LEVELS:
            raise InputError(f"stories have levels {min(LEVELS)} to {max(LEVELS)}, not {level}")
        if split not in ("test", "validation", "train"):
            raise InputError(f"no split is called {split!r}; there are: test, validation, train")
        story = self._of_split(keyed_generator("stories problem", split, level, seed), level, split)
        return Problem(f"stories-{split}-{level}-{seed}", story.text, str(story.gold), self.name, level)

    def _of_split(self, rng: np.random.Generator, level: int, split: str) -> Story:
        while True:
            story = draw_story(rng, LEVELS[level])
            if held_out_split(story) == split:
                return story

    def parse(self, question: str) -> Problem:
        """A question typed by hand, put into the words that the policy knows, its people renamed in their order. Raises
        InputError.
        """
        told = read_story(question)
        story = replace(told, names=NAMES[: len(told.names)])
        return Problem(story.text, story.text, str(story.gold), self.name)

    def remark(self, problem: Problem) -> str | None:
        """A note where a question lies outside what the bundled models were trained on."""
        story = read_story(problem.question)
        longest = LEVELS[max(LEVELS)]
        short = len(story.clauses) <= longest.plain + longest.turned + longest.together
        if story.things in THINGS and short and readings(story)[0].max() <= LARGEST:
            return None
        return (
            f"the bundled models know numbers up to {LARGEST} and this world's things, such as {THINGS[0]}; this "
            "question lies outside"
        )

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the demonstrator's solution, faults and all. Raises InputError for `after`."""
        return self._solved(rng, level, after, self.habits)

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of a solver with more faults, to learn faults from."""
        return self._solved(rng, level, after, PRACTICE)

    def _solved(self, rng: np.random.Generator, level: int, after: int, habits: Habits) -> tuple[Problem, list[str]]:
        if after:
            raise InputError("what some steps leave of a story is no story: `after` has to be 0")
        story = self._of_split(rng, level, "train")
        problem = Problem(story.text, story.text, str(story.gold), self.name, level)
        return problem, demonstrate(rng, story, habits)

    def demonstrator(self) -> Policy:
        """The demonstrator as a policy."""
        return DemonstratorPolicy(self.habits)

    def worth(self, problem: Problem, steps: Sequence[str], temperature: float = 1.0) -> float:
        """The exact chance that the demonstrator, going on after these steps, ends with the right answer."""
        return success(read_story(problem.question), self._follow(problem, steps), self.habits, temperature)

    def _follow(self, problem: Problem, steps: Sequence[str]) -> State:
        return follow(problem.question, tuple(steps))

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the story and the steps before, in the story's order."""
        return self._follow(problem, steps).valid

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """(numbers known, parts of an open clause, way where it still matters, fault), and the answer once there is
        one. A misread state is one of its own, by its numbers.
        """
        story, state = read_story(problem.question), self._follow(problem, steps)
        ahead = story.clauses[len(state.values) - 1 :]
        matters = state.way is not None and any(clause.kind is Kind.TOGETHER for clause in ahead)
        fault = "broken" if state.broken else "misread" if state.misread else "valid"
        told = (state.values, state.parts, str(state.way) if matters else "", fault)
        return told if state.answered is None else (*told, state.answered)

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step so far is valid; for a finished solution, whether its answer is right."""
        state = self._follow(problem, steps)
        return state.valid if state.answered is None else self.is_right(problem, state.answered)

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an answer is the whole number that the story comes to."""
        plain = answer.strip()
        return re.fullmatch(r"\d{1,9}", plain, re.ASCII) is not None and int(plain) == read_story(problem.question).gold
