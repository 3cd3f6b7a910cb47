"""Requests that may fail: what passes is tried again, the rest is told; several servers stand in for each other."""

from __future__ import annotations

import asyncio
import email.utils
import functools
import itertools
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from rollwise.engines.http.replies import BrokenReplyError, EmptyStreamError, NativeStream, Stream
from rollwise.engines.http.servers import Address
from rollwise.errors import EngineError, MissingExtraError
from rollwise.numerics import keyed_generator

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")

KEYS = ("ROLLWISE_API_KEY", "OPENAI_API_KEY")
IDLE = 3.0
"""Seconds after which an idle connection is not used again: servers on uvicorn close theirs after five, and a request
that meets the closing is lost.
"""
PASSING = frozenset({408, 425, 429})
"""Statuses beside those from 500 on that may be gone a moment later."""


class LostError(EngineError):
    """A request that came to nothing for good; `refused` where the server would not have it."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class PassingError(EngineError):
    """A request that failed and may succeed when tried again, `wait` seconds from now where the server says so."""

    def __init__(self, reason: str, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.unreachable = wait, unreachable


@dataclass(frozen=True)
class Patience:
    """How long a request is tried: `attempts` times within `deadline` seconds; the wait doubles from `first` seconds
    up to `longest`. A server that cannot be reached twice in a row is left alone for `rest` seconds where another one
    stands in.
    """

    attempts: int = 8
    deadline: float = 600.0
    first: float = 0.2
    longest: float = 20.0
    connect: float = 10.0
    rest: float = 30.0

    def wait(self, attempt: int, asked: float | None, *key: object) -> float:
        """Seconds before the next attempt, between half and all of min(longest, first · 2^attempt), drawn by the key;
        no less than the server asked for.
        """
        most = min(self.longest, self.first * 2.0**attempt)
        return max(most * (0.5 + 0.5 * float(keyed_generator("wait", attempt, *key).random())), asked or 0.0)


def api_key() -> str | None:
    """The key for servers, from the environment: ROLLWISE_API_KEY, else OPENAI_API_KEY. It is never printed."""
    return next((os.environ[name].strip() for name in KEYS if os.environ.get(name, "").strip()), None)


def headers() -> dict[str, str]:
    """The request headers, with the key where there is one."""
    key = api_key()
    return {"Authorization": f"Bearer {key}"} if key else {}


def hidden(text: str) -> str:
    """A text without the keys in it, on one line, for people to read."""
    for name in KEYS:
        if key := os.environ.get(name, "").strip():
            text = text.replace(key, "***")
    return " ".join(text.split())[:300]


def load_httpx() -> Any:
    """The HTTP client library. Raises MissingExtraError where it is not installed."""
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError("a policy over HTTP", "http") from error
    return httpx


def server_says(body: str) -> str:
    """The message in an error reply, in OpenAI's shape, FastAPI's or neither."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return hidden(body)
    if isinstance(told, dict):
        error = told.get("error", told.get("detail", told.get("message", told)))
        told = error.get("message", error) if isinstance(error, dict) else error
    return hidden(told if isinstance(told, str) else json.dumps(told))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; None where it asks for nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def check_status(status: int, body: str, wait: str | None = None) -> None:
    """Raise PassingError for a status that may pass, LostError for another that is no success."""
    if 200 <= status < 300:
        return
    reason = f"the server answered {status}: {server_says(body)}"
    if status in PASSING or status >= 500:
        raise PassingError(reason, retry_after(wait, time.time()))
    raise LostError(reason, refused=True)


@dataclass(eq=False)
class Endpoint:
    """One server of several, and whether it can be reached."""

    address: Address
    misses: int = 0
    rests_until: float = 0.0


@dataclass(eq=False)
class _Lane:
    """What belongs to one event loop: how many requests each server may have at once, and its connections.

    Each is a client of its own, and the one used last is taken first: httpx looks at all connections of a client
    whenever a request begins or ends, which with hundreds takes longer than the request, and closes some too many.
    """

    make: Callable[[], httpx.AsyncClient]
    slots: dict[str, asyncio.Semaphore]
    users: int = 0
    idle: defaultdict[str, list[httpx.AsyncClient]] = field(default_factory=lambda: defaultdict(list))

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else uses meanwhile, for a request to `url`; after a lost one it is closed."""
        idle = self.idle[url]
        client = idle.pop() if idle else self.make()
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
    """Servers of one model. A question keeps to one of them, whose cache then holds its prefixes, while it answers."""

    addresses: Sequence[Address]
    concurrency: int = 64
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.httpx = load_httpx()
        self.endpoints = [Endpoint(address) for address in self.addresses]
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = WeakKeyDictionary()

    def ranked(self, question: str) -> list[Endpoint]:
        """The servers in the order in which a question prefers them: rendezvous hashing, so that a server more or less
        moves only the questions that it gains or loses.
        """
        return sorted(
            self.endpoints,
            key=lambda one: float(keyed_generator("rendezvous", question, one.address.url).random()),
        )

    def choose(self, question: str) -> Endpoint:
        """The preferred server that is not resting; the one that has rested longest where all are."""
        ranked, now = self.ranked(question), self.clock()
        return next((one for one in ranked if one.rests_until <= now), min(ranked, key=lambda one: one.rests_until))

    def enter(self) -> None:
        """Count a user of this event loop's connections in."""
        self._lane().users += 1

    async def leave(self) -> None:
        """Count a user out; the last one closes the connections."""
        place = asyncio.get_running_loop()
        lane = self._lanes[place]
        lane.users -= 1
        if lane.users == 0:
            del self._lanes[place]
            await lane.close()

    def _lane(self) -> _Lane:
        place = asyncio.get_running_loop()
        if place not in self._lanes:
            environment = not all(address.loopback for address in self.addresses)
            secure = any(address.url.startswith("https:") for address in self.addresses)
            make = functools.partial(
                self.httpx.AsyncClient,
                limits=self.httpx.Limits(max_connections=1, keepalive_expiry=IDLE),
                trust_env=environment,
                verify=self.httpx.create_ssl_context(secure, trust_env=environment),
            )
            slots = {address.url: asyncio.Semaphore(self.concurrency) for address in self.addresses}
            self._lanes[place] = _Lane(make, slots)
        return self._lanes[place]

    async def ask(
        self,
        question: str,
        key: Sequence[object],
        read: Callable[[Endpoint, float], Awaitable[Result]],
        attempts: int | None = None,
    ) -> Result:
        """What `read(endpoint, seconds left)` makes of the question's server. What may pass is tried again, elsewhere
        where this server cannot be reached; `attempts` times at most where that is less than patience has. Raises
        LostError when patience ends, or where trying again is of no use.
        """
        patience, spent = self.patience, 0.0
        most = min(patience.attempts, attempts or patience.attempts)
        for attempt in itertools.count():
            endpoint = self.choose(question)
            async with self._lane().slots[endpoint.address.url]:  # the wait for a slot is not the server's doing
                began, left = self.clock(), patience.deadline - spent
                try:
                    result = await asyncio.wait_for(read(endpoint, left), left)
                except (PassingError, BrokenReplyError, TimeoutError) as error:
                    failed = error
                else:
                    self._note(endpoint, False)
                    return result
            self._note(endpoint, getattr(failed, "unreachable", False))
            wait = patience.wait(attempt, getattr(failed, "wait", None), *key)
            spent += self.clock() - began + wait
            if attempt + 1 >= most or spent >= patience.deadline:
                reason = str(failed) or f"no reply within {patience.deadline:g} s"
                raise LostError(f"{reason} (tried {attempt + 1} times)")
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    def _note(self, endpoint: Endpoint, unreachable: bool) -> None:
        endpoint.misses = endpoint.misses + 1 if unreachable else 0
        if endpoint.misses >= 2:
            endpoint.rests_until = self.clock() + self.patience.rest

    async def post(self, endpoint: Endpoint, path: str, body: Any, seconds: float) -> Any:
        """The JSON that a server replies. Raises PassingError, LostError or BrokenReplyError."""
        try:
            async with self._lane().client(endpoint.address.url) as client:
                reply = await client.post(
                    endpoint.address.url + path, json=body, headers=headers(), timeout=self._timeout(seconds)
                )
        except self.httpx.HTTPError as error:
            raise self._unreached(endpoint, error) from None
        check_status(reply.status_code, reply.text, reply.headers.get("retry-after"))
        return parsed(reply.text)

    async def stream(
        self, endpoint: Endpoint, path: str, body: Any, stream: Stream | NativeStream, seconds: float
    ) -> Any:
        """The body of a streamed completion, read until `stream` has all of it; the rest is cancelled. Raises
        EmptyStreamError where the server takes the request and then says nothing, beside what `post` raises.
        """
        url, timeout = endpoint.address.url + path, self._timeout(seconds)
        taken = begun = False
        try:
            async with (
                self._lane().client(endpoint.address.url) as client,
                client.stream("POST", url, json=body, headers=headers(), timeout=timeout) as reply,
            ):
                if reply.status_code != 200:
                    check_status(reply.status_code, (await reply.aread()).decode(errors="replace"))
                taken = True
                async for line in reply.aiter_lines():
                    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                    begun = begun or bool(data)
                    if data and (data == "[DONE]" or stream.feed(parsed(data))):
                        break
        except self.httpx.HTTPError as error:
            if not taken or begun:
                raise self._unreached(endpoint, error) from None
        if not begun:
            raise EmptyStreamError(f"{endpoint.address.url} streamed nothing")
        return stream.body

    def _timeout(self, seconds: float) -> Any:
        return self.httpx.Timeout(max(seconds, 0.001), connect=min(self.patience.connect, max(seconds, 0.001)))

    def _unreached(self, endpoint: Endpoint, error: Exception) -> PassingError:
        reason = f"{type(error).__name__} at {endpoint.address.url}: {hidden(str(error)) or 'no reply'}"
        return PassingError(reason, unreachable=isinstance(error, self.httpx.TransportError))


def parsed(text: str) -> Any:
    """A reply's JSON. Raises BrokenReplyError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenReplyError(f"the server replied no JSON: {hidden(text)[:80]!r}") from None
