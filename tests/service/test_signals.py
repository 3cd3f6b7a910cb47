"""A service in a process of its own: SIGTERM drains it, and kill -9 loses no search whose reply was sent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path as FilePath

import httpx
import pytest
from serving import HARD, chat

from rollwise.service import Store, search_page, search_record, verified_log

pytestmark = pytest.mark.heavy


@contextmanager
def process(folder: FilePath) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "rollwise", "serve", "--port", "0", "--store", str(folder / "store.db")]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert started.stdout is not None
    url = started.stdout.readline().split()[-1]
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/live").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield started, url
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()


def test_a_signal_lets_searches_end_and_refuses_new_ones(tmp_path: FilePath) -> None:
    with process(tmp_path) as (service, url):
        httpx.post(f"{url}/v1/chat/completions", json=chat(), timeout=120)
        replies: list[httpx.Response] = []
        body = chat(HARD, rollwise={"budget": 128, "stop_early": "never"})

        def ask() -> None:
            replies.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120))

        asking = threading.Thread(target=ask)
        asking.start()
        while httpx.get(f"{url}/health").json()["running"] == 0:
            time.sleep(0.01)
        service.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        late = httpx.post(f"{url}/v1/chat/completions", json=chat(), timeout=120)
        assert late.status_code == 503
        asking.join()
        assert replies[0].status_code == 200
        assert service.wait(30) == 0
        assert service.stderr is not None
        assert service.stderr.read() == ""


def test_kill_9_loses_no_search_that_was_answered(tmp_path: FilePath) -> None:
    answered: list[str] = []
    with process(tmp_path) as (service, url):
        httpx.post(f"{url}/v1/chat/completions", json=chat(), timeout=120)

        def ask(seed: int) -> None:
            try:
                reply = httpx.post(
                    f"{url}/v1/chat/completions", json=chat(seed=seed, rollwise={"budget": 8}), timeout=60
                )
            except httpx.TransportError:
                return
            answered.append(reply.json()["rollwise"]["id"])

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(ask, seed) for seed in range(200)]
            while len(answered) < 10:
                time.sleep(0.02)
            os.kill(service.pid, signal.SIGKILL)
            for job in jobs:
                job.result()
    store = Store(tmp_path / "store.db")
    assert 10 <= len(answered) < 200
    for id_ in answered:
        assert search_record(store, id_)["outcome"] in ("answered", "no_answer")
    assert verified_log(store).faults == ()
    with process(tmp_path) as (_, url):
        assert httpx.post(f"{url}/v1/chat/completions", json=chat(), timeout=120).status_code == 200
    assert verified_log(store).faults == ()
    assert search_page(store)[1] >= len(answered) + 1
