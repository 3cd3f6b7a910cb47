"""Several processes that serve at one address. They share a listening socket, the store, and the limits in it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from rollwise.errors import RollwiseError
from rollwise.service.metrics import SHARED, forget
from rollwise.service.places import clear
from rollwise.service.run import make_service, serve
from rollwise.service.settings import Settings
from rollwise.service.store import Store, new_mark, process_name

_SPAWN = multiprocessing.get_context("spawn")
_LOOK = 0.5
_LONGEST_PAUSE = 30.0
_LASTING = 10.0
"""Seconds after which a worker counts as one that started well."""


def serve_together(settings: Settings, listener: socket.socket) -> None:
    """Serve with `settings.workers` processes until a signal ends them. A process that dies is started again.

    Raises InputError if the store cannot be used.
    """
    Store(settings.store).close()  # made or upgraded once, and refused here if need be
    with _metrics_folder() as folder:
        _Workers(settings, listener, folder).run()


@dataclass
class _Worker:
    process: SpawnProcess
    mark: str
    began: float


class _Workers:
    """The processes, and what keeps their number."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: str) -> None:
        self.settings, self.listener, self.folder = settings, listener, folder
        self.workers: list[_Worker] = []
        self.ending = False
        self._pause, self._next = 0.0, 0.0

    def run(self) -> None:
        """Keep the processes until a signal comes, then let them drain. A second signal ends them at once."""
        before = {each: signal.signal(each, self._pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self.ending or self.workers:
                if not self.ending:
                    self._fill()
                wait([worker.process.sentinel for worker in self.workers], _LOOK)
                self._clear()
        finally:
            for worker in self.workers:
                worker.process.kill()
            for each, handler in before.items():
                signal.signal(each, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Pass a signal on to the processes."""
        self.ending = True
        for worker in self.workers:
            worker.process.terminate()

    def _fill(self) -> None:
        """Start the processes that are missing, unless the last one died as it started."""
        while len(self.workers) < self.settings.workers and time.monotonic() >= self._next and not self.ending:
            mark = new_mark()
            process = _SPAWN.Process(target=_work, args=(self.settings, self.listener, mark), name="rollwise-worker")
            process.start()
            self.workers.append(_Worker(process, mark, time.monotonic()))
        if self.ending:  # the signal came in between
            self._pass_on(signal.SIGTERM, None)

    def _clear(self) -> None:
        """Take away the processes that ended, and say so if nobody asked them to."""
        for worker in [worker for worker in self.workers if not worker.process.is_alive()]:
            self.workers.remove(worker)
            number = worker.process.pid or 0
            forget(number, self.folder)
            if self.ending:
                continue
            with contextlib.suppress(RollwiseError), contextlib.closing(Store(self.settings.store)) as store:
                clear(store, process_name(number, worker.mark))
            lasted = time.monotonic() - worker.began > _LASTING
            self._pause = 0.0 if lasted else min(_LONGEST_PAUSE, 2 * self._pause or 1.0)
            self._next = time.monotonic() + self._pause
            print(f"rollwise: worker {worker.process.pid} {_how(worker.process)}; another one starts", file=sys.stderr)


def _how(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _work(settings: Settings, listener: socket.socket, mark: str) -> None:
    """Serve in this process until a signal comes, or until the process that started it is gone."""
    os.setpgrp()  # Ctrl-C reaches the process that started this one, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        service = make_service(settings, mark)
    except RollwiseError as error:
        print(f"rollwise: {error}", file=sys.stderr)
        sys.exit(2)
    serve(service, listener)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _metrics_folder() -> Iterator[str]:
    """A folder in which the processes keep what Prometheus adds up."""
    before, folder = os.environ.get(SHARED), tempfile.mkdtemp(prefix="rollwise-metrics-")
    os.environ[SHARED] = folder
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[SHARED]
        else:
            os.environ[SHARED] = before
