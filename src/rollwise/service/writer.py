"""Writes searches to the store from one thread, in batches, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, TypeVar

from rollwise.database import patiently
from rollwise.errors import InputError
from rollwise.openai_format import RequestError
from rollwise.service.records import Record
from rollwise.service.store import Store

Result = TypeVar("Result")
_MOST = 64
"""The most searches of one transaction."""
Job = tuple[Record | Callable[[Store], Any], "Future[Any]"]


class Writer:
    """The only thread of a process that writes to its store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rollwise-store", daemon=True)
        self._thread.start()

    async def record(self, record: Record) -> None:
        """Write a search; it is on the disk when this returns. Raises RequestError if the store cannot be used."""
        await self._done(record)

    async def call(self, work: Callable[[Store], Result]) -> Result:
        """The result of work with the store, done by the thread that writes. Raises RequestError if the store cannot be
        used.
        """
        return await self._done(work)

    async def _done(self, job: Record | Callable[[Store], Any]) -> Any:
        try:
            return await asyncio.shield(asyncio.wrap_future(self._put(job)))
        except InputError as error:
            raise store_fails(error) from None

    def _put(self, job: Record | Callable[[Store], Any]) -> Future[Any]:
        done: Future[Any] = Future()
        self._jobs.put((job, done))
        return done

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            waiting: list[Job | None] = [job]
            while len(waiting) < _MOST and not self._jobs.empty():
                waiting.append(self._jobs.get())
            jobs = [each for each in waiting if each is not None]
            self._write([each for each in jobs if isinstance(each[0], Record)])
            for work, done in jobs:
                if not isinstance(work, Record):
                    _finish(done, work, self.store)
            if len(jobs) < len(waiting):
                return

    def _write(self, jobs: list[Job]) -> None:
        """Write searches in one transaction; if that fails, each in its own, so that one alone can fail. A database
        that does not answer, as while it starts again, is asked for some seconds.
        """
        records = [work for work, _ in jobs if isinstance(work, Record)]
        if not records:
            return
        try:
            patiently(lambda: self.store.record(records))
        except Exception:  # the store names the cause again for the search that it is about
            for record, (_, done) in zip(records, jobs, strict=True):
                _finish(done, self.store.record, [record])
        else:
            for _, done in jobs:
                done.set_result(None)


def _finish(done: Future[Any], work: Callable[[Any], Any], argument: Any) -> None:
    try:
        done.set_result(work(argument))
    except Exception as error:  # handed to the one who waits
        done.set_exception(error)


def store_fails(error: Exception) -> RequestError:
    """What a client reads of an error of the store. The error itself, with the place, goes to standard error."""
    print(f"rollwise: {error}", file=sys.stderr, flush=True)
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the store of the service cannot be used: try again", wait=5)
