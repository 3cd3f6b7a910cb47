"""A policy behind one or several servers: each step of a path is one completion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import replace
from typing import Any

from rollwise.core import (
    Failure,
    FloatArray,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
    Stop,
    Usage,
)
from rollwise.engines import Prompting, Shots, check_place, default_step_rule, joined, step_rule
from rollwise.engines.http import templates
from rollwise.engines.http.client import Endpoint, Fleet, Patience
from rollwise.engines.http.exchange import LostError
from rollwise.engines.http.forks import can_grow_copies, fork_groups, read_forks, seed_of
from rollwise.engines.http.probing import probe
from rollwise.engines.http.prompts import Prompts, Start
from rollwise.engines.http.replies import Reply, read_reply
from rollwise.engines.http.servers import TOP, Address, Server, addresses, completion_body, weaknesses
from rollwise.engines.http.streams import EmptyStreamError, NativeStream, Stream
from rollwise.engines.http.wholes import Whole, can_grow_whole, read_whole
from rollwise.errors import InputError

_CLOSED = Failure("the session is closed")
_ONE_TOKEN = {"stream": False, "max_tokens": 1}
"""The fields that turn a request for a stream into a short one whose refusal says why the stream was empty, such as a
prompt that is too long for the context.
"""


class HttpPolicy(Policy):
    """The policy at `URL`, or at `URL,URL,...` if several servers hold the same model.

    The constructor probes the servers; it raises InputError if none can be used. `rule` names a step rule (see
    `rollwise.engines.step_rule`). The default is the world's separator, or a fixed length if the model cannot be kept
    from thinking. `place` is the place of a problem's instruction in the chat. `tokenizer` is a folder whose chat
    template and tokens are used; servers without a chat template need it. `concurrency` limits the concurrent requests
    at each server. `template` is the text of a Jinja template, or `rollwise.engines.PLAIN`; `shots` are examples before
    the question; the strings `stops` end a text.
    """

    shows_hidden = False

    def __init__(
        self,
        urls: str,
        rule: str | None = None,
        separator: str = "\n\n",
        place: str = "system",
        concurrency: int = 64,
        tokenizer: str | None = None,
        patience: Patience | None = None,
        template: str | None = None,
        shots: Shots | None = None,
        stops: Sequence[str] = (),
    ) -> None:
        check_place(place)
        requested = None if rule is None else step_rule(rule, separator, stops)
        self.separator, self.place = separator, place
        self.prompting = Prompting(place, template, shots)
        self.servers, self.missing = _probed(addresses(urls), tokenizer)
        self.server = self.servers[0]
        thinks = self.server.thinking == "forced" and template is None
        self.rule = requested or default_step_rule(thinks, separator, stops)
        reached = [Address(server.url) for server in self.servers]
        self.fleet = Fleet(reached, 1 if self.server.one_at_a_time else concurrency, patience or Patience())
        self.parameters = self.server.parameters
        probed = self.server if template is None else replace(self.server, template="given", thinking=None)
        self.remarks = (*self.missing, *weaknesses(probed, self.rule))
        if self.server.logprobs is None:
            self.lacks_logprobs = f"{self.server.url} gives no log-probabilities"

    def __repr__(self) -> str:
        return f"HttpPolicy({','.join(server.url for server in self.servers)}, model={self.server.model!r})"

    def open(self, problem: Problem, sampling: Sampling) -> HttpSession:
        """A session for one question."""
        return HttpSession(self, problem, sampling)


def _probed(given: Sequence[Address], tokenizer: str | None) -> tuple[list[Server], list[str]]:
    """The servers that answer, and a sentence for each that does not. Raises InputError if their models differ."""
    servers: list[Server] = []
    errors: list[InputError] = []
    for address in given:
        try:
            servers.append(probe(address, tokenizer))
        except InputError as error:
            errors.append(error)
    if not servers:
        raise errors[0] if errors else InputError("give the URL of a server, like http://127.0.0.1:8000")
    first, *others = servers
    for other in others:
        if replace(other, url=first.url, version=first.version, parameters=0) != replace(first, parameters=0):
            raise InputError(
                f"{other.url} and {first.url} differ ({other.kind} {other.model!r}, {first.kind} {first.model!r}): "
                "give servers of one kind that serve one model under one name"
            )
    return servers, [f"left out: {error}" for error in errors]


class HttpSession(PolicySession):
    """One question's session of a served policy. The server manages its caches, so `retain` does nothing."""

    def __init__(self, policy: HttpPolicy, problem: Problem, sampling: Sampling) -> None:
        self.policy, self.problem, self.sampling = policy, problem, sampling
        self.usage = Usage()
        self.room = sampling.max_tokens
        self.grows_whole = can_grow_whole(policy.server)
        self._prompts = Prompts(policy.server, policy.fleet, problem, policy.prompting, sampling.seed)
        self._start: Start | None = None
        self._lost: Failure | None = None
        self._running: set[asyncio.Task[list[Step | Failure]]] = set()
        self._entered = self._closed = False

    async def prepare(self) -> None:
        """Render the question's prompt, once.

        Raises InputError if the prompt does not fit the model's context, or if the server refuses the chat, as some
        templates refuse a system message. If the server is lost meanwhile, nothing is raised and the question's
        rollouts fail.
        """
        self.policy.fleet.enter()
        self._entered = True
        try:
            self._start = await self._prompts.start()
        except LostError as error:
            if error.refused:
                raise InputError(f"{error}{self._template_hint()}") from None
            self._lost = Failure(str(error))
            return
        context, ids = self.policy.server.context, self._start.ids
        if context is not None and ids is not None:
            if len(ids) >= context:
                raise InputError(
                    f"the question takes {len(ids)} tokens and the model reads {context} at most: shorten the "
                    "question or serve the model with a longer context"
                )
            self.room = min(self.room, context - len(ids))

    def _template_hint(self) -> str:
        sends_system = self.problem.instruction and self.policy.place == "system"
        return "; if its template takes no system message, give --instruction user" if sends_system else ""

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given. A request that fails for good costs its path."""
        grown = {path.key: result async for path, result in self.as_grown(paths)}
        return [grown[path.key] for path in paths]

    async def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None]:
        """Grow each path by one step and yield each as soon as it is done."""
        if self._start is None and self._lost is None:
            await self.prepare()
        if self._lost is not None or self._closed:
            for path in paths:
                yield path, self._lost or _CLOSED
            return
        groups = fork_groups(paths) if can_grow_copies(self.policy.server) else [[path] for path in paths]
        tasks = {asyncio.ensure_future(self._grown_together(group)): group for group in groups}
        self._running.update(tasks)
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    group = tasks[task]
                    results = [_CLOSED] * len(group) if task.cancelled() else task.result()
                    for path, result in zip(group, results, strict=True):
                        yield path, result
        finally:
            for task in tasks:
                task.cancel()
            self._running.difference_update(tasks)

    async def _grown_together(self, copies: Sequence[Path]) -> list[Step | Failure]:
        """Grow copies of one path with one request. A copy that its reply lacks gets a request of its own."""
        replies: list[Reply | None] = [None] * len(copies)
        limit = self._limit(copies[0])
        if len(copies) > 1 and limit > 0:
            with contextlib.suppress(LostError):
                replies = await self._complete_copies(copies, limit)
        pairs = zip(copies, replies, strict=True)
        return list(await asyncio.gather(*(self._grown(path, reply) for path, reply in pairs)))

    async def _grown(self, path: Path, reply: Reply | None) -> Step | Failure:
        """The path's next step: of the reply, if there is one, else of a request for it.

        If the server stopped where the rule ends no step, more requests go on with the same step.
        """
        rule, limit = self.policy.rule, self._limit(path)
        step = await self._piece(path, reply, limit)
        while isinstance(step, Step) and step.stop is Stop.STEP and not rule.is_whole(step.text):
            if step.tokens >= limit:
                step = replace(step, stop=Stop.LENGTH)
                break
            more = await self._piece(path.grown(step), None, limit - step.tokens)
            step = joined(step, more) if isinstance(more, Step) else more
        return rule.closed(path.text, step) if isinstance(step, Step) else step

    async def finish(self, path: Path) -> list[Step] | Failure:
        """The steps of a path up to its end, with one request unless the server cuts its reply short."""
        if self._start is None and self._lost is None:
            await self.prepare()
        steps, first = list[Step](), path.tokens
        while not path.ended and path.tokens < self.room:
            if self._lost is not None or self._closed:
                return self._lost or _CLOSED
            try:
                reply = await self._complete_whole(path)
            except LostError as error:
                return Failure(str(error))
            self.usage.calls += 1
            self.usage.generated += reply.generated
            self.usage.prefilled += reply.prefilled or 0
            self.usage.cached += reply.cached or 0
            for step in reply.steps:
                path = path.grown(step)
            steps += reply.steps
        return steps if path.tokens > first else Failure("the model's context is full")

    async def _complete_whole(self, path: Path) -> Whole:
        """The reply to a request for the rest of a path. Raises LostError."""
        policy, server, rule = self.policy, self.policy.server, self.policy.rule
        body = await self._body(path, self.room - path.tokens, rule.stops)
        limit = rule.limit(self.sampling.max_step_tokens)

        async def read(endpoint: Endpoint, seconds: float) -> Whole:
            reply = await policy.fleet.post(endpoint, server.route, body, seconds)
            return read_whole(server, reply, rule, limit, path.text)

        reply = await policy.fleet.ask(self.problem.id, self._key(path), read)
        return reply if reply.prefilled is not None else replace(reply, prefilled=len(body["prompt"]))

    async def _piece(self, path: Path, reply: Reply | None, limit: int) -> Step | Failure:
        """The next piece of a path, of at most `limit` tokens: all of a step, or its part up to a stop string."""
        if limit < 1:
            return Failure("the model's context is full")
        if reply is None:
            try:
                reply = await self._complete(path, limit)
            except LostError as error:
                return Failure(str(error))
            self.usage.calls += 1
        self.usage.generated += reply.step.tokens
        self.usage.prefilled += reply.prefilled or 0
        self.usage.cached += reply.cached or 0
        return reply.step

    def _limit(self, path: Path) -> int:
        """How many tokens the path's next step may have."""
        return self.policy.rule.limit(min(self.sampling.max_step_tokens, self.room - path.tokens))

    async def _body(self, path: Path, limit: int, ends: Sequence[str]) -> dict[str, Any]:
        """The request for at most `limit` tokens that go on with the path and stop at one of the strings `ends`."""
        assert self._start is not None
        prompt = await self._prompts.continued(self._start, path)
        seed = seed_of(path, self.sampling.seed, self.problem.id)
        return completion_body(self.policy.server, prompt, self.sampling, limit, seed, ends)

    def _key(self, path: Path) -> tuple[object, ...]:
        return (self.sampling.seed, self.problem.id, path.key, len(path.steps), "sample")

    async def _complete(self, path: Path, limit: int) -> Reply:
        """The reply to a request for the path's next step. Raises LostError."""
        policy, server = self.policy, self.policy.server
        body = await self._body(path, limit, policy.rule.ends)
        streamed = _StreamedRequests(policy, body, limit)

        async def read(endpoint: Endpoint, seconds: float) -> Reply:
            if server.native or server.streams(self.sampling):
                reply = await streamed.send(endpoint, seconds)
            else:
                reply = await policy.fleet.post(endpoint, server.route, body, seconds)
            return read_reply(server, reply, policy.rule, limit, TOP)

        reply = await policy.fleet.ask(self.problem.id, self._key(path), read)
        return _with_prompt_tokens(server, reply, body["prompt"])

    async def _complete_copies(self, copies: Sequence[Path], limit: int) -> list[Reply | None]:
        """The replies to one request for the next steps of all copies; None for each that is missing."""
        policy, server = self.policy, self.policy.server
        body = await self._body(copies[0], limit, policy.rule.ends) | {"n": len(copies)}

        async def read(endpoint: Endpoint, seconds: float) -> list[Reply | None]:
            reply = await policy.fleet.post(endpoint, server.route, body, seconds)
            return read_forks(server, reply, policy.rule, limit, len(copies))

        replies = await policy.fleet.ask(self.problem.id, self._key(copies[0]), read)
        self.usage.calls += 1
        return replies

    def hidden(self, key: PathKey) -> FloatArray:
        """Raises InputError: a server returns no hidden states."""
        raise InputError(
            "a policy behind a server has no hidden states: choose --directions text, minilm or a server's URL"
        )

    def retain(self, keys: Collection[PathKey]) -> None:
        """Does nothing: the server decides which prefixes its cache keeps."""

    async def close(self) -> None:
        """Cancel the running requests and close their connections, so that the server stops generating too."""
        self._closed = True
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._entered:
            self._entered = False
            await self.policy.fleet.leave()


