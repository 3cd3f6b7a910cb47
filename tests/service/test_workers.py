"""Several processes that serve from one store: in threads of the test, and as `rollwise serve --workers` starts."""

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import command
import httpx
import pytest
from postgres import PASSWORD, postgres
from served import QUESTION, Emulator, emulated
from serving import chat, serving, until

from rollwise.service import (
    Store,
    advance_route,
    changes,
    heads,
    revert_route,
    search_page,
    search_record,
    verified_log,
)

WORKERS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PGPASSWORD", PASSWORD)
        yield url


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.heavy)])
def place(request: pytest.FixtureRequest, tmp_path: FilePath) -> Any:
    """Where the store is to be."""
    return tmp_path / "store.db" if request.param == "file" else emptied(request.getfixturevalue("server"))


def emptied(url: str) -> str:
    import psycopg  # of the extra postgres

    with psycopg.connect(url.replace("+psycopg", "")) as plain:
        plain.execute("DROP SCHEMA IF EXISTS rollwise_service CASCADE")
    return url


@pytest.fixture
def policy() -> Iterator[Emulator]:
    with emulated("vllm", seconds=0.05) as server:
        yield server


def say(url: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=chat(QUESTION, **fields), timeout=120)


def test_two_services_share_stages_limits_and_logins(place: Any, policy: Emulator, tmp_path: FilePath) -> None:
    route = {"policy": policy.url, "budget": 4, "rules": ["temperature", "rebase"], "canary": [50]}
    key = "a key of the test"
    fields: dict[str, Any] = {
        "store": place,
        "workers": WORKERS,
        "searches": 2,
        "queue": 1,
        "routes": {"math": route},
        "keys": {"ann": hashlib.sha256(key.encode()).hexdigest()},
    }
    with serving(tmp_path, **fields) as (first, one), serving(tmp_path, **fields) as (second, other):
        urls, headers = (first, second), {"authorization": f"Bearer {key}"}

        def ask(number: int) -> httpx.Response:
            url = f"{urls[number % 2]}/v1/chat/completions"
            return httpx.post(url, json=chat(QUESTION, seed=number), headers=headers, timeout=120)

        assert {ask(number).status_code for number in range(2)} == {200}
        most, asking = 0, True

        def look() -> None:
            nonlocal most
            while asking:
                most = max(most, one.admission.running + other.admission.running)
                time.sleep(0.002)

        looking = threading.Thread(target=look)
        looking.start()
        with ThreadPoolExecutor(12) as pool:
            statuses = Counter(reply.status_code for reply in pool.map(ask, range(24)))
        asking = False
        looking.join()
        assert most == 2, "the limit is that of both together"
        assert set(statuses) == {200, 429}
        store = one.writer.store
        until(lambda: search_page(store)[1] == statuses[200] + 2)

        for stage in ("shadow", "canary"):
            asyncio.run(advance_route(one.settings, store, "math", "a test", lambda done, total: None))
            until(lambda stage=stage: {each.staging.stages["math"].stage for each in (one, other)} == {stage})
        revert_route(one.settings, store, "math", "enough")
        until(lambda: {each.staging.stages["math"].stage for each in (one, other)} == {"off"})

        with httpx.Client() as browser:
            assert browser.post(f"{first}/ui/login", data={"key": key}).status_code == 303
            cookie = browser.cookies["rollwise_ui"]
            state = httpx.get(f"{second}/ui/api/operations/state", cookies={"rollwise_ui": cookie})
        assert state.status_code == 200, "a login at one is one at the other"
        assert "sesame" not in state.text
        assert len(heads(store)) == 2
        assert verified_log(store).faults == ()


