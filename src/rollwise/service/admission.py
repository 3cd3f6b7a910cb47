"""Who may search now: so many at once, so many that wait, and nobody new while the service drains."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TypeVar

from rollwise.database import patiently
from rollwise.errors import InputError
from rollwise.openai_format import RequestError
from rollwise.service.places import Places, Standing
from rollwise.service.writer import store_fails

Result = TypeVar("Result")
_REMEMBERED = 0.1
"""The weight of the latest search in the mean length of a search."""
_FRESH = 0.1
"""Seconds for which a standing is believed when a request asks for admission."""
_TURN = 0.05
"""Seconds between two looks at whether a search that waits may run."""


class Admission:
    """Slots for `searches` at once and a queue of at most `queue`, of this process alone.

    `running` and `waiting` count the searches of this process.
    """

    def __init__(self, searches: int, queue: int) -> None:
        self.searches, self.queue = searches, queue
        self.running = self.waiting = 0
        self.draining = False
        self.mean_seconds = 5.0
        self.idle = asyncio.Event()
        self.idle.set()
        self._slots = asyncio.Semaphore(searches)

    async def check(self) -> None:
        """Raise RequestError: 503 while the service drains, 429 if the queue is full."""
        if self.draining:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the service is shutting down: try again soon", wait=5)
        running, waiting = self.everywhere
        if running >= self.searches and waiting >= self.queue:
            raise self._full()

    def _full(self) -> RequestError:
        running, waiting = self.everywhere
        wait = self.mean_seconds * (1 + waiting / self.searches)
        message = f"{running} searches run and {waiting} wait, which is all that this service takes"
        return RequestError(HTTPStatus.TOO_MANY_REQUESTS, f"{message}: try again later", wait=min(wait, 600))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for one search, for as long as the context is open. Raises RequestError as `check` does."""
        await self.check()
        loop = asyncio.get_running_loop()
        self.waiting += 1
        self.idle.clear()
        try:
            try:
                number = await self._take()
            finally:
                self.waiting -= 1
            self.running += 1
            began = loop.time()
            try:
                yield
            finally:
                self.running -= 1
                self._give(number)
                self.mean_seconds += _REMEMBERED * (loop.time() - began - self.mean_seconds)
        finally:
            if self.running == self.waiting == 0:
                self.idle.set()

    async def _take(self) -> int:
        """Wait for a slot; its number."""
        await self._slots.acquire()
        return 0

    def _give(self, number: int) -> None:
        """Give a slot back."""
        self._slots.release()

    @property
    def everywhere(self) -> tuple[int, int]:
        """How many searches run and how many wait, at all processes that share the limits."""
        return self.running, self.waiting

    @property
    def free(self) -> bool:
        """Whether a search may begin at once."""
        running, waiting = self.everywhere
        return not self.draining and waiting == 0 and running < self.searches

    async def look(self) -> None:
        """Learn what other processes do."""

    async def close(self) -> None:
        """Give everything back."""


class SharedAdmission(Admission):
    """Slots and a queue that several processes share through their store, in one order of arrival."""

    def __init__(self, places: Places) -> None:
        super().__init__(places.searches, places.queue)
        self.places = places
        self._thread = ThreadPoolExecutor(1, "rollwise-places")
        self._standing, self._seen = Standing(), float("-inf")
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._watching: asyncio.Task[None] | None = None

    @property
    def everywhere(self) -> tuple[int, int]:
        """See Admission; as this process has seen it last."""
        count = max(self._standing.count, self.running + self.waiting)
        return min(count, self.searches), max(0, count - self.searches)

    async def check(self) -> None:
        """See Admission."""
        if not self.draining and asyncio.get_running_loop().time() - self._seen > _FRESH:
            await self._learned(self._submit(self.places.glance))
        await super().check()

    async def _take(self) -> int:
        entering = self._submit(self.places.enter)
        try:
            number, standing = await self._answer(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(self._left_at_once)
            raise
        self._see(standing)
        if number is None:
            raise self._full()
        if not (standing.admits(number) or self._standing.admits(number)):
            turn = self._turns[number] = asyncio.get_running_loop().create_future()
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch())
            try:
                await turn
            except asyncio.CancelledError:
                self._give(number)
                raise
            finally:
                del self._turns[number]
        return number

    def _give(self, number: int) -> None:
        try:
            leaving = self._submit(self.places.leave, number)
        except RuntimeError:  # closed: all places are given back
            return
        loop = asyncio.get_running_loop()

        def left(done: Future[Standing]) -> None:
            if done.exception() is None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._see, done.result())

        leaving.add_done_callback(left)

    def _left_at_once(self, entered: Future[tuple[int | None, Standing]]) -> None:
        """Give up the place of a request that went away while it was taken."""
        if not entered.cancelled() and entered.exception() is None:
            number = entered.result()[0]
            if number is not None:
                with contextlib.suppress(RuntimeError):  # closed: all places are given back
                    self._submit(self.places.leave, number)

    async def _watch(self) -> None:
        """Look at the standing as long as searches wait for their turn."""
        while self._turns:
            with contextlib.suppress(RequestError):
                await self._learned(self._submit(self.places.glance))
            await asyncio.sleep(_TURN)

    def _see(self, standing: Standing) -> None:
        """Remember a standing, unless a later one came first, and let run what may."""
        if standing.order < self._standing.order:
            return
        self._standing, self._seen = standing, asyncio.get_running_loop().time()
        for number, turn in self._turns.items():
            if standing.admits(number) and not turn.done():
                turn.set_result(None)

    async def _learned(self, looking: Future[Standing]) -> None:
        self._see(await self._answer(looking))

    def _submit(self, work: Callable[..., Result], *arguments: int) -> Future[Result]:
        return self._thread.submit(patiently, functools.partial(work, *arguments))

    async def _answer(self, working: Future[Result]) -> Result:
        """The result of work with the store. Raises RequestError with status 503 if the store does not answer."""
        try:
            return await asyncio.shield(asyncio.wrap_future(working))
        except InputError as error:
            raise store_fails(error) from None

    async def look(self) -> None:
        """See Admission. This also tells the other processes that this one serves."""
        await self._learned(self._submit(self.places.look))

    async def close(self) -> None:
        """See Admission."""
        if self._watching is not None:
            self._watching.cancel()
        with contextlib.suppress(RequestError):
            await self._answer(self._submit(self.places.withdraw))
        await asyncio.to_thread(self._thread.shutdown)
