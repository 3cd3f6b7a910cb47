"""Requests of a search to one or more servers that hold the same model: retries, failover and connections."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import httpx

from rollwise.engines.http.environment import usable_environment
from rollwise.engines.http.event_stream import event_data
from rollwise.engines.http.exchange import LostError, TransientError, check_status, parsed
from rollwise.engines.http.keys import key_headers, redacted
from rollwise.engines.http.servers import Address
from rollwise.engines.http.shapes import BrokenReplyError
from rollwise.engines.http.streams import EmptyStreamError, NativeStream, Stream
from rollwise.numerics import keyed_generator

Result = TypeVar("Result")

_REUSED_WITHIN = 3.0
"""Seconds within which an idle connection is used again. Servers on uvicorn close idle connections after five seconds,
and a request that is sent at that moment is lost.
"""
_MISSES_BEFORE_REST = 2
_SAME_FAULTS = 4
_SAME_FAULTS_AMONG_SUCCESSES = 6


@dataclass(frozen=True)
class Patience:
    """How often and how long a request is retried.

    A request is tried at most `attempts` times within `deadline` seconds. The wait between two attempts doubles from
    `first` seconds up to `longest`. Opening a connection may take `connect` seconds. If a server cannot be reached
    twice in a row, requests go to another server, if there is one, for `rest` seconds.
    """

    attempts: int = 8
    deadline: float = 600.0
    first: float = 0.2
    longest: float = 20.0
    connect: float = 10.0
    rest: float = 30.0

    def wait(self, attempt: int, asked: float | None, *key: object) -> float:
        """Seconds before the next attempt, at least the `asked` seconds that the server asked for.

        The key decides where the wait lies between half and all of min(longest, first · 2^attempt).
        """
        most = min(self.longest, self.first * 2.0**attempt)
        return max(most * (0.5 + 0.5 * float(keyed_generator("wait", attempt, *key).random())), asked or 0.0)


@dataclass(eq=False)
class Endpoint:
    """One server of a fleet: failed connections in a row, the time until which it gets no requests, and successes."""

    address: Address
    misses: int = 0
    rests_until: float = 0.0
    successes: int = 0


@dataclass(eq=False)
class _LoopConnections:
    """The connections of one event loop, and the slots that limit the concurrent requests at each server.

    Each connection is an httpx client of its own, and the client that was used last is used first. httpx walks over
    all connections of a client whenever a request begins or ends. With hundreds of connections this takes longer than
    the request, and httpx closes some of them needlessly.
    """

    make: Callable[[], httpx.AsyncClient]
    slots: dict[str, asyncio.Semaphore]
    users: int = 0
    idle: defaultdict[str, list[httpx.AsyncClient]] = field(default_factory=lambda: defaultdict(list))

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request to `url`. It is closed if the request fails, else kept for the next one."""
        idle = self.idle[url]
        if idle:
            client = idle.pop()
        else:
            with usable_environment():
                client = self.make()
        try:
            yield client
        except BaseException:
            await client.aclose()
            raise
        idle.append(client)

    async def close(self) -> None:
        """Close all connections."""
        for client in itertools.chain.from_iterable(self.idle.values()):
            await client.aclose()


