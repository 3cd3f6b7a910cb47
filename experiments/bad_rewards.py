"""Rewards that deserve no trust, for tests of a search: `--reward experiments/bad_rewards.py:inverted`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollwise.core import Failure, Path, Problem, RewardModel
from rollwise.numerics import keyed_generator
from rollwise.registry import find_reward
from rollwise.rewards.functions import from_function


class Inverted(RewardModel):
    """1 minus the reward of the bundled reward model of the numbers game."""

    def __init__(self) -> None:
        self.model = find_reward("trained", "countdown")
        self.parameters = self.model.parameters

    def open(self, problem: Problem, seed: int) -> Any:
        """A session of the bundled reward model with inverted rewards."""
        session: Any = self.model.open(problem, seed)
        judge = session.score

        async def score(paths: Sequence[Path]) -> list[float | Failure]:
            rewards = await judge(paths)
            return [reward if isinstance(reward, Failure) else 1 - float(reward) for reward in rewards]

        session.score = score
        return session


inverted = Inverted()


@from_function
def noise(problem: Problem, solutions: Sequence[Sequence[str]]) -> list[float]:
    """A random number for each text; equal texts get equal numbers."""
    return [float(keyed_generator("noise", problem.id, *steps).random()) for steps in solutions]


@from_function
def constant(problem: Problem, solutions: Sequence[Sequence[str]]) -> list[float]:
    """One half for every solution."""
    return [0.5] * len(solutions)
