"""Which rule answers a request, what runs beside it, and the fall-back of a candidate that leaves its band."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import numpy as np

from rollwise.openai_format import RequestError
from rollwise.search import Allocated, Parts, Solution
from rollwise.service.asked import Asked, Target
from rollwise.service.bands import Cause, Outcome, Watch, cause
from rollwise.service.engines import Engines
from rollwise.service.health import Health
from rollwise.service.metrics import Metrics
from rollwise.service.recent import watch_of
from rollwise.service.recording import Occasion
from rollwise.service.records import Record, now
from rollwise.service.replies import Answered
from rollwise.service.settings import Rule, Settings
from rollwise.service.stages import Stage, chosen, fitting, reverted, share_of
from rollwise.service.writer import Writer

Result = TypeVar("Result")
_RELOAD = 1.0
"""Seconds between two readings of the stages, which another process may change."""


class Besides(Protocol):
    """What runs a search beside a request."""

    def beside(self, request: Asked, rule: Rule, client: str, answer: Answered | None) -> None:
        """Run the rule's search for a request that has its answer, behind the requests."""


class Staging:
    """The stages of all routes, and the latest searches of their candidates, read from the store every second, since
    several processes may serve from it.
    """

    def __init__(self, settings: Settings, writer: Writer, metrics: Metrics) -> None:
        self.settings, self.writer, self.metrics = settings, writer, metrics
        self.stages = {name: fitting(None, name, route) for name, route in settings.routes.items()}
        self.watches = {name: Watch(route.band.window) for name, route in settings.routes.items()}
        self.shadowed = dict.fromkeys(settings.routes, 0)
        self._unrecorded = {name: list[Outcome]() for name in settings.routes}
        self._revocable: dict[str, set[asyncio.Task[Any]]] = {name: set() for name in settings.routes}

    def choose(self, target: Target) -> tuple[Rule, str]:
        """The rule that answers a request, and the stage that chose it: "pinned" if the request names a strategy."""
        stage, route = self.stages[target.name], target.route
        if target.pinned:
            current = route.rule(stage.current)
            searching = [rule for rule in (current, *route.ladder) if rule.search is not None]
            return (searching or [Rule(name="search", search={})])[0], "pinned"
        name, label = chosen(stage, target.session)
        return route.rule(name), label

    def forwards(self, target: Target) -> bool:
        """Whether the route's current rule forwards, so that the upstream answers what a search refuses."""
        return not target.pinned and target.route.rule(self.stages[target.name].current).search is None

    def rescuers(self, target: Target, rule: Rule) -> list[tuple[Rule, str]]:
        """The rules that answer if the chosen rule fails: the current one for a candidate."""
        stage = self.stages[target.name]
        if target.pinned or rule.name == stage.current:
            return []
        return [(target.route.rule(stage.current), "rescue")]

    async def revocable(self, name: str, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a candidate's work. Raises RequestError if the candidate falls back meanwhile."""
        task = asyncio.create_task(work)
        self._revocable[name].add(task)
        try:
            await asyncio.wait({task})
            if task.cancelled():
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the candidate rule fell back")
            return task.result()
        finally:
            task.cancel()
            self._revocable[name].discard(task)

    def unable(self, name: str, rule: str) -> None:
        """Count a search that could not begin, of which there is no record."""
        if rule == self.stages[name].candidate:
            window = self.settings.routes[name].band.window
            self._unrecorded[name] = [*self._unrecorded[name], Outcome(failed=True, at=now())][-window:]

    def succeeded(self, record: Record) -> None:
        """Count a search that is on record."""
        if record.purpose == "shadow":
            self.shadowed[record.route] += record.generated
            if record.agrees is not None:
                self.metrics.agreement.labels(record.route, record.rule, str(record.agrees).lower()).inc()

    async def moved(self, name: str, occasion: Occasion, solution: Solution, engines: Engines) -> float | None:
        """The mean share of a round's rollouts that the candidate would give to other paths; None outside of a shadow
        stage, and if the recorded rounds lack what the candidate reads.
        """
        stage, route = self.stages[name], self.settings.routes[name]
        if stage.stage != "shadow" or stage.candidate is None or occasion.purpose != "answer":
            return None
        rule = route.rule(stage.candidate)
        if rule.search is None or occasion.rule != stage.current:
            return None
        try:
            parts = await engines.parts(name, rule)
        except RequestError:
            return None
        share = await asyncio.to_thread(moved_share, solution, parts)
        if share is not None:
            self.metrics.moved.labels(name, stage.candidate).observe(share)
        return share

    def after(self, answer: Answered | None, request: Asked, client: str, besides: Besides) -> None:
        """Run the candidate beside a request that the current rule has answered, for the share that the route names.

        A request that the candidate itself has answered has no shadow: the two would be the same rule, and agree.
        """
        name = request.target.name
        stage, route = self.stages[name], self.settings.routes[name]
        if stage.candidate is None or stage.stage not in ("shadow", "canary") or request.n > 1:
            return
        if answer is not None and answer.rule == stage.candidate:
            return
        rule = route.rule(stage.candidate)
        within = share_of(f"{name} shadow", request.target.digest) < 100 * route.shadow.share
        if rule.search is not None and within and self.shadowed[name] < route.shadow.tokens:
            besides.beside(request, rule, client, answer)

    async def reload(self) -> None:
        """Read the stages from the store, and what all processes have put on record of the candidates since then."""
        stored, self.metrics.forced.counts = await self.writer.call(lambda store: (store.stages(), store.forced()))
        for name, route in self.settings.routes.items():
            stage = fitting(stored.get(name), name, route)
            self._set(stage)
            if stage.candidate is not None and stage.stage != "off":
                further = tuple(self._unrecorded[name])
                look = partial(watch_of, stage, route.band.window, further=further)
                self.watches[name], self.shadowed[name] = await self.writer.call(look)

    def _set(self, stage: Stage) -> None:
        name = stage.route
        if self.stages[name] != stage:
            self.stages[name] = stage
            self.watches[name] = Watch(self.settings.routes[name].band.window)
            self.shadowed[name] = 0
            self._unrecorded[name] = []
        if stage.candidate is not None:
            percent = {"canary": stage.percent, "full": 100.0}.get(stage.stage, 0.0)
            self.metrics.percent.labels(name, stage.candidate).set(percent)

    async def watch(self, health: Health) -> None:
        """Reload the stages and let candidates fall back, for ever."""
        while True:
            await self.reload()
            for name in self.settings.routes:
                if (why := self.cause(name, health)) is not None:
                    await self.fall_back(name, why)
            await asyncio.sleep(_RELOAD)

    def cause(self, name: str, health: Health) -> Cause | None:
        """Why a route's candidate has to fall back; None if it may stay."""
        stage, route, watch = self.stages[name], self.settings.routes[name], self.watches[name]
        if stage.candidate is None or stage.stage == "off":
            return None
        down = health.down(name, stage.candidate) if stage.stage != "shadow" else []
        own = [each for each in down if each not in health.down(name, stage.current)]
        return cause(route.band, list(watch.candidate), list(watch.current), own)

    async def fall_back(self, name: str, why: Cause) -> None:
        """Switch a route's candidate off, and end its searches; the current rule answers their requests."""
        before = self.stages[name]
        after = reverted(before, self.settings.routes[name])
        done = await self.writer.call(
            lambda store: store.change(before, after, "fallback", "service", why.sentence, {"figure": why.figure})
        )
        if done:
            self.metrics.fallbacks.labels(name, why.figure).inc()
            self._set(after)
        for task in list(self._revocable[name]):
            task.cancel()


def moved_share(solution: Solution, parts: Parts) -> float | None:
    """The mean over rounds of ½ Σ |c - c'| / width, c the counts of the search and c' those of the parts' strategy.

    None if the search has no rounds with counts, or lacks the evidence that the strategy reads.
    """
    shares = []
    for event in solution.events:
        if isinstance(event, Allocated) and event.width > 0:
            try:
                other = parts.allocate(_believed(event, parts), event.width)
            except Exception:  # evidence is missing, in whatever way the strategy says so
                return None
            shares.append(float(np.abs(event.allocation.counts - other.counts).sum()) / (2 * event.width))
    return float(np.mean(shares)) if shares else None


def _believed(event: Allocated, parts: Parts) -> Any:
    candidates = event.candidates
    if parts.believe is None or candidates.depth is None:
        return candidates
    return replace(candidates, belief=parts.believe(candidates.rewards, candidates.depth))


def same_answer(one: Answered, other: Answered) -> bool:
    """Whether the route's grader finds two searches' answers the same; two that give no answer agree too."""
    left, right = one.solution.answer, other.solution.answer
    if left is None or right is None:
        return left == right
    first, second = one.parts.grader.group([left, right])
    return bool(first == second)
