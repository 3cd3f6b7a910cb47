"""Drives a search: one coroutine a question grows its paths, scores them, and concludes with a vote."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from rollwise.core import DirectionSession, PolicySession, Problem, RewardSession, Sampling, completed
from rollwise.search.config import Config
from rollwise.search.events import Round, rounds
from rollwise.search.ledger import Ledger
from rollwise.search.machine import Limits, Search
from rollwise.search.parts import Parts, find_parts
from rollwise.search.round import Grower
from rollwise.search.solution import Solution, conclude
from rollwise.search.stopper import Stopper
from rollwise.search.wholes import OnRollouts, sample

Result = TypeVar("Result")
OnRound = Callable[[Round], None]


class Runner:
    """Solves questions with the parts of a config. Many may be solved at once; they share the models' batches."""

    def __init__(self, config: Config | Parts) -> None:
        self.parts = find_parts(config) if isinstance(config, Config) else config

    async def solve(
        self,
        problem: Problem,
        on_round: OnRound | None = None,
        deadline: float | None = None,
        on_rollouts: OnRollouts | None = None,
    ) -> Solution:
        """Search for an answer. `on_round` gets each round when it has closed. If rollouts grow to their end at once,
        their rounds close together, and `on_rollouts` gets how many have ended.

        After `deadline` seconds the search ends and the paths that have finished vote.
        """
        parts, config, started = self.parts, self.parts.config, time.perf_counter()
        step_tokens, tokens = config.max_step_tokens, config.max_tokens
        certainty = parts.reward.reads_certainty
        sampling = Sampling(config.temperature, config.top_p, step_tokens, tokens, config.seed, certainty)
        policy = completed(parts.policy.open(problem, sampling), PolicySession)
        reward = completed(parts.reward.open(problem, config.seed), RewardSession)
        finder = completed(parts.finder.open(problem, policy), DirectionSession) if parts.finder else None
        search = Search(problem, parts.allocate, parts.limits, config.seed, parts.believe)
        try:
            async with asyncio.timeout(deadline) as timer:
                await policy.prepare()
                search.limits = replace(parts.limits, max_tokens=min(tokens, policy.room))
                grower = Grower(policy, reward, finder, config.overlap, lambda: time.perf_counter() - started)
                stopper = Stopper(parts)
                whole = parts.whole and policy.grows_whole and grower.at_once_of(reward) > 0
                while not search.done:
                    seen, reason = len(search.events), None
                    if whole:
                        reason = await sample(search, grower, stopper, on_rollouts)
                    else:
                        await grower.round(search)
                    if reason is None and not search.done:
                        reason = await asyncio.to_thread(stopper.reason, search)
                    if reason is not None:
                        search.stop(reason)
                    if on_round:
                        for closed in rounds(search.events[seen:]):
                            on_round(closed)
        except TimeoutError:
            if not timer.expired():
                raise
            search.stop(f"the deadline of {deadline:g} s has come")
        finally:
            await policy.close()
            await reward.close()
            if finder is not None:
                await finder.close()
        ledger = Ledger(rounds=search.round, seconds=time.perf_counter() - started)
        ledger.enter("policy", policy.usage, parts.policy.parameters)
        ledger.enter("reward", reward.usage, parts.reward.parameters)
        if finder is not None and parts.finder is not None:
            ledger.enter("embedder", finder.usage, parts.finder.parameters)
        solution = await asyncio.to_thread(conclude, search, parts, ledger)
        return replace(solution, expired=True) if timer.expired() else solution


async def solve_async(
    question: str | Problem,
    strategy: Any = "auto",
    budget: int = Limits.budget,
    *,
    on_round: OnRound | None = None,
    **fields: Any,
) -> Solution:
    """Spend `budget` rollouts on a question and return the Solution.

    `strategy` is a name, `file.py:function`, or a function (candidates, width) → counts. `policy`, `reward` and
    `directions` are names, or objects of the protocols in `rollwise.core`. The other fields are those of
    `rollwise.Config`, which also says what "auto" stands for. Raises InputError for what cannot be used.
    """
    runner = Runner(Config.of(strategy=strategy, budget=budget, **fields))
    problem = runner.parts.parse(question) if isinstance(question, str) else question
    return await runner.solve(problem, on_round)


def solve(question: str | Problem, strategy: Any = "auto", budget: int = Limits.budget, **fields: Any) -> Solution:
    """`solve_async` for synchronous code; it also works inside a running event loop, as in a notebook."""
    return run_to_end(solve_async(question, strategy, budget, **fields))


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end from synchronous code, on its own thread if an event loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    box: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            box.append(asyncio.run(work))
        except BaseException as error:  # handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return box[0]
