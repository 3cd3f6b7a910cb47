"""A reward model that is a plain function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, Usage
from rollwise.engines.local import Batcher
from rollwise.errors import InputError
from rollwise.rewards.layouts import solution_steps

_CALLS = 32
"""Of an asynchronous function beside each other, for one question."""

RewardFunction = Callable[[Problem, list[list[str]]], Sequence[Any] | Awaitable[Sequence[Any]]]
"""(the problem, the steps of each solution) → a reward in [0, 1] for each, or a Failure."""


def from_function(function: RewardFunction, parameters: int = 0) -> FunctionReward:
    """A reward model of a function, synchronous or asynchronous.

    The function gets the `Problem` and, for every path that grew, the list of its steps so far without their
    separators, the last one the step to judge; it returns one number in [0, 1] for each, or a `Failure` that says why
    there is none. Paths may come in parts, as they are done. A synchronous one runs on a thread of its own, one call at
    a time. `parameters` counts those that
    compute a token, for the ledger's FLOPs; tokens are not counted, since nobody sees them. Raises InputError for what
    cannot be called so.
    """
    return FunctionReward(function, parameters)


class FunctionReward:
    """What `from_function` makes."""

    reads_certainty = False

    def __init__(self, function: RewardFunction, parameters: int = 0) -> None:
        try:
            inspect.signature(function).bind(None, [])
        except TypeError:
            raise InputError(f"a reward function takes (problem, solutions), and {function!r:.60} does not") from None
        except ValueError:
            pass  # a built-in that does not tell
        self.function, self.parameters = function, parameters
        self.batcher: Batcher[tuple[Problem, list[list[str]]], Any] = Batcher(self._run, "rollwise-reward-function")

    def _run(self, requests: Sequence[tuple[Problem, list[list[str]]]]) -> list[Any]:
        """What each call returned or raised: one question's failure is not another's."""
        found: list[Any] = []
        for problem, solutions in requests:
            try:
                found.append(self.function(problem, solutions))
            except Exception as error:  # raised where it was asked for
                found.append(error)
        return found

    def open(self, problem: Problem, seed: int) -> FunctionRewardSession:
        """A session for one question."""
        return FunctionRewardSession(self, problem)


class FunctionRewardSession:
    """One question's calls of a reward function."""

    def __init__(self, reward: FunctionReward, problem: Problem) -> None:
        self.reward, self.problem = reward, problem
        self.usage = Usage()
        self.in_process = not inspect.iscoroutinefunction(reward.function)
        self.at_once = 1 if self.in_process else _CALLS

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given. Raises InputError where the function
        returns something else than one result for each.
        """
        if not paths:
            return []
        solutions = [solution_steps(path) for path in paths]
        if inspect.iscoroutinefunction(self.reward.function):
            found = await self.reward.function(self.problem, solutions)
        else:
            found = await self.reward.batcher.run((self.problem, solutions))
            if isinstance(found, Exception):
                raise found
            found = await found if inspect.isawaitable(found) else found
        self.usage.calls += 1
        try:
            results = list(found)
        except TypeError:
            raise InputError(f"the reward function has to return a list, not {found!r:.60}") from None
        if len(results) != len(paths):
            raise InputError(f"the reward function returned {len(results)} rewards for {len(paths)} solutions")
        return [_reward(result) for result in results]

    def retain(self, keys: Collection[PathKey]) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to give back."""


def _reward(result: Any) -> float | Failure:
    if isinstance(result, Failure):
        return result
    try:
        value = float(result)
    except Exception:  # whatever a user's own type may raise
        value = math.nan
    return value if 0 <= value <= 1 else Failure(f"the reward function returned {result!r:.60}, not a number in [0, 1]")