def test_what_both_services_saw_of_a_candidate_makes_it_fall_back(
    place: Any, policy: Emulator, tmp_path: FilePath
) -> None:
    """Neither has seen as many slow searches as the band needs; both together have."""
    band = {"least": 4, "most_seconds": 0.001}
    route = {"policy": policy.url, "budget": 2, "rules": ["temperature", "rebase"], "canary": [99.99], "band": band}
    fields: dict[str, Any] = {"store": place, "workers": WORKERS, "routes": {"math": route}}
    with serving(tmp_path, **fields) as (first, one), serving(tmp_path, **fields) as (second, other):
        store = one.writer.store
        for _ in range(2):
            asyncio.run(advance_route(one.settings, store, "math", "a test", lambda done, total: None))
        until(lambda: {each.staging.stages["math"].stage for each in (one, other)} == {"canary"})
        for number, url in enumerate((first, second, first)):
            assert say(url, user=f"user {number}").json()["rollwise"]["route_rule"] == "rebase"
        time.sleep(2.5)
        assert changes(store, "math")[0]["kind"] == "forced"
        assert say(second, user="user 3").json()["rollwise"]["route_rule"] == "rebase"
        until(lambda: changes(store, "math")[0]["kind"] == "fallback")
        until(lambda: {each.staging.stages["math"].stage for each in (one, other)} == {"off"})
        time.sleep(1.5)
        assert [change["kind"] for change in changes(store, "math")] == ["fallback", "forced", "forced"]


@pytest.mark.heavy
def test_a_database_that_breaks_all_connections_costs_no_request(
    server: str, policy: Emulator, tmp_path: FilePath, capfd: pytest.CaptureFixture[str]
) -> None:
    import psycopg

    place = emptied(server)
    fields: dict[str, Any] = {"store": place, "routes": {"math": {"policy": policy.url, "budget": 4}}, "searches": 3}
    with (
        serving(tmp_path, **fields) as (first, one),
        serving(tmp_path, **fields) as (second, _),
        psycopg.connect(place.replace("+psycopg", ""), autocommit=True) as plain,
        ThreadPoolExecutor(6) as pool,
    ):
        assert say(first).status_code == say(second).status_code == 200
        jobs = [pool.submit(say, (first, second)[seed % 2], seed=seed) for seed in range(60)]
        broken = 0
        while not all(job.done() for job in jobs):
            ended = plain.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'rollwise' AND pid <> pg_backend_pid()"
            ).fetchall()
            broken += len(ended)
            time.sleep(0.3)
        replies = [job.result() for job in jobs]
        assert [reply.status_code for reply in replies] == [200] * 60, [reply.text for reply in replies]
        assert broken > 20
        ids = [reply.json()["rollwise"]["id"] for reply in replies]
        store = one.writer.store
        assert all(search_record(store, id_)["outcome"] in ("answered", "no_answer") for id_ in ids)
        assert search_page(store)[1] == 62, "none is there twice"
        assert verified_log(store).faults == ()
    assert "sesame" not in "".join(capfd.readouterr())


