r"""Any question at all, whose answer stands in \boxed{} and is compared as mathematics. Nothing can be checked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NoReturn

import numpy as np

from rollwise.answers import equivalent
from rollwise.core import Curriculum, Policy, Problem
from rollwise.errors import InputError

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


class FreeText:
    """The world of questions that nobody bundled: no levels, no states, no models of its own."""

    name = "text"
    levels: tuple[int, ...] = ()
    separator = "\n\n"
    literals: tuple[str, ...] = ()
    checkable = False

    @property
    def curriculum(self) -> Curriculum:
        """Raises InputError: nothing is trained on this world."""
        self._without("models of its own")

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """Raises InputError: nothing is drawn here."""
        raise InputError(
            "the world text draws no questions: give one, like rollwise solve 'What is 12 × 13?', or --world"
        )

    def parse(self, question: str) -> Problem:
        """The question with the instruction to box its answer. Raises InputError for an empty one."""
        if not question.strip():
            raise InputError("the question is empty: give one, like rollwise solve 'What is 12 × 13?'")
        return Problem(question, question, None, self.name, instruction=INSTRUCTION)

    def remark(self, problem: Problem) -> str | None:
        """None: nothing is known of any question."""
        return None

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """Raises InputError: there are none."""
        self._without("demonstrations")

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """Raises InputError: there are none."""
        self._without("attempts")

    def demonstrator(self) -> Policy | None:
        """None: nobody demonstrates."""
        return None

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Raises InputError: steps can not be checked."""
        self._without("steps that can be checked")

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """Raises InputError: the true direction is not known."""
        self._without("states")

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Raises InputError: what can be reached is not known."""
        self._without("truths before a path's end")

    def worth(self, problem: Problem, steps: Sequence[str]) -> float:
        """Raises InputError: chances are not known."""
        self._without("known chances")

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the same mathematics as the gold one; False where there is no gold one."""
        return problem.answer is not None and equivalent(problem.answer, answer)

    def _without(self, what: str) -> NoReturn:
        raise InputError(f"the world text has no {what}: choose another world by --world, or another part")
