"""The service: what it holds while it runs, and the way of a request through it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse

from rollwise.errors import RollwiseError
from rollwise.openai_format import RequestError, bad_request
from rollwise.service.asked import Asked, Kind, Target, asked, target_of
from rollwise.service.bodies import OURS, parsed_body, unsearchable
from rollwise.service.engines import check_question
from rollwise.service.forwarding import Forwarder, for_upstream, marked
from rollwise.service.health import Health
from rollwise.service.recording import Occasion, new_id
from rollwise.service.replies import DONE, Answered, closing, error_events, opening, progress, response
from rollwise.service.searches import OnSentence, Plan, Searches
from rollwise.service.settings import Rule

ROUTES: dict[Kind, str] = {"chat": "/v1/chat/completions", "text": "/v1/completions"}


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    kind: Kind
    raw: bytes
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    client: str
    target: Target


class Service:
    """Everything that a running service holds."""

    def __init__(self, searches: Searches) -> None:
        self.searches, self.settings, self.staging = searches, searches.settings, searches.staging
        self.writer, self.metrics = searches.writer, searches.metrics
        self.engines, self.admission = searches.engines, searches.admission
        self.forwarder = Forwarder()
        self.health = Health(self.settings)
        self.started = int(time.time())

    def show_present(self) -> None:
        """Set the gauges of what this process does now."""
        self.metrics.running.set(self.admission.running)
        self.metrics.waiting.set(self.admission.waiting)
        for url, seen in self.health.seen.items():
            self.metrics.up.labels(url).set(seen.up)

    async def close(self) -> None:
        """End what runs behind the requests, and the connections."""
        await self.searches.close()
        await self.forwarder.close()
        if self.searches.tracer is not None:
            await asyncio.to_thread(self.searches.tracer.close)

    async def respond(
        self,
        kind: Kind,
        raw: bytes,
        headers: Mapping[str, str],
        client: str,
        gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> Response:
        """The reply to a request of a client; `gone` returns when the client has hung up. Raises RequestError."""
        body = parsed_body(raw)
        call = Call(kind, raw, body, headers, client, target_of(self.settings, body, headers))
        reason = unsearchable(body) if call.target.fields.search else f"{OURS}.search"
        if reason is not None:
            return await self._forwarded(call, reason)
        rule, stage = self.staging.choose(call.target)
        if rule.search is None:
            response_ = await self._passed_on(call, stage)
            self._shadow_of_forward(call)
            return response_
        try:
            request = asked(kind, call.target, body, self.settings.deadline)
        except RequestError as error:
            if self.staging.forwards(call.target):  # the upstream may well know what a search refuses
                return await self._forwarded(call, error.field or "body")
            raise
        plans = await self._plans(call, request, rule, stage)
        first = plans[0]
        if first.parts is None:
            return await self._passed_on(call, first.stage)
        await self.admission.check()
        if request.stream:
            stream = self._stream(call, request, plans, gone)
            return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        id_ = new_id()
        answers = await self._answers(call, request, plans, id_, None)
        if isinstance(answers, Response):
            return answers
        headers_ = {"x-rollwise-id": id_, "x-rollwise-stage": answers[0].stage}
        return JSONResponse(response(request, id_, answers), headers=headers_)

    async def _plans(self, call: Call, request: Asked, rule: Rule, stage: str) -> list[Plan]:
        """The chosen rule, then the current one if the chosen one is a candidate. Raises RequestError if none can
        answer.
        """
        plans, failure = list[Plan](), None
        for each, label in [(rule, stage), *self.staging.rescuers(call.target, rule)]:
            if each.search is None:
                plans.append(Plan(each, label, None))
                continue
            try:
                self._check_servers(call.target.name, each)
                parts = await self.engines.parts(call.target.name, each, request)
                check_question(parts, request)
                plans.append(Plan(each, label, parts))
            except RequestError as error:
                failure = failure or error
                if error.status >= 500:
                    self.staging.unable(call.target.name, each.name)
        if not plans:
            assert failure is not None
            raise failure
        return plans

    def _check_servers(self, name: str, rule: Rule) -> None:
        """Raise RequestError with status 503 if nothing listens where the rule's searches need a server."""
        if (absent := self.health.absent(name, rule.name)) is not None:
            message = f"nothing listens at the {absent}: start it; the service looks every {self.settings.probe:g} s"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message, wait=max(1.0, self.settings.probe))

    async def _forwarded(self, call: Call, reason: str) -> Response:
        """A request that no search answers, sent to the upstream and marked. Raises RequestError without upstream."""
        if call.target.route.forwards_to is None:
            field = "" if reason == "body" else reason
            message = (
                f"this route cannot search a request with {field!r} and has no upstream to forward it to: leave it out"
            )
            raise bad_request(message, field or None)
        self.metrics.forwarded.labels(call.target.name, reason.partition("[")[0]).inc()
        return await marked(await self._to_upstream(call, reason, None), reason)

    async def _passed_on(self, call: Call, stage: str) -> Response:
        """A request that the rule `forward` answers: unchanged, with a header as the only mark."""
        self.metrics.forwarded.labels(call.target.name, "rule").inc()
        return await self._to_upstream(call, "rule", stage)

    async def _to_upstream(self, call: Call, reason: str, stage: str | None) -> Response:
        route = call.target.route
        if self.admission.draining:
            await self.admission.check()
        url = route.forwards_to or ""
        raw = for_upstream(call.body, call.raw, route.model)
        pass_key = not self.settings.keys
        return await self.forwarder.send(url, ROUTES[call.kind], raw, call.headers, reason, stage, pass_key)

    async def _answers(
        self, call: Call, request: Asked, plans: Sequence[Plan], id_: str, on_sentence: OnSentence | None
    ) -> list[Answered] | Response:
        """The answers of the first plan that succeeds; a plan fails by an error that is not the client's."""
        for place, plan in enumerate(plans):
            try:
                if plan.parts is None:
                    return await self._passed_on(call, plan.stage)
                work = self._search_all(call, request, plan, id_, on_sentence)
                if place < len(plans) - 1:
                    return await self.staging.revocable(call.target.name, work)
                return await work
            except RequestError as error:
                if place == len(plans) - 1 or error.status < 500 or error.status == HTTPStatus.GATEWAY_TIMEOUT:
                    raise
                self.metrics.rescued.labels(call.target.name).inc()
                id_ = id_ if place else new_id()
        raise AssertionError("a request has at least one plan")

    async def _search_all(
        self, call: Call, request: Asked, plan: Plan, id_: str, on_sentence: OnSentence | None
    ) -> list[Answered]:
        """The answers of all choices. Raises RequestError with the first failure, and ends the other choices."""
        assert plan.parts is not None
        tasks = []
        try:
            async with asyncio.TaskGroup() as group:
                for choice in range(request.n):
                    its_id = id_ if choice == 0 else f"{id_}-{choice}"
                    work = self.searches.run(
                        request,
                        plan,
                        choice,
                        its_id,
                        Occasion(call.client, plan.rule.name, plan.stage, trace=call.headers.get("traceparent")),
                        on_sentence,
                    )
                    tasks.append(group.create_task(work))
        except* RollwiseError as errors:
            raise _first(errors) from None
        answers = [task.result() for task in tasks]
        if plan.stage != "pinned":
            self.staging.after(answers[0], request, call.client, self.searches)
        return answers

    async def _stream(
        self, call: Call, request: Asked, plans: Sequence[Plan], gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[str | bytes]:
        """The events of a search: progress, the text, usage. A client that hangs up ends the search."""
        id_, told = new_id(), asyncio.Queue[tuple[int, str]]()
        work = asyncio.create_task(
            self._answers(call, request, plans, id_, lambda choice, text: told.put_nowait((choice, text)))
        )
        leaving = asyncio.create_task(gone())
        next_one: asyncio.Task[tuple[int, str]] | None = None
        try:
            yield opening(request, id_)
            while not work.done() or not told.empty():
                next_one = asyncio.create_task(told.get())
                await asyncio.wait({work, leaving, next_one}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    return
                if next_one.done():
                    yield progress(request, id_, *next_one.result())
                else:
                    next_one.cancel()
            answers = work.result()
            if isinstance(answers, StreamingResponse):
                async for part in answers.body_iterator:
                    yield bytes(part) if not isinstance(part, str) else part
                return
            assert isinstance(answers, list)
            yield closing(request, id_, answers)
            yield DONE
        except RequestError as error:
            yield error_events(error)
        finally:
            ended = [task for task in (work, leaving, next_one) if task is not None]
            for task in ended:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*ended, return_exceptions=True)

    def _shadow_of_forward(self, call: Call) -> None:
        """Search beside a request that was forwarded, if the stage says so and the request can be searched."""
        with contextlib.suppress(RequestError):
            request = asked(call.kind, call.target, call.body, self.settings.deadline)
            self.staging.after(None, request, call.client, self.searches)


def _first(errors: BaseExceptionGroup[RollwiseError]) -> RequestError:
    """The first error of a group. What is no RequestError comes of the store, without which nothing is answered."""
    error = errors.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(error)
    if isinstance(error, RequestError):
        return error
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"the search cannot be put on record: {error}", wait=5)
