"""What a service does beside its requests: looks at servers and stages, measures stalls, erases old texts."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rollwise.errors import RollwiseError
from rollwise.openai_format import RequestError
from rollwise.service.indicators import indicators

if TYPE_CHECKING:
    from rollwise.service.service import Service

_TICK = 0.05
_LOOK = 1.0
_AGAIN = 1.0
_ERASE = 3600.0
_FIND = 10.0
_MEASURE = 30.0


async def upkeep(service: Service) -> None:
    """Run all of it for ever."""
    async with asyncio.TaskGroup() as group:
        group.create_task(service.health.watch(lambda: None))
        group.create_task(_patiently(lambda: service.staging.watch(service.health)))
        group.create_task(_measure_stalls(service))
        group.create_task(_find_parts(service))
        group.create_task(_patiently(lambda: _measure_indicators(service)))
        group.create_task(_look_around(service))
        if service.settings.retention_days > 0:
            group.create_task(_patiently(lambda: _erase(service)))


async def _patiently(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Endless work, begun again when the store has failed it, as a database that starts again does."""
    while True:
        try:
            await work()
        except RequestError:  # said already
            pass
        except RollwiseError as error:
            print(f"rollwise: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(_AGAIN)


async def _look_around(service: Service) -> None:
    """Learn what other processes do, tell them that this one serves, and show Prometheus what it does."""
    while True:
        with contextlib.suppress(RequestError):
            await service.admission.look()
        service.show_present()
        await asyncio.sleep(_LOOK)


async def _measure_stalls(service: Service) -> None:
    """Set the gauges of stalls: by how much a short sleep was exceeded, the most in ten seconds, and the processor time
    that the loop's own thread took meanwhile. The rest of a stall is a wait for a processor or for another thread.
    """
    loop = asyncio.get_running_loop()
    longest, own, began = 0.0, 0.0, loop.time()
    while True:
        slept, worked = loop.time(), time.thread_time()
        await asyncio.sleep(_TICK)
        longest, own = max((longest, own), (loop.time() - slept - _TICK, time.thread_time() - worked))
        service.metrics.stall.set(longest)
        service.metrics.stall_own.set(own)
        if loop.time() - began > 10:
            longest, own, began = 0.0, 0.0, loop.time()


async def _measure_indicators(service: Service) -> None:
    """Set the gauges of the routes' figures, now and then."""
    while True:
        for name, route in service.settings.routes.items():
            stage, store = service.staging.stages[name], service.writer.store
            service.metrics.show(name, await asyncio.to_thread(indicators, store, name, route, stage))
        await asyncio.sleep(_MEASURE)


async def _find_parts(service: Service) -> None:
    """Find the parts of every rule before the first request needs them, and again while a server is missing. Say on
    standard error what is missing, and when it is found.

    The garbage collector leaves out what is loaded after the first try: half a million objects of libraries, among
    which a full collection holds the event loop for 0.3 s.
    """
    said: dict[tuple[str, str], str] = {}
    frozen = False
    while True:
        for name, route in service.settings.routes.items():
            for rule in route.ladder:
                if rule.search is not None:
                    try:
                        await service.engines.parts(name, rule)
                    except RequestError as error:
                        told = str(error)
                    else:
                        told = f"the route {name} can search now" if (name, rule.name) in said else ""
                    if told and said.get((name, rule.name)) != told:
                        said[name, rule.name] = told
                        print(f"rollwise: {told}", file=sys.stderr, flush=True)
        if not frozen:
            gc.freeze()
            frozen = True
        if not service.engines.broken:
            return
        await asyncio.sleep(_FIND)


async def _erase(service: Service) -> None:
    days = datetime.timedelta(days=service.settings.retention_days)
    while True:
        before = (datetime.datetime.now(datetime.UTC) - days).isoformat(timespec="microseconds")
        await service.writer.call(lambda store, before=before: store.erase_texts(before))  # type: ignore[misc]
        await asyncio.sleep(_ERASE)
