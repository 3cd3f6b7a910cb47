"""One search of a service, from its slot to its record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from rollwise.openai_format import RequestError
from rollwise.search import Parts, Round
from rollwise.service.admission import Admission
from rollwise.service.asked import Asked
from rollwise.service.engines import Engines, search
from rollwise.service.metrics import Metrics
from rollwise.service.recording import Occasion, effective_directions, new_id, record_of
from rollwise.service.records import Record, now
from rollwise.service.replies import Answered, ended_sentence, sentence
from rollwise.service.settings import Rule, Settings
from rollwise.service.staging import Staging, same_answer
from rollwise.service.tracing import Tracer
from rollwise.service.writer import Writer

OnSentence = Callable[[int, str], None]
"""(number of a choice, a sentence about a round)."""


@dataclass(frozen=True)
class Plan:
    """A rule that may answer a request, the stage that chose it, and its parts; None if the rule forwards."""

    rule: Rule
    stage: str
    parts: Parts | None


class Searches:
    """The searches of a service: each has a slot, is on record and counted, and runs to its end or is cancelled."""

    def __init__(
        self,
        settings: Settings,
        staging: Staging,
        writer: Writer,
        metrics: Metrics,
        tracer: Tracer | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.tracer = tracer
        self.settings, self.staging, self.writer, self.metrics = settings, staging, writer, metrics
        self.engines = Engines(settings)
        self.admission = admission or Admission(settings.searches, settings.queue)
        self._background: set[asyncio.Task[Any]] = set()

    def behind(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work behind the requests, and keep hold of it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """End what runs behind the requests."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.admission.close()

    async def run(
        self,
        request: Asked,
        plan: Plan,
        choice: int,
        id_: str,
        occasion: Occasion,
        on_sentence: OnSentence | None = None,
        noted: Callable[[Answered], Mapping[str, Any]] | None = None,
    ) -> Answered:
        """One search with a slot of its own. It is on record, and durable, when this returns or raises.

        `noted` says what else is to be recorded of the answer: whether it agrees with another, or is right.
        """
        assert plan.parts is not None
        began, parts = now(), plan.parts
        parts = replace(parts, config=parts.config.model_copy(update={"seed": parts.config.seed + choice}))

        def tell(round_: Round) -> None:
            if on_sentence is not None:
                on_sentence(choice, sentence(round_, parts.config.budget))

        def count(ended: int) -> None:
            if on_sentence is not None:
                on_sentence(choice, ended_sentence(ended, parts.config.budget))

        keep = self.settings.keep_text
        try:
            arrived = asyncio.get_running_loop().time()
            async with self.admission.slot():
                waited = asyncio.get_running_loop().time() - arrived
                solution = await search(parts, request, tell, request.deadline - waited, count)
            answered = Answered.of(id_, plan.rule.name, plan.stage, parts, solution)
        except Exception as error:
            status = error.status if isinstance(error, RequestError) else HTTPStatus.INTERNAL_SERVER_ERROR
            if status >= 500:
                outcome = "deadline" if status == HTTPStatus.GATEWAY_TIMEOUT else "failed"
                told = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
                record = record_of(request, occasion, id_, began, parts.config, keep, outcome=outcome, error=told)
                await self._keep(record, occasion, [])
            raise
        except asyncio.CancelledError:
            record = record_of(request, occasion, id_, began, parts.config, keep, outcome="cancelled")
            self.behind(self._keep(record, occasion, []))
            raise
        known: dict[str, Any] = dict(await asyncio.to_thread(noted, answered)) if noted else {}
        record = await asyncio.to_thread(
            record_of,
            request,
            occasion,
            id_,
            began,
            parts.config,
            keep,
            answered,
            moved=await self.staging.moved(request.target.name, occasion, solution, self.engines),
        )
        record = replace(record, **known)
        await self._keep(record, occasion, effective_directions(solution))
        self.staging.succeeded(record)
        return answered

    async def _keep(self, record: Record, occasion: Occasion, directions: list[float]) -> None:
        self.metrics.observe(record, directions)
        await self.writer.record(record)
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.send, record, occasion.trace)
        if self.settings.log:
            print(log_line(record), file=sys.stderr, flush=True)

    def beside(self, request: Asked, rule: Rule, client: str, answer: Answered | None) -> None:
        """Run a candidate's search for a request that has its answer, if a slot is free."""
        if not self.admission.free:
            return

        async def work() -> None:
            with contextlib.suppress(RequestError):
                plan = Plan(rule, "shadow", await self.engines.parts(request.target.name, rule, request))
                occasion = Occasion(client, rule.name, "shadow", "shadow", answer.id if answer else None)
                noted = None if answer is None else lambda shadow: {"agrees": same_answer(answer, shadow)}
                await self.run(request, plan, 0, new_id(), occasion, noted=noted)

        self.behind(work())


def log_line(record: Record) -> str:
    """A search as a line of JSON, without prompts, answers and keys."""
    names = ("id", "began", "client", "route", "rule", "stage", "purpose", "strategy", "budget", "outcome", "error")
    figures = ("support", "spent", "saved", "rounds", "seconds", "generated", "money")
    known = asdict(record)
    return json.dumps({"event": "search"} | {name: known[name] for name in (*names, *figures)})
