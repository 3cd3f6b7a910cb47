"""Reward models made from plain functions, in Python and from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest

import rollwise
from rollwise.core import Failure, Path, Problem, Step, Stop
from rollwise.errors import InputError
from rollwise.registry import find_reward, find_world
from rollwise.rewards import from_function

PROBLEM = Problem("one", "What is 1 + 1?")
PATHS = [
    Path((0,), (Step("1 + 1\n\n", 1, Stop.STEP), Step("\n\n", 1, Stop.STEP), Step("= ", 1, Stop.LENGTH))),
    Path((1,), (Step("= ", 1, Stop.LENGTH), Step("2", 1, Stop.END))),
]


def by_length(problem: Problem, solutions: list[list[str]]) -> list[float]:
    assert problem == PROBLEM
    assert solutions == [["1 + 1", "="], ["= 2"]]
    return [len(steps) / 4 for steps in solutions]


async def by_length_later(problem: Problem, solutions: list[list[str]]) -> list[float]:
    await asyncio.sleep(0)
    return by_length(problem, solutions)


@pytest.mark.parametrize("function", [by_length, by_length_later, lambda *given: by_length_later(*given)])
async def test_a_function_gets_the_problem_and_the_steps(function: Callable[..., Any]) -> None:
    session = from_function(function).open(PROBLEM, 0)
    assert await session.score(PATHS) == [0.5, 0.25]
    assert await session.score([]) == []
    assert (session.usage.calls, session.usage.prefilled) == (1, 0)


async def test_a_result_that_is_no_reward_costs_only_its_own_rollout() -> None:
    def odd(problem: Problem, solutions: Sequence[Any]) -> list[Any]:
        return [0.5, 1.5, None, float("nan"), Failure("too long"), 1, "0.25", -0.1]

    results = await from_function(odd).open(PROBLEM, 0).score([PATHS[0]] * 8)
    reasons = [result.reason for result in results if isinstance(result, Failure)]
    assert [result for result in results if not isinstance(result, Failure)] == [0.5, 1.0, 0.25]
    assert len(reasons) == 5
    assert reasons[0] == "the reward function returned 1.5, not a number in [0, 1]"
    assert "too long" in reasons


@pytest.mark.parametrize("wrong", [[0.5], [0.5] * 3, None, 0.5])
async def test_a_wrong_number_of_rewards_raises(wrong: Any) -> None:
    with pytest.raises(InputError, match="reward function"):
        await from_function(lambda *given: wrong).open(PROBLEM, 0).score(PATHS)


async def test_an_error_of_the_function_fails_only_its_own_question() -> None:
    def picky(problem: Problem, solutions: list[list[str]]) -> list[float]:
        if problem.id == "bad":
            raise RuntimeError("no")
        return [1.0 for _ in solutions]

    reward = from_function(picky)
    good, bad = reward.open(PROBLEM, 0), reward.open(Problem("bad", "?"), 0)
    rewards, error = await asyncio.gather(good.score(PATHS), bad.score(PATHS), return_exceptions=True)
    assert rewards == [1.0, 1.0]
    assert isinstance(error, RuntimeError)


def test_a_function_with_other_parameters_is_refused() -> None:
    def lonely(problem: Problem) -> list[float]:
        return [0.5]

    given: Any = lonely
    with pytest.raises(InputError, match=r"takes \(problem, solutions\)"):
        from_function(given)


FILE = """
from rollwise.rewards import from_function

def longest(problem, solutions):
    return [min(1.0, len(steps[-1]) / 40) for steps in solutions]

ready = from_function(longest, parameters=7)
"""


def test_a_file_gives_a_function_or_a_reward_model(tmp_path: FilePath) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    for name, parameters in (("longest", 0), ("ready", 7)):
        reward = find_reward(f"{file}:{name}", "countdown")
        assert reward.parameters == parameters
        rewards = asyncio.run(reward.open(PROBLEM, 0).score(PATHS))
        assert rewards == pytest.approx([1 / 40, 3 / 40])
    with pytest.raises(InputError, match="your own reward function as"):
        find_reward(f"{tmp_path}/none.py:longest", "countdown")


def test_a_search_uses_the_function(tmp_path: FilePath) -> None:
    seen: list[int] = []

    def first_way(problem: Problem, solutions: list[list[str]]) -> list[float]:
        seen.append(len(solutions))
        return [0.9 if len(steps) % 2 else 0.1 for steps in solutions]

    solution = rollwise.solve(
        find_world("stories").problem(1, 0),
        "rebase",
        4,
        world="stories",
        policy="demonstrator",
        reward=from_function(first_way),
    )
    assert seen[0] == 4
    rewards = {reward for path in solution.finished for reward in path.rewards}
    assert rewards == {0.9, 0.1}
