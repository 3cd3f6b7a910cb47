r"""The questions of GSM8K as a world: the sums of a step are checked, and their results say where a solution stands."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from rollwise.answers import sums_of
from rollwise.core import CheckedProblems, Curriculum, Problem
from rollwise.worlds.free import FreeText


class Gsm8k(CheckedProblems):
    """Questions of GSM8K, or others like them. The answer is compared as mathematics.

    A step is valid unless a sum in it is wrong. Nothing else is checked, so valid does not mean right. The state is the
    set of results so far, in any order. Without a wrong sum, a right answer counts as within reach.
    """

    name = "gsm8k"
    levels: Sequence[int] = ()
    separator = FreeText.separator
    checkable = False
    curriculum = Curriculum(
        stages=(),
        reward_kinds={},
        level_shares={},
        longest=16,
        demonstrations="the solutions of GSM8K's training questions",
        label="whether every sum so far is right",
        held_out="and no test question, was seen",
    )

    def __init__(self) -> None:
        self.text = FreeText()

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """Raises InputError: this world draws no questions."""
        return self.text.problem(level, seed, split)

    def parse(self, question: str) -> Problem:
        """The question with the instruction to box its answer. Raises InputError if the question is empty."""
        return replace(self.text.parse(question), world=self.name)

    def remark(self, problem: Problem) -> str | None:
        """None: nothing is known about any question."""
        return None

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the same mathematics as the gold answer."""
        return self.text.is_right(problem, answer)

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether no sum in the steps is wrong."""
        return not any(each.is_wrong for step in steps for each in sums_of(step))

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """The results of the sums so far."""
        results = {each.shown for step in steps for each in sums_of(step)}
        return tuple(sorted(str(result) for result in results))

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether no sum in the steps is wrong."""
        return self.step_is_valid(problem, steps)
