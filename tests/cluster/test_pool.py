"""Tasks on a local Ray cluster of four nodes, of which some die on the way."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from four_nodes import four_nodes
from squares import squares, unprepared

from rollwise.errors import EngineError, InputError

pytest.importorskip("ray")

from rollwise.cluster import Cluster, Lost

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with four_nodes() as cluster:
        yield cluster


def do(tasks: Any, prepare: Any, workers: int = 4, at_once: int = 2, then: Any = None) -> list[tuple[int, Any]]:
    from rollwise.cluster import run_on_ray

    replies: list[tuple[int, Any]] = []

    def take(task: int, reply: Any) -> None:
        replies.append((task, reply))
        if then:
            then(replies)

    run_on_ray(tasks, prepare, Cluster(workers=workers), at_once, take)
    return replies


def test_each_task_is_done_once_by_workers_that_are_prepared_once(nodes: Any, tmp_path: Path) -> None:
    replies = do(range(40), partial(squares, tmp_path, 0.01))
    assert sorted(replies) == [(number, number**2 if number != 13 else Lost("bad luck")) for number in range(40)]
    assert len(list(tmp_path.glob("worker-*"))) == 4


def test_few_tasks_are_taken_ahead(nodes: Any, tmp_path: Path) -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        while taken < 60:
            taken += 1
            yield 1

    ahead = []
    do(numbers(), partial(squares, tmp_path, 0.01), then=lambda replies: ahead.append(taken - len(replies)))
    assert max(ahead) <= 4 * 2


def test_a_task_that_kills_its_workers_is_lost_and_costs_the_others_nothing(nodes: Any, tmp_path: Path) -> None:
    tasks = [*range(20, 40), 666, *range(40, 60)]
    replies = do(tasks, partial(squares, tmp_path, 0.05), workers=3, at_once=1)
    assert Counter(task for task, _ in replies) == Counter(tasks)
    lost = {task: reply for task, reply in replies if isinstance(reply, Lost)}
    assert [*lost] == [666]
    assert "3 workers died while they worked on it" in lost[666].reason
    assert (tmp_path / "deaths").read_text() == "xxx"


def test_workers_that_only_die_end_the_work(nodes: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="workers keep dying"):
        do([666] * 9, partial(squares, tmp_path, 0.0), workers=1, at_once=1)


def test_a_worker_that_cannot_be_prepared_is_told(nodes: Any) -> None:
    with pytest.raises(InputError, match="a worker of the cluster cannot begin: the belief is missing"):
        do(range(3), unprepared)


def test_an_interrupt_ends_the_workers(nodes: Any, tmp_path: Path) -> None:
    def interrupt(replies: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(range(1000), partial(squares, tmp_path, 0.05), then=interrupt)
    pids = [int(file.name.split("-")[1]) for file in tmp_path.glob("worker-*")]
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_no_cluster_at_an_address_is_told() -> None:
    code = "from rollwise.cluster import *\nrun_on_ray([1], print, Cluster('127.0.0.1:1'), 1, print)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=170)
    assert "InputError: no Ray cluster answers at 127.0.0.1:1" in run.stderr