class _StreamedRequests:
    """The attempts to stream one completion."""

    def __init__(self, policy: HttpPolicy, body: dict[str, Any], limit: int) -> None:
        self.policy, self.body, self.limit = policy, body, limit
        self._was_empty = False

    async def send(self, endpoint: Endpoint, seconds: float) -> Any:
        """The streamed reply as a whole.

        After an empty stream it first sends a request for one token that is not streamed: its refusal says why.
        """
        fleet, route = self.policy.fleet, self.policy.server.route
        stream = NativeStream() if self.policy.server.native else Stream(self.policy.rule, self.limit)
        if self._was_empty:
            await fleet.post(endpoint, route, self.body | _ONE_TOKEN, seconds)
        try:
            return await fleet.stream(endpoint, route, self.body | {"stream": True}, stream, seconds)
        except EmptyStreamError:
            self._was_empty = True
            raise


def _with_prompt_tokens(server: Server, reply: Reply, prompt: templates.Prompt) -> Reply:
    """The reply with the prompt's tokens as read, if the server did not count them and they can be counted here."""
    if reply.prefilled is not None:
        return reply
    if not isinstance(prompt, str):
        return replace(reply, prefilled=len(prompt))
    if server.tokenizer is None:
        return reply
    return replace(reply, prefilled=templates.length_as_read(server.tokenizer, prompt))
