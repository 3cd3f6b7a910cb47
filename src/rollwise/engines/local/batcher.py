"""One thread that works on whatever many coroutines ask for, all that waits at once."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Hands requests to `work`, as many as have come while it was busy, and each its result to who asked. What `work`
    raises, all of its requests raise.
    """

    def __init__(self, work: Callable[[Sequence[Request]], Sequence[Result]], name: str) -> None:
        self._work = work
        self._inbox: queue.SimpleQueue[tuple[Request, Future[Result]]] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, request: Request) -> Result:
        """The result of one request."""
        return (await self.run_all([request]))[0]

    async def run_all(self, requests: Sequence[Request]) -> list[Result]:
        """The results of several requests, which are worked on together."""
        futures = [Future[Result]() for _ in requests]
        for each in zip(requests, futures, strict=True):
            self._inbox.put(each)
        self._thread.submit(self._drain)
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))

    def _drain(self) -> None:
        waiting = [self._inbox.get() for _ in range(self._inbox.qsize())]
        batch = [(request, future) for request, future in waiting if future.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            results = self._work([request for request, _ in batch])
        except Exception as error:  # whatever broke, the callers have to hear of it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
