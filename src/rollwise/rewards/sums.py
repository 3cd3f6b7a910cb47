"""A reward without a model: whether the sums of a solution are right, and how many given numbers they use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction

from rollwise.answers import numbers_in, sums_of
from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.rewards.layouts import solution_steps

PER_CENT = 100


def checked_sums(question: str, steps: Sequence[str]) -> float:
    """0 if a sum in the steps is wrong, else (1 + used) / 2.

    `used` is the share of the numbers in the question that stand in a sum so far, as themselves or as per cents (20 or
    .2); 1 if the question has no numbers. Only sums in digits are read, such as 48/2 = 24; one that cannot be read
    counts as right. The answer is not needed, so this is no oracle: right sums can still answer another question.
    """
    sums = [each for step in steps for each in sums_of(step)]
    if any(each.is_wrong for each in sums):
        return 0.0
    operands = frozenset[Fraction]().union(*(numbers_in(each.expression) for each in sums))
    given = numbers_in(question)
    used = sum(each in operands or each / PER_CENT in operands for each in given)
    return (1 + used / len(given)) / 2 if given else 1.0


class CheckedSums(RewardModel):
    """A reward model for word problems: `checked_sums` of each path."""

    reads_certainty = False
    parameters = 0

    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        return _CheckedSumsSession(problem.question)


class _CheckedSumsSession(RewardSession):
    in_process = True
    at_once = 1

    def __init__(self, question: str) -> None:
        self.question, self.usage = question, Usage()

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [checked_sums(self.question, solution_steps(path)) for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass
