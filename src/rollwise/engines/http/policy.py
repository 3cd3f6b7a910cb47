"""A policy that one or several servers hold: each path grows by one completion, whose end is a step's end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollwise.core import Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Usage
from rollwise.engines import PLACES, messages, step_rule
from rollwise.engines.http import templates
from rollwise.engines.http.client import Endpoint, Fleet, LostError, Patience
from rollwise.engines.http.forks import fork_groups, read_forks, seed_of, sharing
from rollwise.engines.http.probe import probe
from rollwise.engines.http.replies import EmptyStreamError, NativeStream, Reply, Stream, read_reply
from rollwise.engines.http.servers import TOP, Address, Server, addresses, completion_body, weaknesses
from rollwise.errors import InputError

_CLOSED = Failure("the session is closed")
_ONE_WORD = {"stream": False, "max_tokens": 1}
"""What makes of a request one that hears why a stream was empty, as where the prompt is too long for the context."""


@dataclass(frozen=True)
class _Start:
    """A question's prompt as text, as ids, or both."""

    text: str | None
    ids: tuple[int, ...] | None


class HttpPolicy:
    """The policy at `URL`, or at `URL,URL,...` where several servers hold the same model.

    They are probed at once; raises InputError where none can be used. `rule` is the name of a step rule (see
    `rollwise.engines.step_rule`), by default the world's separator, or fixed lengths where the model cannot be kept
    from thinking. `place` is where a problem's instruction stands; `tokenizer` a folder whose template and tokens are
    used where the servers tell none. `concurrency` bounds the requests that one server has at once.
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
    ) -> None:
        if place not in PLACES:
            raise InputError(f"an instruction stands in one of {', '.join(PLACES)}, not {place!r}")
        named = step_rule(rule or "separator", separator)
        self.separator, self.place = separator, place
        self.servers, self.missing = _probed(addresses(urls), tokenizer)
        self.server = self.servers[0]
        forced = rule is None and self.server.thinking == "forced"
        self.rule = step_rule("tokens(256)") if forced else named
        if self.server.one_at_a_time:
            concurrency = 1
        found = {server.url: server for server in self.servers}
        reached = [Address(url) for url in found]
        self.fleet = Fleet(reached, concurrency, patience or Patience())
        self.parameters = self.server.parameters

    def __repr__(self) -> str:
        return f"HttpPolicy({','.join(server.url for server in self.servers)}, model={self.server.model!r})"

    @property
    def remarks(self) -> list[str]:
        """What a person should know before a search, in sentences."""
        return [*self.missing, *weaknesses(self.server, self.rule)]

    def open(self, problem: Problem, sampling: Sampling) -> HttpSession:
        """A session for one question."""
        return HttpSession(self, problem, sampling)


def _probed(given: Sequence[Address], tokenizer: str | None) -> tuple[list[Server], list[str]]:
    """The servers that answer, and a sentence on each that does not. Raises InputError where they are not alike."""
    servers: list[Server] = []
    missing: list[InputError] = []
    for address in given:
        try:
            servers.append(probe(address, tokenizer))
        except InputError as error:
            missing.append(error)
    if not servers:
        raise missing[0] if missing else InputError("give the URL of a server, like http://127.0.0.1:8000")
    first, *others = servers
    for other in others:
        if replace(other, url=first.url, version=first.version, parameters=0) != replace(first, parameters=0):
            raise InputError(
                f"{other.url} and {first.url} are not alike ({other.kind} {other.model!r}, {first.kind} "
                f"{first.model!r}): several servers have to be of one kind and serve one model under one name"
            )
    return servers, [f"left out: {error}" for error in missing]


class HttpSession:
    """One question's hold on a served policy. The server keeps the caches, so there is nothing to retain here."""

    def __init__(self, policy: HttpPolicy, problem: Problem, sampling: Sampling) -> None:
        self.policy, self.problem, self.sampling = policy, problem, sampling
        self.usage = Usage()
        self.room = sampling.max_tokens
        self._start: _Start | None = None
        self._lost: Failure | None = None
        self._ids: dict[str, tuple[int, ...]] = {}
        self._running: set[asyncio.Task[list[Step | Failure]]] = set()
        self._entered = self._closed = False

    async def prepare(self) -> None:
        """Render the question's prompt, once. Raises InputError where it does not fit the model's context, or where
        the server refuses the chat, as some templates do a system message.

        A server that is lost meanwhile costs the question's rollouts and raises nothing.
        """
        self.policy.fleet.enter()
        self._entered = True
        try:
            self._start = await self._rendered()
        except LostError as error:
            if error.refused:
                told = self.problem.instruction and self.policy.place == "system"
                hint = "; if its template takes no system message, give --instruction user" if told else ""
                raise InputError(f"{error}{hint}") from None
            self._lost = Failure(str(error))
            return
        context, ids = self.policy.server.context, self._start.ids
        if context is not None and ids is not None:
            if len(ids) >= context:
                raise InputError(f"the question takes {len(ids)} tokens and the model reads {context} at most")
            self.room = min(self.room, context - len(ids))

    async def _rendered(self) -> _Start:
        server = self.policy.server
        chat = messages(self.problem, self.policy.place)
        quiet = server.thinking == "off"
        if server.tokenizer is not None:
            text = templates.local_prompt(server.tokenizer, chat, quiet)
            if not server.by_ids:
                return _Start(templates.unopened(server.tokenizer, text), None)
            return _Start(text, templates.local_ids(server.tokenizer, text))
        if server.template == "plain":
            prompt: templates.Prompt = templates.plain_prompt(chat)
        else:
            request = templates.chat_request(server.template, server.model, chat, quiet)
            prompt = templates.read_prompt(server.template, await self._post("chat", request))
        if not isinstance(prompt, str):
            return _Start(None, prompt)
        return _Start(prompt, await self._encoded(prompt, whole=True) if server.by_ids else None)

    async def _encoded(self, text: str, whole: bool) -> tuple[int, ...]:
        server = self.policy.server
        if server.tokenizer is not None:
            return templates.local_ids(server.tokenizer, text)
        if not server.encodes:
            raise LostError("the ids of this path are not known, and the server turns no text into ids")
        if text not in self._ids:
            reply = await self._post("ids", templates.encode_request(server.native, server.model, text, whole))
            self._ids[text] = templates.read_ids(reply.get("tokens"))
        return self._ids[text]

    async def _post(self, purpose: str, request: templates.Request) -> Any:
        path, body = request
        fleet = self.policy.fleet
        return await fleet.ask(
            self.problem.id,
            (self.sampling.seed, self.problem.id, purpose),
            lambda endpoint, seconds: fleet.post(endpoint, path, body, seconds),
        )

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given. A request that fails for good costs its path."""
        grown = {path.key: result async for path, result in self.as_grown(paths)}
        return [grown[path.key] for path in paths]

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        """Grow each path by one step; each with its result as soon as it is there."""
        if self._start is None and self._lost is None:
            await self.prepare()
        if self._lost is not None or self._closed:
            for path in paths:
                yield path, self._lost or _CLOSED
            return
        groups = fork_groups(paths) if sharing(self.policy.server) else [[path] for path in paths]
        tasks = {asyncio.ensure_future(self._grown_together(group)): group for group in groups}
        self._running.update(tasks)
        try:
            left = set(tasks)
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
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
        """Grow copies of one path by one request. Those that it says nothing of are asked for one by one."""
        found: list[Reply | None] = [None] * len(copies)
        limit = self._limit(copies[0])
        if len(copies) > 1 and limit > 0:
            with contextlib.suppress(LostError):
                found = await self._forks(copies, limit)
        asked = zip(copies, found, strict=True)
        return list(await asyncio.gather(*(self._grown(path, reply) for path, reply in asked)))

    async def _grown(self, path: Path, reply: Reply | None) -> Step | Failure:
        limit = self._limit(path)
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

    async def _body(self, path: Path, limit: int) -> dict[str, Any]:
        policy = self.policy
        seed = seed_of(path, self.sampling.seed, self.problem.id)
        prompt = await self._prompt(path)
        return completion_body(policy.server, prompt, self.sampling, limit, seed, policy.rule.ends)

    def _key(self, path: Path) -> tuple[object, ...]:
        return (self.sampling.seed, self.problem.id, path.key, len(path.steps), "sample")

    async def _complete(self, path: Path, limit: int) -> Reply:
        policy, server = self.policy, self.policy.server
        body = await self._body(path, limit)
        empty = False

        async def read(endpoint: Endpoint, seconds: float) -> Reply:
            nonlocal empty
            fleet = policy.fleet
            if server.native or server.streams(self.sampling):
                stream = NativeStream() if server.native else Stream(policy.rule)
                if empty:
                    await fleet.post(endpoint, server.route, body | _ONE_WORD, seconds)
                try:
                    reply = await fleet.stream(endpoint, server.route, body | {"stream": True}, stream, seconds)
                except EmptyStreamError:
                    empty = True
                    raise
            else:
                reply = await fleet.post(endpoint, server.route, body, seconds)
            return read_reply(server, reply, policy.rule, limit, TOP)

        reply = await policy.fleet.ask(self.problem.id, self._key(path), read)
        if reply.prefilled is not None:
            return reply
        prompt = body["prompt"]
        if not isinstance(prompt, str):
            return replace(reply, prefilled=len(prompt))
        if server.tokenizer is None:
            return reply
        return replace(reply, prefilled=templates.length_as_read(server.tokenizer, prompt))

    async def _forks(self, copies: Sequence[Path], limit: int) -> list[Reply | None]:
        """What one request for all the copies' next steps says of each."""
        policy, server = self.policy, self.policy.server
        body = await self._body(copies[0], limit) | {"n": len(copies)}

        async def read(endpoint: Endpoint, seconds: float) -> list[Reply | None]:
            reply = await policy.fleet.post(endpoint, server.route, body, seconds)
            return read_forks(server, reply, policy.rule, limit, len(copies))

        replies = await policy.fleet.ask(self.problem.id, self._key(copies[0]), read)
        self.usage.calls += 1
        return replies

    async def _prompt(self, path: Path) -> templates.Prompt:
        """The question and the path, as ids where the server takes them, else as text."""
        start = self._start
        assert start is not None
        if start.ids is None or not self.policy.server.by_ids:
            return f"{start.text or ''}{path.text}"
        steps = [step.ids or await self._encoded(step.text, whole=False) for step in path.steps]
        return (*start.ids, *itertools.chain.from_iterable(steps))

    def hidden(self, key: PathKey) -> FloatArray:
        """Raises InputError: a server gives no hidden states."""
        raise InputError("a served policy gives no hidden states: choose --directions text, minilm or a server's URL")

    def retain(self, keys: Collection[PathKey]) -> None:
        """Nothing: the server keeps its caches by its own rules."""

    async def close(self) -> None:
        """Cancel what still runs, which closes its connections, so that the server stops too."""
        self._closed = True
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._entered:
            self._entered = False
            await self.policy.fleet.leave()
