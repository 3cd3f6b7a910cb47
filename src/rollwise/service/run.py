"""Starts a service, and ends it without losing a search in flight."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rollwise.errors import MissingExtraError

try:
    import uvicorn
except ImportError as error:
    raise MissingExtraError("a server", "serve") from error

from rollwise.openai_format import running_app
from rollwise.service.admission import SharedAdmission
from rollwise.service.app import build_app
from rollwise.service.metrics import Metrics
from rollwise.service.places import Places
from rollwise.service.searches import Searches
from rollwise.service.service import Service
from rollwise.service.settings import Settings
from rollwise.service.staging import Staging
from rollwise.service.store import Store
from rollwise.service.tracing import tracer_of_environment
from rollwise.service.writer import Writer


class _Server(uvicorn.Server):
    """A server that drains on SIGTERM and Ctrl-C: what is in flight ends, what is new gets 503. The second signal ends
    it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn.Server."""
        if self.service.admission.draining:
            super().handle_exit(sig, frame)
            return
        self.service.admission.draining = True
        self._draining = asyncio.get_running_loop().create_task(self._drain(sig))

    async def _drain(self, sig: int) -> None:
        limit = self.service.settings.drain
        try:
            await asyncio.wait_for(self.service.admission.idle.wait(), limit)
            await asyncio.sleep(0.2)  # replies that are being written
        except TimeoutError:
            pass
        if sig != signal.SIGTERM:
            self._captured_signals.append(sig)
        self.should_exit = True


def make_service(settings: Settings, mark: str | None = None) -> Service:
    """A service that is not served yet; `mark` is as for Store. Raises InputError if its store cannot be used."""
    store = Store(settings.store, mark=mark)
    writer, metrics = Writer(store), Metrics()
    store.note("start", store.process, {"routes": list(settings.routes)})
    places = Places(store, settings.searches, settings.queue) if settings.shared else None
    admission = None if places is None else SharedAdmission(places)
    staging, tracer = Staging(settings, writer, metrics), tracer_of_environment()
    return Service(Searches(settings, staging, writer, metrics, tracer, admission))


def serve(service: Service, listener: socket.socket) -> None:
    """Serve until a signal ends it."""
    try:
        server_of(service).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        service.writer.close()
        service.writer.store.close()


@contextmanager
def running(settings: Settings, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL of a service that runs in a thread of this process until the context ends.

    It is a single process, whatever `workers` says.
    """
    service = make_service(settings)
    try:
        with running_app(server_of(service), host, port) as url:
            yield url
    finally:
        service.writer.close()
        service.writer.store.close()


def server_of(service: Service) -> uvicorn.Server:
    """The server of a service."""
    config = uvicorn.Config(
        build_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,  # longer than clients keep idle connections, so that none is closed as it is used
    )
    return _Server(config, service)
