"""Reward models made from plain functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.engines.local import Batcher
from rollwise.errors import InputError
from rollwise.rewards.layouts import solution_steps

_CALLS = 32
"""The most concurrent calls of an asynchronous function for one question."""

RewardFunction = Callable[[Problem, list[list[str]]], Sequence[Any] | Awaitable[Sequence[Any]]]
"""(the problem, the steps of each solution) → a reward in [0, 1] or a Failure for each solution."""


def from_function(function: RewardFunction, parameters: int = 0) -> FunctionReward:
    """A reward model from a function, synchronous or asynchronous.

    The function receives the `Problem` and, for every path that grew, the list of its steps so far without their
    separators; the last step is the step to judge. It returns one number in [0, 1] for each path, or a `Failure` that
    says why it has no reward. The paths of a round may come in several calls, as their steps are done. A synchronous
    function runs on a thread of its own, one call at a time.

    `parameters` counts the parameters that compute a token, for the ledger's FLOPs. The ledger counts no tokens of the
    function, since the search does not see them. Raises InputError if the function does not take these two arguments.
    """
    return FunctionReward(function, parameters)


class FunctionReward(RewardModel):
    """The reward model that `from_function` returns."""

    reads_certainty = False

    def __init__(self, function: RewardFunction, parameters: int = 0) -> None:
        try:
            inspect.signature(function).bind(None, [])
        except TypeError:
            raise InputError(
                f"a reward function takes (problem, solutions), and {function!r:.60} does not: give it two parameters"
            ) from None
        except ValueError:
            pass  # a built-in function without a signature
        self.function, self.parameters = function, parameters
        self.batcher: Batcher[tuple[Problem, list[list[str]]], Any] = Batcher(self._run, "rollwise-reward-function")

    def _run(self, requests: Sequence[tuple[Problem, list[list[str]]]]) -> list[Any]:
        """What each call returned or raised, so that an error fails its own question only."""
        outcomes: list[Any] = []
        for problem, solutions in requests:
            try:
                outcomes.append(self.function(problem, solutions))
            except Exception as error:  # `score` raises it
                outcomes.append(error)
        return outcomes

    def open(self, problem: Problem, seed: int) -> FunctionRewardSession:
        """A session for one question."""
        return FunctionRewardSession(self, problem)


class FunctionRewardSession(RewardSession):
    """One question's calls of a reward function."""

    def __init__(self, reward: FunctionReward, problem: Problem) -> None:
        self.reward, self.problem = reward, problem
        self.usage = Usage()
        self.in_process = not inspect.iscoroutinefunction(reward.function)
        self.at_once = 1 if self.in_process else _CALLS

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given. Raises InputError if the function does
        not return one result for each path.
        """
        if not paths:
            return []
        returned = await self._call([solution_steps(path) for path in paths])
        self.usage.calls += 1
        try:
            results = list(returned)
        except TypeError:
            raise InputError(f"the reward function has to return a list, not {returned!r:.60}") from None
        if len(results) != len(paths):
            raise InputError(
                f"the reward function returned {len(results)} rewards for {len(paths)} solutions: return one for each"
            )
        return [_reward(result) for result in results]

    async def _call(self, solutions: list[list[str]]) -> Any:
        """What the function returns for these solutions. Raises what the function raises."""
        if inspect.iscoroutinefunction(self.reward.function):
            return await self.reward.function(self.problem, solutions)
        outcome = await self.reward.batcher.run((self.problem, solutions))
        if isinstance(outcome, Exception):
            raise outcome
        return await outcome if inspect.isawaitable(outcome) else outcome

    def retain(self, keys: Collection[PathKey]) -> None:
        """Do nothing: the session keeps no caches."""

    async def close(self) -> None:
        """Do nothing: the session holds no resources."""


def _reward(result: Any) -> float | Failure:
    if isinstance(result, Failure):
        return result
    try:
        value = float(result)
    except Exception:  # a user's own type may raise anything
        value = math.nan
    return value if 0 <= value <= 1 else Failure(f"the reward function returned {result!r:.60}, not a number in [0, 1]")
