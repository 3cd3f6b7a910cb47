"""One round of a search: its paths grow by one step each and are scored and embedded, while others still grow where
that may be. Nothing depends on when a reply comes: all are told to the search in the order of its paths.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
from rollwise.search.desk import Clock, Desk, broken, judgement, one_of, outcome, outcomes
from rollwise.search.events import Span
from rollwise.search.machine import Growth, Search

Overlap = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Grower:
    """The parts that grow one search's paths, and a clock in seconds.

    `overlap` says when paths are scored and embedded while others still grow: "never"; "always", which is wherever the
    policy tells each step as it is done and the other part takes a round's paths in parts; "auto", there too, unless
    both compute in this process, where they would only take turns on its processors and in smaller batches.
    """

    policy: PolicySession
    reward: RewardSession
    finder: DirectionSession | None = None
    overlap: Overlap = "auto"
    clock: Clock = time.perf_counter

    async def round(self, search: Search) -> None:
        """Grow every waiting path, score what grew, find directions among those that go on, tell the search."""
        scoring = Desk("reward model", self.reward.score, judgement, self.clock, self._at_once(self.reward))
        finding = None
        if self.finder is not None:
            at_once = self._at_once(self.finder)
            finding = Desk("direction finder", self.finder.find, one_of(Evidence), self.clock, at_once)
        waiting = search.ask()
        try:
            steps = await self._grow(waiting, scoring, finding)
            await asyncio.gather(scoring.all(), *([finding.all()] if finding else []))
        finally:
            await scoring.close()
            if finding:
                await finding.close()
        for path in waiting:
            step, span = steps[path.key]
            asked = {"scoring": scoring.spans, "embedding": finding.spans if finding else {}}
            spans = {"generating": span} | {name: at[path.key] for name, at in asked.items() if path.key in at}
            search.tell(path.key, _growth(path.key, step, scoring, finding), spans)
        parents = {path.key[:-1] for path in search.ask()}
        self.policy.retain(parents)
        self.reward.retain(parents)

    def _at_once(self, session: Any) -> int:
        """How many calls a session takes beside each other while paths still grow; 0 where it has to wait for all."""
        shared = getattr(self.policy, "in_process", False) and getattr(session, "in_process", False)
        if self.overlap == "never" or (self.overlap == "auto" and shared):
            return 0
        return int(getattr(session, "at_once", 0))

    async def _grow(
        self, waiting: Sequence[Path], scoring: Desk[Judgement], finding: Desk[Evidence] | None
    ) -> dict[PathKey, Grown]:
        """Every path's step, which the desks have been given when it was done."""
        steps, began = dict[PathKey, Grown](), self.clock()
        early = scoring.at_once or (finding and finding.at_once)
        async for path, step in _steps(self.policy, waiting, bool(early)):
            steps[path.key] = step, (began, self.clock())
            if isinstance(step, Step):
                scoring.put(path.grown(step))
                if finding and step.stop is not Stop.END:
                    finding.put(path.grown(step))
        return steps


Grown = tuple[Step | Failure, Span]
"""A step, or what it was lost by, and from when to when it grew."""


def _growth(
    key: PathKey, step: Step | Failure, scoring: Desk[Judgement], finding: Desk[Evidence] | None
) -> Growth | Failure:
    """What the search is told of a path."""
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
    """Every path with its step or what it was lost by, `early` each as soon as it is done where the policy tells."""
    as_grown = getattr(policy, "as_grown", None) if early else None
    if as_grown is None:
        steps = await outcomes("policy", policy.extend, waiting, one_of(Step))
        for path in waiting:
            yield path, steps[path.key]
        return
    left = {path.key: path for path in waiting}
    reason = Failure("the policy returned no step for this path")
    try:
        async with aclosing(as_grown(waiting)) as arriving:
            async for told, result in arriving:
                if told.key in left:
                    yield left.pop(told.key), outcome("policy", result, one_of(Step))
    except InputError:
        raise
    except Exception as error:  # whatever a user's own policy may raise
        reason = broken(error)
    for path in left.values():
        yield path, reason