@contextmanager
def started(folder: FilePath, store: str, policy: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rollwise serve --workers 2` in processes of its own; every worker answers when this begins."""
    (folder / "service.toml").write_text(
        f'[routes.math]\npolicy = "{policy}"\nbudget = 4\nrules = ["temperature", "rebase"]\ncanary = [50]\n'
    )
    words = ("serve", "service.toml", "--port", "0", "--store", store, "--workers", str(WORKERS), *words)
    run = [sys.executable, "-m", "rollwise", *words]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    url = process.stdout.readline().split()[2]
    try:
        until(lambda: answers(url) and len(workers_of(process)) == WORKERS)
        yield process, url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").json()["status"] == "ok"
    except httpx.TransportError:
        return False


def stages_at(url: str) -> set[str]:
    """The stages that requests meet, over fresh connections, so that both workers answer some."""
    return {say(url, user=str(number)).headers["x-rollwise-stage"] for number in range(16)}


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that serve: children of the command that hold a hash chain or are about to."""
    found = []
    for folder in FilePath("/proc").glob("[0-9]*"):
        try:
            parent = int(re.search(r"\) \w (\d+)", (folder / "stat").read_text())[1])  # type: ignore[index]
            if parent == process.pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def serving_since(store: Store) -> set[int]:
    """The process numbers that have a chain in the store."""
    return {int(process.split("-")[-2]) for process in heads(store)}


def use_workers(place: str, folder: FilePath, policy: Emulator, kills: int) -> None:
    """Kill each worker in turn under load; what was answered is on record, and only what was in flight there fails."""
    answered: list[str] = []
    broken: list[float] = []
    killed: list[float] = []
    asking = threading.Event()
    asking.set()
    with started(folder, place, policy.url, "--searches", "6") as (process, url):
        store = Store(place if "://" in place else FilePath(place))
        until(lambda: set(workers_of(process)) <= serving_since(store))

        def ask(client: int) -> None:
            number = client
            while asking.is_set():
                began = time.monotonic()
                try:
                    reply = say(url, seed=number, user=f"user {number}")
                except httpx.TransportError:
                    assert any(began - 0.1 <= moment <= time.monotonic() for moment in killed), "nobody was killed then"
                    broken.append(began)
                else:
                    assert reply.status_code == 200, reply.text
                    answered.append(reply.json()["rollwise"]["id"])
                number += 8

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(ask, client) for client in range(8)]
            for _ in range(kills):
                time.sleep(2)
                before = workers_of(process)
                killed.append(time.monotonic())
                os.kill(min(before), signal.SIGKILL)  # the one that serves for longer
                until(lambda before=before: len(set(workers_of(process)) - set(before)) == 1)
                until(lambda: set(workers_of(process)) <= serving_since(store))
            advanced = command.rollwise(
                *("rollout", "advance", str(folder / "service.toml"), "math", "--force", "a test", "--store", place)
            )
            assert advanced.returncode == 0, advanced.stderr
            time.sleep(2)
            asking.clear()
            for job in jobs:
                job.result()
        until(lambda: stages_at(url) == {"shadow"})
        assert stages_at(url) == {"shadow"}, "both workers have seen the change"
        for id_ in answered:
            assert search_record(store, id_)["outcome"] in ("answered", "no_answer")
        assert len(set(answered)) == len(answered) > 20
        assert len(broken) <= kills * 8, "no more than each client had in flight"
        check = verified_log(store)
        assert check.faults == ()
        assert len(heads(store)) >= WORKERS + kills
        text = httpx.get(f"{url}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        assert process.stderr is not None
        told = process.stderr.read()
        assert told.count("was ended by SIGKILL; another one starts") == kills
    counted = sum(float(each) for each in re.findall(r"^rollwise_searches_total\{.*\} (\S+)$", text, re.M))
    on_record = search_page(store)[1]
    assert 0 <= counted - on_record <= kills * 8, (
        "a killed worker's counts stay; it may have counted what it never wrote"
    )
    running = re.findall(r"^rollwise_searches_running (\S+)$", text, re.M)
    assert running == ["0.0"], "what a killed worker did at its end is left out"
    print(f"{len(answered)} answered, {len(broken)} broken off, {on_record} on record")
    store.close()


@pytest.mark.heavy
def test_workers_that_are_killed_by_turns_lose_no_finished_search_in_a_file(
    tmp_path: FilePath, policy: Emulator
) -> None:
    use_workers(str(tmp_path / "store.db"), tmp_path, policy, 2)


@pytest.mark.heavy
def test_workers_that_are_killed_by_turns_lose_no_finished_search_on_a_server(
    server: str, tmp_path: FilePath, policy: Emulator
) -> None:
    use_workers(emptied(server), tmp_path, policy, 4)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers(tmp_path: FilePath, number: signal.Signals) -> None:
    with emulated("vllm", seconds=2.0) as slow, started(tmp_path, "store.db", slow.url) as (process, url):
        until(lambda: set(workers_of(process)) <= serving_since(Store(tmp_path / "store.db")))
        with ThreadPoolExecutor(6) as pool:
            replies = [pool.submit(say, url, seed=seed) for seed in range(6)]
            until(lambda: httpx.get(f"{url}/health").json()["running"] == 6)
            process.send_signal(number)
            until(lambda: httpx.get(f"{url}/health").json()["status"] == "draining")
            assert say(url).status_code == 503
            assert [reply.result().status_code for reply in replies] == [200] * 6
        assert process.wait(40) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.heavy
def test_workers_end_with_the_process_that_started_them(tmp_path: FilePath, policy: Emulator) -> None:
    with started(tmp_path, "store.db", policy.url) as (process, url):
        left = workers_of(process)
        process.kill()
        process.wait()
        until(lambda: not any(FilePath(f"/proc/{each}/fd").exists() and alive(each) for each in left))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/live")


def alive(number: int) -> bool:
    try:
        return ") Z" not in FilePath(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
