"""Word problems with a whole number as answer, in which different ways of solving truly differ in success.

Policies learn from a demonstrator with known habits. Its popular way slips more often than its rare way, and a tempting
wrong reading gathers many votes on the same wrong answer. The modules `story_questions`, `story_steps` and
`story_drawing` hold the rules, and `demonstrator` holds the habits.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from rollwise.core import Curriculum, Policy, Problem, World
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.worlds.demonstrator import DemonstratorPolicy, Habits, demonstrate, success
from rollwise.worlds.story_drawing import LARGEST_NUMBER, LEVELS, NAMES, THINGS, draw_story, held_out_split
from rollwise.worlds.story_questions import Kind, Story, read_story, readings
from rollwise.worlds.story_steps import ANSWER_PREFIX, SEPARATOR, State, follow

HABITS = {
    "stories": Habits(),
    "stories-even": Habits(tempted_per_clause=0.04, tempted_most=0.3, long_way=0.5, slip=0.03, slip_long=0.03),
}
"""Two demonstrators of the same questions. In the even world the ways hardly differ in success and slips are equally
likely everywhere, so directions should not matter there.
"""

PRACTICE = Habits(tempted_per_clause=1.0, tempted_most=0.35, long_way=0.5, slip=0.1, slip_long=0.1)
"""The habits behind attempts, from which reward models learn: about half of their steps are on course."""


CURRICULUM = Curriculum(
    stages=(
        (0.2, {(1, 0): 0.4, (2, 0): 0.3, (3, 0): 0.2, (4, 0): 0.1}),
        (0.5, {(1, 0): 0.15, (2, 0): 0.2, (3, 0): 0.25, (4, 0): 0.25, (5, 0): 0.15}),
        (1.0, {(1, 0): 0.1, (2, 0): 0.15, (3, 0): 0.2, (4, 0): 0.25, (5, 0): 0.3}),
    ),
    reward_kinds={(1, 0): 0.1, (2, 0): 0.15, (3, 0): 0.2, (4, 0): 0.25, (5, 0): 0.3},
    level_shares={1: 0.1, 2: 0.15, 3: 0.2, 4: 0.25, 5: 0.3},
    longest=40,
    demonstrations="a solver who misreads, slips and prefers the longer way at known rates",
    label="whether every step so far is valid",
    held_out="with any names and things, occurs in training",
)


class Stories(World):
    """Stories as a world; its policies learn from a demonstrator with known habits."""

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
        """The problem that (level, seed) names in a split; the same for every demonstrator.

        Raises InputError for an unknown level or split.
        """
        if level not in LEVELS:
            raise InputError(f"stories have levels {min(LEVELS)} to {max(LEVELS)}, not {level}")
        if split not in ("test", "validation", "train"):
            raise InputError(f"no split is called {split!r}; choose test, validation or train")
        story = self._of_split(keyed_generator("stories problem", split, level, seed), level, split)
        return Problem(f"stories-{split}-{level}-{seed}", story.text, str(story.gold), self.name, level)

    def _of_split(self, rng: np.random.Generator, level: int, split: str) -> Story:
        while True:
            story = draw_story(rng, LEVELS[level])
            if held_out_split(story) == split:
                return story

    def parse(self, question: str) -> Problem:
        """The problem of a typed question, in the words that the policy knows; its people are renamed in order.

        Raises InputError if the question is no story of this world.
        """
        typed = read_story(question)
        story = replace(typed, names=NAMES[: len(typed.names)])
        return Problem(story.text, story.text, str(story.gold), self.name)

    def remark(self, problem: Problem) -> str | None:
        """A note if the bundled models were not trained on questions like this; otherwise None."""
        story = read_story(problem.question)
        longest = LEVELS[max(LEVELS)]
        short = len(story.clauses) <= longest.plain + longest.turned + longest.together
        if story.things in THINGS and short and readings(story)[0].max() <= LARGEST_NUMBER:
            return None
        return (
            f"the bundled models were trained on numbers up to {LARGEST_NUMBER} and on this world's things, such as "
            f"{THINGS[0]}; this question is outside that range"
        )

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the demonstrator's solution with its faults. Raises InputError if `after` is not 0."""
        return self._solved(rng, level, after, self.habits)

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of a solver with more faults, from which reward models learn faults."""
        return self._solved(rng, level, after, PRACTICE)

    def _solved(self, rng: np.random.Generator, level: int, after: int, habits: Habits) -> tuple[Problem, list[str]]:
        if after:
            raise InputError("the rest of a story after some steps is no story: leave `after` at 0")
        story = self._of_split(rng, level, "train")
        problem = Problem(story.text, story.text, str(story.gold), self.name, level)
        return problem, demonstrate(rng, story, habits)

    def demonstrator(self) -> Policy:
        """The demonstrator as a policy."""
        return DemonstratorPolicy(self.habits)

    def worth(self, problem: Problem, steps: Sequence[str], temperature: float = 1.0) -> float:
        """The exact chance that the demonstrator, continuing after these steps, ends with the right answer."""
        return success(read_story(problem.question), self._follow(problem, steps), self.habits, temperature)

    def _follow(self, problem: Problem, steps: Sequence[str]) -> State:
        return follow(problem.question, tuple(steps))

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the story and the steps before it, in the story's order."""
        return self._follow(problem, steps).valid

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """(numbers known, parts of an open clause, way if it still matters, fault), and the answer once it is given.

        A misread state differs from a valid state through its fault and its numbers.
        """
        story, state = read_story(problem.question), self._follow(problem, steps)
        ahead = story.clauses[len(state.values) - 1 :]
        way_matters = state.way is not None and any(clause.kind is Kind.TOGETHER for clause in ahead)
        fault = "broken" if state.broken else "misread" if state.misread else "valid"
        known = (state.values, state.parts, str(state.way) if way_matters else "", fault)
        return known if state.answered is None else (*known, state.answered)

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step so far is valid; for a finished solution, whether its answer is right."""
        state = self._follow(problem, steps)
        return state.valid if state.answered is None else self.is_right(problem, state.answered)

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an answer is the whole number that the story asks for."""
        plain = answer.strip()
        return re.fullmatch(r"\d{1,9}", plain, re.ASCII) is not None and int(plain) == read_story(problem.question).gold
