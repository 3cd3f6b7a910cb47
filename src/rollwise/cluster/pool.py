"""The pool of Ray actors: each prepares its work once, then does tasks as it is handed them.

This process hands out tasks and takes the replies. At most `at_once` tasks per worker are out at a time, so a long list
of tasks is never held by the cluster. A worker that dies costs the tasks that it had. They go to other workers, at most
`TRIES` times each, and a new worker is begun as soon as the cluster has room for one.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rollwise.cluster.settings import Cluster
from rollwise.errors import EngineError, InputError, MissingExtraError, RollwiseError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray loads: nothing is sent to its makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default, which Ray else announces

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise MissingExtraError("work on a Ray cluster", "ray") from error

Task = TypeVar("Task")
Reply = TypeVar("Reply")

TRIES = 3
"""How many workers a task is given to, if they die."""
_PATIENCE = 300.0  # seconds without any worker that is ready
_LOSSES = 3  # deaths per worker with no task done between them, after which the work is given up
_LOOK_EVERY = 5.0  # seconds
_SECONDS_TO_ANSWER = 5.0
_LOCAL = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}


@dataclass(frozen=True)
class Lost:
    """Stands for the reply to a task that no worker has finished, and says why."""

    reason: str


class _Actor(Generic[Task, Reply]):
    """What runs in a worker's process."""

    def __init__(self, prepare: Callable[[], Callable[[Task], Awaitable[Reply]]], folder: str) -> None:
        self._prepare, self._folder = prepare, folder

    async def load(self) -> str | None:
        """Prepare the work. Returns what is wrong, None if nothing is: some exceptions cannot leave a process."""
        if Path(self._folder).is_dir():
            os.chdir(self._folder)  # relative names of files mean the same as where the work began
        try:
            self._work = self._prepare()
        except RollwiseError as error:
            return str(error)
        except Exception as error:  # told by the process that began the work
            return f"{type(error).__name__}: {error}"
        return None

    async def work(self, task: Task) -> Reply:
        """The reply to a task."""
        return await self._work(task)


@dataclass
class _Call(Generic[Task]):
    """A call that is out: to load a worker if it has no task, else to do the task for the `tries`-th time."""

    worker: Any
    task: Task | None = None
    tries: int = 0


def run_on_ray(
    tasks: Iterable[Task],
    prepare: Callable[[], Callable[[Task], Awaitable[Reply]]],
    cluster: Cluster,
    at_once: int,
    on_reply: Callable[[Task, Reply | Lost], None],
) -> None:
    """Do all tasks on a Ray cluster, `at_once` at a time in each worker, and pass on each reply as it comes.

    Each worker calls `prepare` once, which has to be a function that pickle can name; what it returns does a task.
    `tasks` is read as workers become free. When this ends, also by an exception, the workers are gone. Raises
    InputError if there is no such cluster or a worker cannot be prepared, and EngineError if workers keep dying or
    none becomes ready.
    """
    with ray_workers(prepare, cluster, at_once) as do:
        do(tasks, on_reply)


@contextmanager
def ray_workers(
    prepare: Callable[[], Callable[[Task], Awaitable[Reply]]], cluster: Cluster, at_once: int
) -> Iterator[Callable[[Iterable[Task], Callable[[Task, Reply | Lost], None]], None]]:
    """A context with workers as `run_on_ray` begins them. Its value does tasks with them, as often as it is called."""
    with ray_connection(cluster):
        pool = _Pool(prepare, cluster, at_once)
        try:
            yield pool.run
        finally:
            pool.end()


