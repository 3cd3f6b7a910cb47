"""Who may search now: so many at once, so many that wait, and nobody new while the service drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from rollwise.openai_format import RequestError

_REMEMBERED = 0.1
"""The weight of the latest search in the mean length of a search."""


@dataclass
class Admission:
    """Slots for `searches` at once and a queue of at most `queue`. `running` and `waiting` count requests' searches."""

    searches: int
    queue: int
    running: int = 0
    waiting: int = 0
    draining: bool = False
    mean_seconds: float = 5.0
    _slots: asyncio.Semaphore = field(init=False)
    idle: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.searches)
        self.idle.set()

    def check(self) -> None:
        """Raise RequestError: 503 while the service drains, 429 if the queue is full."""
        if self.draining:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the service is shutting down: try again soon", wait=5)
        if self.running >= self.searches and self.waiting >= self.queue:
            wait = self.mean_seconds * (1 + self.waiting / self.searches)
            message = f"{self.running} searches run and {self.waiting} wait, which is all that this service takes"
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, f"{message}: try again later", wait=min(wait, 600))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for one search, for as long as the context is open. Raises RequestError as `check` does."""
        self.check()
        loop = asyncio.get_running_loop()
        self.waiting += 1
        self.idle.clear()
        began: float | None = None
        try:
            try:
                await self._slots.acquire()
            finally:
                self.waiting -= 1
            self.running += 1
            began = loop.time()
            try:
                yield
            finally:
                self.running -= 1
                self._slots.release()
                self.mean_seconds += _REMEMBERED * (loop.time() - began - self.mean_seconds)
        finally:
            if self.running == self.waiting == 0:
                self.idle.set()

    @property
    def free(self) -> bool:
        """Whether a search may begin at once."""
        return not self.draining and self.waiting == 0 and self.running < self.searches
