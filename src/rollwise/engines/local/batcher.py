"""One worker thread that handles the requests of many coroutines in batches."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Passes requests to `work` in batches and returns each result to its caller.

    A batch holds every request that arrived while `work` was busy with the batch before. If `work` raises, all
    requests of the batch raise the same error.
    """

    def __init__(self, work: Callable[[Sequence[Request]], Sequence[Result]], name: str) -> None:
        self._work = work
        self._inbox: queue.SimpleQueue[tuple[Request, Future[Result]]] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, request: Request) -> Result:
        """The result of one request."""
        return (await self.run_all([request]))[0]

    async def run_all(self, requests: Sequence[Request]) -> list[Result]:
        """The results of several requests, which go into one batch."""
        futures = [Future[Result]() for _ in requests]
        for entry in zip(requests, futures, strict=True):
            self._inbox.put(entry)
        self._thread.submit(self._run_batch)
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))

    def _run_batch(self) -> None:
        waiting = [self._inbox.get() for _ in range(self._inbox.qsize())]
        batch = [(request, future) for request, future in waiting if future.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            results = self._work([request for request, _ in batch])
        except Exception as error:  # raised again in every caller of the batch
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
