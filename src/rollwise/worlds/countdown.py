"""The numbers game: use each number once, with + − × ÷, to make a target.

A step names one operation and the numbers left. The state (numbers left, target) is the exact direction. A small
recursive search finds out whether a state can still reach the target, so the truth is known at every step.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

import numpy as np

from rollwise.answers import evaluate
from rollwise.core import Curriculum, Policy, Problem, World
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.worlds.countdown_play import LEVELS, QUESTIONS, draw_game, held_out_split, play_on
from rollwise.worlds.countdown_rules import (
    ANSWER_PREFIX,
    SEPARATOR,
    Numbers,
    State,
    advance,
    can_reach,
    question_text,
    read_question,
)

LARGEST_TOKEN = 999
"""Numbers up to this are a single token."""

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
    demonstrations="random play",
    label="whether a right answer can still be reached, according to an exact search",
    held_out=(
        "in any order of its numbers, occurs in training, not even as the three or more numbers left after a step"
    ),
)
"""The numbers left after some steps of a long problem are a short problem, so policies learn to plan from the end."""


class Countdown(World):
    """The numbers game as a world: problems, step checker, true state, reachability oracle, grader."""

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
        """The problem that (level, seed) names in a split. Every problem has a solution.

        Raises InputError for an unknown level or split.
        """
        if level not in LEVELS:
            raise InputError(f"the numbers game has levels {min(LEVELS)} to {max(LEVELS)}, not {level}")
        if split not in ("test", "validation", "train"):
            raise InputError(f"no split is called {split!r}; choose test, validation or train")
        rng = keyed_generator("countdown problem", split, level, seed)
        while True:
            numbers, game = draw_game(rng, QUESTIONS[level])
            target = game.result
            if held_out_split(numbers, target) == split:
                return Problem(
                    f"countdown-{split}-{level}-{seed}", question_text(numbers, target), str(target), self.name, level
                )

    def parse(self, question: str) -> Problem:
        """The problem of a typed question, in the words that the policy knows. Raises InputError for other texts."""
        numbers, target = read_question(question)
        text = question_text(numbers, target)
        return Problem(text, text, str(target), self.name)

    def remark(self, problem: Problem) -> str | None:
        """A note if the bundled models were not trained on questions like this; otherwise None."""
        numbers, target = read_question(problem.question)
        counts = {level.count for level in LEVELS.values()}
        largest, high = LEVELS[5].largest, LEVELS[5].high
        if len(numbers) in counts and max(numbers) <= largest and target <= high:
            return None
        return (
            f"the bundled models were trained on {min(counts)} to {max(counts)} numbers up to {largest} and targets up "
            f"to {high}; this question is outside that range"
        )

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and a solution. With `after`, the problem is the rest of a longer one after so many steps.

        Neither the problem nor any state of three or more numbers on the way is held out for validation or test.
        """
        while True:
            numbers, game = draw_game(rng, LEVELS[level], after)
            if game.suits_training(game.result):
                return self._training_problem(numbers, game.result, level), game.texts

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and valid steps that leave its solution for random play at some point, so most fail.

        Held-out problems and states are avoided as in `demonstration`.
        """
        while True:
            numbers, right = draw_game(rng, LEVELS[level], after)
            game = play_on(rng, right.until(int(rng.integers(len(numbers)))))
            if right.suits_training(right.result) and game.suits_training(right.result):
                return self._training_problem(numbers, right.result, level), game.texts

    def demonstrator(self) -> Policy | None:
        """None: random play is not a policy to search with."""
        return None

    def _training_problem(self, numbers: Numbers, target: int, level: int) -> Problem:
        text = question_text(numbers, target)
        return Problem(text, text, str(target), self.name, level)

    def _follow(self, problem: Problem, steps: Sequence[str]) -> State:
        numbers, target = read_question(problem.question)
        return functools.reduce(advance, steps, State(tuple(sorted(numbers)), target))

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the steps before it."""
        return not self._follow(problem, steps).broken

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """(numbers left, whether a step is wrong), and the answer once it is given. Equal states have equal chances."""
        state = self._follow(problem, steps)
        return (state.numbers, state.broken, *filter(None, [state.answered]))

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether the numbers left can still make the target; for a finished solution, whether it is right."""
        state = self._follow(problem, steps)
        if state.answered is not None:
            return self.is_right(problem, state.answered)
        return not state.broken and can_reach(state.numbers, state.target)

    def worth(self, problem: Problem, steps: Sequence[str]) -> float:
        """Raises InputError: this game has no demonstrator with known chances."""
        raise InputError("the numbers game has no demonstrator with known chances; use the reward dial instead")

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an expression uses every number once and makes the target exactly."""
        numbers, target = read_question(problem.question)
        try:
            value, used = evaluate(answer)
        except InputError:
            return False
        return value == target and used == tuple(sorted(numbers))
