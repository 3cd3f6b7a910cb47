"""What a reward model promises: a chance in [0, 1] for each path, whoever else is scored, kept or not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, RewardModel, RewardSession
from rollwise.search import run_to_end
from rollwise.testing.cases import Case, demonstrated
from rollwise.testing.contract import check_grows, check_parameters, check_results, check_usage, promised, require, same

Scores = dict[PathKey, Any]


def check_reward(
    reward: RewardModel, cases: Sequence[Case] | None = None, seed: int = 0, tolerance: float = 1e-5
) -> None:
    """Raises ContractError unless a reward model keeps its contract on the cases (left out: the numbers game's).

    Rewards are finite numbers in [0, 1] or a Failure, one for each path, in the order given; the same within
    `tolerance` in a new session, in another order, one by one, as many calls beside each other as a session's `at_once`
    says, beside other questions, and whether or not the prefixes were scored and retained before; usage never falls.
    For a function give `rollwise.rewards.from_function(function)`.
    """
    run_to_end(_check(reward, cases or demonstrated(), seed, tolerance))


async def _check(reward: RewardModel, cases: Sequence[Case], seed: int, tolerance: float) -> None:
    check_parameters(reward, "reward model")

    def near(one: Any, other: Any) -> bool:
        return abs(float(one) - float(other)) <= tolerance

    alone = [await _last(reward, case, seed) for case in cases]
    together = await asyncio.gather(*(_last(reward, case, seed) for case in cases))
    for case, one, other in zip(cases, alone, together, strict=True):
        same(one, other, near, "a question's rewards are the same beside other questions and in a new session")
        same(
            one,
            await _last(reward, case, seed, "in reverse"),
            near,
            "rewards come in the order in which paths are given",
        )
        same(
            one,
            await _last(reward, case, seed, "one by one"),
            near,
            "a path's reward is the same alone and among others",
        )
        for kept in (True, False):
            stepwise = await _stepwise(reward, case, seed, kept)
            told = "retained" if kept else "dropped"
            same(one, stepwise, near, f"a reward is the same after its prefixes were scored and {told}")


async def _last(reward: RewardModel, case: Case, seed: int, how: str = "at once") -> Scores:
    """The reward of every whole path, asked for at once or otherwise, in a session of its own."""
    session = _opened(reward, case, seed)
    batches = [[path] for path in case.paths] if how == "one by one" else [list(case.paths)]
    if how == "in reverse":
        batches = [list(reversed(case.paths))]
    found, together = Scores(), max(1, getattr(session, "at_once", 1))
    try:
        require(await session.score([]) == [], "score of no paths returns no rewards")
        for first in range(0, len(batches), together):
            for scores in await asyncio.gather(*(_scored(session, one) for one in batches[first : first + together])):
                found |= scores
    finally:
        await session.close()
    return found


async def _stepwise(reward: RewardModel, case: Case, seed: int, kept: bool) -> Scores:
    """The rewards of the whole paths, as a search asks for them: round by round, with retain in between."""
    session, found = _opened(reward, case, seed), Scores()
    try:
        for paths in case.rounds():
            distinct = {path.key: path for path in paths}
            found |= await _scored(session, list(distinct.values()))
            session.retain(set(distinct) if kept else set())
    finally:
        await session.close()
    whole = {path.key for path in case.paths}
    return {key: score for key, score in found.items() if key in whole}


def _opened(reward: RewardModel, case: Case, seed: int) -> RewardSession:
    with promised("open(problem, seed) gives a session"):
        return reward.open(case.problem, seed)


async def _scored(session: RewardSession, paths: Sequence[Path]) -> Scores:
    before = check_usage(session, "reward model")
    with promised("score(paths) returns the reward after each path's last step"):
        results = await session.score(paths)
    found = check_results(results, paths, object, "score")
    for score in found.values():
        if not isinstance(score, Failure):
            require(_is_chance(score), "a reward is a finite number in [0, 1], or a Failure", f"found {score!r:.60}")
    check_grows(before, check_usage(session, "reward model"))
    return found


def _is_chance(score: Any) -> bool:
    try:
        return math.isfinite(score) and 0 <= float(score) <= 1
    except Exception:  # whatever a user's own type may raise
        return False