@dataclass(eq=False)
class Fleet:
    """Servers that hold the same model. All requests of one question go to one server, whose cache holds its prefixes.

    `concurrency` limits the concurrent requests at each server.
    """

    addresses: Sequence[Address]
    concurrency: int = 64
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.endpoints = [Endpoint(address) for address in self.addresses]
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopConnections] = WeakKeyDictionary()

    def ranked(self, question: str) -> list[Endpoint]:
        """The servers in the order of preference of a question.

        The order is rendezvous hashing: if a server joins or leaves, only the questions that it gains or loses move.
        """

        def score(endpoint: Endpoint) -> float:
            return float(keyed_generator("rendezvous", question, endpoint.address.url).random())

        return sorted(self.endpoints, key=score)

    def choose(self, question: str) -> Endpoint:
        """The preferred server that does not rest; if all rest, the one whose rest ends first."""
        ranked, now = self.ranked(question), self.clock()
        awake = (endpoint for endpoint in ranked if endpoint.rests_until <= now)
        return next(awake, min(ranked, key=lambda endpoint: endpoint.rests_until))

    def enter(self) -> None:
        """Add a user of this event loop's connections."""
        self._connections().users += 1

    async def leave(self) -> None:
        """Remove a user of this event loop's connections. The last user closes them."""
        loop = asyncio.get_running_loop()
        connections = self._by_loop[loop]
        connections.users -= 1
        if connections.users == 0:
            del self._by_loop[loop]
            await connections.close()

    def _connections(self) -> _LoopConnections:
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            environment = not all(address.loopback for address in self.addresses)
            secure = any(address.url.startswith("https:") for address in self.addresses)
            with usable_environment():
                make = functools.partial(
                    httpx.AsyncClient,
                    limits=httpx.Limits(max_connections=1, keepalive_expiry=_REUSED_WITHIN),
                    trust_env=environment,
                    verify=httpx.create_ssl_context(secure, trust_env=environment),
                )
            slots = {address.url: asyncio.Semaphore(self.concurrency) for address in self.addresses}
            self._by_loop[loop] = _LoopConnections(make, slots)
        return self._by_loop[loop]

    async def ask(
        self,
        question: str,
        key: Sequence[object],
        read: Callable[[Endpoint, float], Awaitable[Result]],
        attempts: int | None = None,
    ) -> Result:
        """The result of `read(endpoint, seconds left)` for the server of a question.

        A transient failure is retried, at another server if this one cannot be reached. `attempts` may lower the
        number of attempts that the patience allows; `key` decides the random part of the waits. Raises LostError if
        the patience ends, if the server refuses the request, or if the same fault repeats (`_RepeatedFault`).
        """
        patience, spent, attempt = self.patience, 0.0, 0
        most = min(patience.attempts, attempts or patience.attempts)
        repeated = _RepeatedFault(self.successes)
        while True:
            endpoint = self.choose(question)
            async with self._connections().slots[endpoint.address.url]:
                began, left = self.clock(), patience.deadline - spent  # the wait for a slot does not count
                try:
                    result = await asyncio.wait_for(read(endpoint, left), left)
                except (TransientError, BrokenReplyError, TimeoutError) as error:
                    failure = error
                else:
                    self._note(endpoint, unreachable=False)
                    endpoint.successes += 1
                    return result
            self._note(endpoint, getattr(failure, "unreachable", False))
            wait = patience.wait(attempt, getattr(failure, "wait", None), *key)
            spent += self.clock() - began + wait
            attempt += 1
            reason = str(failure) or f"no reply within {patience.deadline:g} s"
            if attempt >= most or spent >= patience.deadline:
                raise LostError(f"{reason} (tried {attempt} times)")
            if repeated.is_permanent(failure, self.successes):
                raise LostError(f"{reason} (the same fault {repeated.count} times in a row, so not tried again)")
            await asyncio.sleep(wait)

    @property
    def successes(self) -> int:
        """The requests that all servers have answered well."""
        return sum(endpoint.successes for endpoint in self.endpoints)

    def _note(self, endpoint: Endpoint, unreachable: bool) -> None:
        endpoint.misses = endpoint.misses + 1 if unreachable else 0
        if endpoint.misses >= _MISSES_BEFORE_REST:
            endpoint.rests_until = self.clock() + self.patience.rest

    async def post(self, endpoint: Endpoint, path: str, body: Any, seconds: float) -> Any:
        """The JSON that a server replies. Raises TransientError, LostError or BrokenReplyError."""
        url, timeout = endpoint.address.url + path, self._timeout(seconds)
        try:
            async with self._connections().client(endpoint.address.url) as client:
                reply = await client.post(url, json=body, headers=key_headers(), timeout=timeout)
        except httpx.HTTPError as error:
            raise _broke_off(endpoint, error) from None
        check_status(reply.status_code, reply.text, reply.headers.get("retry-after"))
        return parsed(reply.text)

    async def stream(
        self, endpoint: Endpoint, path: str, body: Any, stream: Stream | NativeStream, seconds: float
    ) -> Any:
        """The body of a streamed completion. It reads events until `stream` is complete and cancels the rest.

        Raises EmptyStreamError if the server accepts the request and ends the stream before its first event; else
        what `post` raises.
        """
        url, timeout = endpoint.address.url + path, self._timeout(seconds)
        accepted = begun = False
        try:
            async with (
                self._connections().client(endpoint.address.url) as client,
                client.stream("POST", url, json=body, headers=key_headers(), timeout=timeout) as reply,
            ):
                await _check_streamed_status(reply)
                accepted = True
                async with aclosing(event_data(reply)) as events:
                    async for data in events:
                        begun = True
                        if stream.finish() if data == "[DONE]" else stream.feed(parsed(data)):
                            break
        except httpx.HTTPError as error:
            if begun or not accepted:
                raise _broke_off(endpoint, error) from None
        if not begun:
            raise EmptyStreamError(f"{endpoint.address.url} streamed nothing")
        return stream.body

    def _timeout(self, seconds: float) -> httpx.Timeout:
        seconds = max(seconds, 0.001)
        return httpx.Timeout(seconds, connect=min(self.patience.connect, seconds))


@dataclass
class _RepeatedFault:
    """The faults of one request that are the same, word for word, in a row.

    A reply with status 5xx or of a wrong shape that repeats `_SAME_FAULTS` times is permanent if no other request
    succeeded meanwhile; else `_SAME_FAULTS_AMONG_SUCCESSES` times. Lost connections, 408, 425, 429 and replies that ask
    for a wait never are.
    """

    successes: int
    reason: str = ""
    count: int = 0

    def is_permanent(self, failure: Exception, successes: int) -> bool:
        """Count one more failure, and return whether it will not pass."""
        temporary = not isinstance(failure, BrokenReplyError) and not getattr(failure, "repeats", False)
        if temporary or str(failure) != self.reason:
            self.count = 0
        if temporary:
            return False
        self.reason = str(failure)
        self.count += 1
        return self.count >= (_SAME_FAULTS if successes == self.successes else _SAME_FAULTS_AMONG_SUCCESSES)


async def _check_streamed_status(reply: httpx.Response) -> None:
    if reply.status_code != 200:
        text = (await reply.aread()).decode(errors="replace")
        check_status(reply.status_code, text, reply.headers.get("retry-after"))


def _broke_off(endpoint: Endpoint, error: httpx.HTTPError) -> TransientError:
    reason = f"{type(error).__name__} at {endpoint.address.url}: {redacted(str(error)) or 'no reply'}"
    return TransientError(reason, unreachable=isinstance(error, httpx.TransportError))
