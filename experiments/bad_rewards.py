"""Rewards that deserve no trust, to see what a search makes of them: `--reward experiments/bad_rewards.py:inverted`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollwise.core import Failure, Path, Problem
from rollwise.numerics import keyed_generator
from rollwise.registry import find_reward
from rollwise.rewards.functions import from_function


class Inverted:
    """One minus the reward of the bundled model of the numbers game."""

    def __init__(self) -> None:
        self.model = find_reward("trained", "countdown")
        self.parameters = self.model.parameters

    def open(self, problem: Problem, seed: int) -> Any:
        """A session of the bundled model whose rewards are turned over."""
        session: Any = self.model.open(problem, seed)
        judge = session.score

        async def score(paths: Sequence[Path]) -> list[float | Failure]:
            return [one if isinstance(one, Failure) else 1 - float(one) for one in await judge(paths)]

        session.score = score
        return session


inverted = Inverted()


@from_function
def noise(problem: Problem, solutions: Sequence[Sequence[str]]) -> list[float]:
    """A number that has nothing to do with the solution, the same for the same text."""
    return [float(keyed_generator("noise", problem.id, *steps).random()) for steps in solutions]


@from_function
def constant(problem: Problem, solutions: Sequence[Sequence[str]]) -> list[float]:
    """One half, whatever there is to judge."""
    return [0.5] * len(solutions)
