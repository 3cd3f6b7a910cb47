"""The contract of a reward model: a chance in [0, 1] for each path, independent of other calls and of `retain`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from rollwise.core import Failure, Path, RewardModel, RewardSession, completed
from rollwise.search import run_to_end
from rollwise.testing.cases import Case, demonstration_cases
from rollwise.testing.contract import (
    Results,
    check_parameters,
    check_results,
    check_usage,
    check_usage_grows,
    promised,
    require,
    require_same,
)


def check_reward(
    reward: RewardModel, cases: Sequence[Case] | None = None, seed: int = 0, tolerance: float = 1e-5
) -> None:
    """Raise ContractError unless a reward model keeps its contract on the cases (default: the numbers game's).

    - `score` returns one reward for each path, in the order given: a finite number in [0, 1], or a Failure.
    - A path gets the same reward, within `tolerance`, in a new session, in another order, alone, next to other
      questions, in as many concurrent calls as the session's `at_once` allows, and after its prefixes were scored and
      retained or dropped.
    - Usage never falls.

    For a function pass `rollwise.rewards.from_function(function)`.
    """
    run_to_end(_check(reward, cases or demonstration_cases(), seed, tolerance))


async def _check(reward: RewardModel, cases: Sequence[Case], seed: int, tolerance: float) -> None:
    check_parameters(reward, "reward model")

    def near(score: Any, other: Any) -> bool:
        return abs(float(score) - float(other)) <= tolerance

    alone = [await _final_scores(reward, case, seed) for case in cases]
    together = await asyncio.gather(*(_final_scores(reward, case, seed) for case in cases))
    for case, expected, other in zip(cases, alone, together, strict=True):
        promise = "a question's rewards are the same beside other questions and in a new session"
        require_same(expected, other, near, promise)
        reversed_scores = await _final_scores(reward, case, seed, "in reverse")
        require_same(expected, reversed_scores, near, "rewards come in the order in which paths are given")
        single_scores = await _final_scores(reward, case, seed, "one by one")
        require_same(expected, single_scores, near, "a path's reward is the same alone and among others")
        for kept in (True, False):
            stepwise = await _stepwise_scores(reward, case, seed, kept)
            history = "retained" if kept else "dropped"
            require_same(expected, stepwise, near, f"a reward is the same after its prefixes were scored and {history}")


async def _final_scores(reward: RewardModel, case: Case, seed: int, order: str = "at once") -> Results:
    """The rewards of all whole paths, in one new session: "at once", "in reverse" or "one by one"."""
    session = _opened(reward, case, seed)
    batches = [[path] for path in case.paths] if order == "one by one" else [list(case.paths)]
    if order == "in reverse":
        batches = [list(reversed(case.paths))]
    scores, together = Results(), max(1, session.at_once)
    try:
        require(await session.score([]) == [], "score of no paths returns no rewards")
        for first in range(0, len(batches), together):
            calls = (_scored(session, batch) for batch in batches[first : first + together])
            for returned in await asyncio.gather(*calls):
                scores |= returned
    finally:
        await session.close()
    return scores


async def _stepwise_scores(reward: RewardModel, case: Case, seed: int, kept: bool) -> Results:
    """The rewards of the whole paths, scored round by round as in a search, with `retain` after each round."""
    session, scores = _opened(reward, case, seed), Results()
    try:
        for paths in case.rounds():
            distinct = {path.key: path for path in paths}
            scores |= await _scored(session, list(distinct.values()))
            session.retain(set(distinct) if kept else set())
    finally:
        await session.close()
    whole = {path.key for path in case.paths}
    return {key: score for key, score in scores.items() if key in whole}


def _opened(reward: RewardModel, case: Case, seed: int) -> RewardSession:
    with promised("open(problem, seed) returns a session"):
        return completed(reward.open(case.problem, seed), RewardSession)


async def _scored(session: RewardSession, paths: Sequence[Path]) -> Results:
    """The rewards of one call of `score`, checked."""
    before = check_usage(session, "reward model")
    with promised("score(paths) returns the reward after each path's last step"):
        returned = await session.score(paths)
    scores = check_results(returned, paths, object, "score")
    for score in scores.values():
        if not isinstance(score, Failure):
            require(_is_chance(score), "a reward is a finite number in [0, 1], or a Failure", f"found {score!r:.60}")
    check_usage_grows(before, check_usage(session, "reward model"))
    return scores


def _is_chance(score: Any) -> bool:
    try:
        return math.isfinite(score) and 0 <= float(score) <= 1
    except Exception:  # a type of the plug-in's own may raise anything
        return False
