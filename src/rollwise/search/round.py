"""One round of a search: every path grows by one step, is scored and embedded, if possible while others still grow.

Nothing depends on when a reply comes: the search gets the results in the order of its paths.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from rollwise.core import (
    DirectionSession,
    Evidence,
    Failure,
    Judgement,
    Path,
    PathKey,
    PolicySession,
    RewardSession,
    Step,
    Stop,
)
from rollwise.errors import InputError
from rollwise.search.desk import Clock, Desk, broken, instance_of, judgement, outcome, outcomes
from rollwise.search.events import Span
from rollwise.search.machine import Growth, Search

Overlap = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Grower:
    """The parts that grow one search's paths, and a clock in seconds.

    `overlap` says when paths are scored and embedded while others still grow. "never": not at all. "always": whenever
    the policy yields each step as it is done and the other part takes a round's paths in parts. "auto": the same,
    unless both compute in this process, where they would only take turns on its processors, in smaller batches.
    """

    policy: PolicySession
    reward: RewardSession
    finder: DirectionSession | None = None
    overlap: Overlap = "auto"
    clock: Clock = time.perf_counter

    async def round(self, search: Search) -> None:
        """Grow every waiting path, score it, find directions among those that go on, and report to the search.

        If it is cancelled, it first reports the paths that have their step and its score.
        """
        scoring = Desk("reward model", self.reward.score, judgement, self.clock, self.at_once_of(self.reward))
        finding = None
        if self.finder is not None:
            at_once = self.at_once_of(self.finder)
            finding = Desk("direction finder", self.finder.find, instance_of(Evidence), self.clock, at_once)
        waiting, steps = search.ask(), dict[PathKey, Grown]()
        try:
            await self._grow(waiting, steps, scoring, finding)
            await asyncio.gather(scoring.all(), *([finding.all()] if finding else []))
        except asyncio.CancelledError:
            lost = {key for key, (step, _) in steps.items() if isinstance(step, Failure)}
            done = [path for path in waiting if path.key in lost or path.key in scoring.found]
            if len(done) < len(waiting):
                _tell(search, done, steps, scoring, finding)
            raise
        finally:
            await scoring.close()
            if finding:
                await finding.close()
        await to_its_end(asyncio.to_thread(_tell, search, waiting, steps, scoring, finding))
        parents = {path.key[:-1] for path in search.ask()}
        self.policy.retain(parents)
        self.reward.retain(parents)

    def at_once_of(self, session: RewardSession | DirectionSession) -> int:
        """How many concurrent calls a session takes while paths still grow; 0 if it has to wait for all paths."""
        shared = self.policy.in_process and session.in_process
        if self.overlap == "never" or (self.overlap == "auto" and shared):
            return 0
        return session.at_once

    async def _grow(
        self,
        waiting: Sequence[Path],
        steps: dict[PathKey, Grown],
        scoring: Desk[Judgement],
        finding: Desk[Evidence] | None,
    ) -> None:
        """Put every path's step into `steps`. The desks get each step as it is done."""
        began = self.clock()
        early = scoring.at_once or (finding and finding.at_once)
        async for path, step in _steps(self.policy, waiting, bool(early)):
            steps[path.key] = step, (began, self.clock())
            if isinstance(step, Step):
                scoring.put(path.grown(step))
                if finding and step.stop is not Stop.END:
                    finding.put(path.grown(step))


Grown = tuple[Step | Failure, Span]
"""A step or the Failure that took its place, with the start and end of its growth."""


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in a thread, which computes the allocation, so that other questions go on meanwhile. A cancelled
    caller waits too, since nothing else may touch the search before.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _tell(
    search: Search,
    paths: Sequence[Path],
    steps: Mapping[PathKey, Grown],
    scoring: Desk[Judgement],
    finding: Desk[Evidence] | None,
) -> None:
    """Report paths to the search, in their order, with the spans of what was done for them."""
    asked = {"scoring": scoring.spans, "embedding": finding.spans if finding else {}}
    for path in paths:
        step, span = steps[path.key]
        spans = {"generating": span} | {name: at[path.key] for name, at in asked.items() if path.key in at}
        search.tell(path.key, _growth(path.key, step, scoring, finding), spans)


def _growth(
    key: PathKey, step: Step | Failure, scoring: Desk[Judgement], finding: Desk[Evidence] | None
) -> Growth | Failure:
    """A path's result for the search."""
    if isinstance(step, Failure):
        return step
    score, evidence = scoring.found[key], finding.found.get(key, Evidence()) if finding else Evidence()
    if isinstance(score, Failure):
        return score
    if isinstance(evidence, Failure):
        return evidence
    return Growth(step, score.reward, evidence, score.concentration)


async def _steps(
    policy: PolicySession, waiting: Sequence[Path], early: bool
) -> AsyncIterator[tuple[Path, Step | Failure]]:
    """Every path with its step or a Failure; with `early`, each as soon as it is done if the policy can yield it."""
    stream = policy.as_grown(waiting) if early else None
    if stream is None:
        steps = await outcomes("policy", policy.extend, waiting, instance_of(Step))
        for path in waiting:
            yield path, steps[path.key]
        return
    left = {path.key: path for path in waiting}
    reason = Failure("the policy returned no step for this path")
    try:
        async with aclosing(stream) as arriving:
            async for path, result in arriving:
                if path.key in left:
                    yield left.pop(path.key), outcome("policy", result, instance_of(Step))
    except InputError:
        raise
    except Exception as error:  # a user's policy may raise anything
        reason = broken(error)
    for path in left.values():
        yield path, reason