@contextmanager
def ray_connection(cluster: Cluster) -> Iterator[None]:
    """A context with a connection to the cluster. A connection that stood before is used and stays."""
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"address": address} if address else _LOCAL
    _refuse_silent(address)
    try:
        ray.init(**own, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"no Ray cluster answers at {address or 'this machine'}: {told}; begin one by `ray start --head`, or leave "
            "--ray-address out to use this machine only"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silent(address: str | None) -> None:
    """Raise InputError if nothing listens at `HOST:PORT`: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # no address, or a name such as "auto" that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {address}: {error}; begin one by `ray start --head`, or leave --ray-address "
            "out to use this machine only"
        ) from None


class _Pool(Generic[Task, Reply]):
    def __init__(
        self, prepare: Callable[[], Callable[[Task], Awaitable[Reply]]], cluster: Cluster, at_once: int
    ) -> None:
        self._at_once = at_once
        self._tasks: Iterator[Task] = iter(())
        self._on_reply: Callable[[Task, Reply | Lost], None] = lambda task, reply: None
        self._again: deque[tuple[Task, int]] = deque()
        self._calls: dict[Any, _Call[Task]] = {}
        self._free: dict[Any, int] = {}  # ready worker → how many more tasks it may have
        self._losses = 0
        self._waiting_since = 0.0
        self._begin = lambda: (
            ray.remote(_Actor)
            .options(num_cpus=1, num_gpus=cluster.gpus, max_concurrency=at_once, scheduling_strategy="SPREAD")
            .remote(prepare, os.getcwd())
        )
        self._count = _room(cluster) if cluster.workers is None else cluster.workers
        for _ in range(self._count):
            self._begin_worker()

    def run(self, tasks: Iterable[Task], on_reply: Callable[[Task, Reply | Lost], None]) -> None:
        """Hand out tasks and take replies until all tasks are done."""
        self._tasks, self._on_reply = iter(tasks), on_reply
        self._waiting_since = time.monotonic()
        while self._hand_out():
            ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=_LOOK_EVERY)
            if ready:
                ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
            for reference in ready:
                self._take(reference)
            if self._free:
                self._waiting_since = time.monotonic()
            elif time.monotonic() - self._waiting_since > _PATIENCE:
                raise EngineError(
                    f"no worker became ready within {_PATIENCE:.0f} s: the cluster has no room for one, or its "
                    "machines are gone; see `ray status`, then go on with --resume"
                )

    def end(self) -> None:
        """End all workers."""
        for worker in {*self._free, *(call.worker for call in self._calls.values())}:
            ray.kill(worker)

    def _begin_worker(self) -> None:
        worker = self._begin()  # type: ignore[no-untyped-call]  # what Ray makes of a class is not typed
        self._calls[worker.load.remote()] = _Call(worker)

    def _hand_out(self) -> bool:
        """Give tasks to workers that may have more. Returns whether any task is left or out."""
        while self._free:
            worker = max(self._free, key=self._free.__getitem__)
            if not self._free[worker]:
                break
            task, tries = self._next()
            if task is None:
                return any(call.tries for call in self._calls.values())
            self._free[worker] -= 1
            self._calls[worker.work.remote(task)] = _Call(worker, task, tries)
        return True

    def _next(self) -> tuple[Task | None, int]:
        if self._again:
            return self._again.popleft()
        task = next(self._tasks, None)
        return task, 1

    def _take(self, reference: Any) -> None:
        """Take what came of a call."""
        call = self._calls.pop(reference, None)
        if call is None:
            return  # its worker is lost, and so the call was dealt with
        try:
            reply = ray.get(reference)
        except RayTaskError as error:
            reply = Lost(" ".join(str(error.cause).split()))
        except RayError as error:
            self._lose(call, f"{type(error).__name__}: {str(error).strip().splitlines()[-1].strip()}")
            return
        if call.task is None:
            if reply is not None:
                raise InputError(f"a worker of the cluster cannot begin: {reply}")
            self._free[call.worker] = self._at_once
            return
        self._losses = 0
        if call.worker in self._free:
            self._free[call.worker] += 1
        self._on_reply(call.task, reply)

    def _lose(self, call: _Call[Task], reason: str) -> None:
        """Drop a worker that died, give its tasks to others, and begin another."""
        self._losses += 1
        if self._losses > _LOSSES * self._count:
            raise EngineError(f"workers keep dying ({reason}); see the logs of Ray, then go on with --resume")
        self._free.pop(call.worker, None)
        ray.kill(call.worker)
        theirs = {reference: each for reference, each in self._calls.items() if each.worker == call.worker}
        for reference in theirs:
            del self._calls[reference]
        for each in (call, *theirs.values()):
            if each.task is None:
                continue
            if each.tries < TRIES:
                self._again.append((each.task, each.tries + 1))
            else:
                self._on_reply(each.task, Lost(f"{each.tries} workers died while they worked on it ({reason})"))
        self._begin_worker()


def _room(cluster: Cluster) -> int:
    """How many workers the cluster has room for, at least one."""
    resources = ray.cluster_resources()
    rooms = [resources.get("CPU", 0)]
    if cluster.gpus:
        rooms.append(resources.get("GPU", 0) / cluster.gpus)
    return max(1, int(min(rooms)))
