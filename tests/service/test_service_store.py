"""The store of a service, in a file and on a real PostgreSQL: upgrades, the audit chain, and places that are shared."""

import asyncio
import json
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import PASSWORD, postgres
from sqlalchemy import create_engine

from rollwise.errors import InputError
from rollwise.openai_format import RequestError
from rollwise.service import Store, changes, exported, figures, heads, search_page, search_record, verified_log
from rollwise.service import places as placing
from rollwise.service.admission import SharedAdmission
from rollwise.service.places import Places
from rollwise.service.recording import new_id
from rollwise.service.records import COLUMNS, Record, Signals, digest_of, now
from rollwise.service.stages import Stage
from rollwise.service.tables import Base

OLD = Path(__file__).with_name("service_store_1.sql")
"""What a service of version 1 wrote: two searches, a feedback and a forced advance."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PGPASSWORD", PASSWORD)
        yield url


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.heavy)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where an empty store is to be."""
    if request.param == "file":
        return tmp_path / "store.db"
    url: str = request.getfixturevalue("server")
    import psycopg  # of the extra postgres

    with psycopg.connect(url.replace("+psycopg", "")) as plain:
        plain.execute("DROP SCHEMA IF EXISTS rollwise_service CASCADE")
    return url


def record(**fields: Any) -> Record:
    text = {"turns": [], "question": "1 + 1?", "reply": "2"}
    events = [{"event": "grown", "reward": 0.1 + 0.2, "text": "1 + 1 = 2 \0"}]
    common: dict[str, Any] = {
        "id": new_id(),
        "began": now(),
        "ended": now(),
        "client": "ann",
        "route": "math",
        "rule": "dora",
        "stage": "full",
        "purpose": "answer",
        "question": "q",
        "strategy": "dora",
        "budget": 4,
        "seed": 2**40,
        "outcome": "answered",
        "config": {"grader": "numbers", "limit": float("inf"), "nothing": None},
        "text": text,
        "text_digest": digest_of(text),
        "events": events,
        "events_digest": digest_of(events),
        "answer": "2",
        "support": 1 / 3,
        "confidence": None,
        "seconds": 0.1,
        "generated": 2**33,
        "agrees": True,
        "right": False,
        "signals": Signals(6, 2, 0, 0.3),
    }
    return Record(**common | fields)


def write_old(file: Path, with_signals: bool) -> None:
    plain = sqlite3.connect(file)
    plain.executescript(OLD.read_text(encoding="utf-8"))
    plain.execute("PRAGMA user_version = 1")
    if not with_signals:
        plain.executescript("DROP TABLE signals; DROP INDEX by_rule;")
    plain.close()


@pytest.mark.parametrize("with_signals", [True, False])
def test_a_store_of_version_1_is_upgraded_without_loss(tmp_path: Path, with_signals: bool) -> None:
    write_old(file := tmp_path / "store.db", with_signals)
    with sqlite3.connect(file) as plain:
        before = {
            table: plain.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("searches", "events", "entries", "stages", "changes", "feedback")
        }
    plain.close()
    for _ in range(2):  # the second time nothing is left to do
        store = Store(file)
        check = verified_log(store)
        assert (check.entries, check.searches, check.faults) == (5, 2, ())
        assert store.stages() == {"game": Stage("game", "rebase", "dora", "shadow")}
        assert changes(store)[0]["reason"] == "a test"
        store.close()
    with sqlite3.connect(file) as plain:
        assert {table: plain.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in before} == before
        assert plain.execute("PRAGMA user_version").fetchone() == (2,), "version 1 sees that it cannot read this"
    plain.close()
    store = Store(file)
    store.record([record()])
    assert verified_log(store).faults == ()
    store.close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_what_another_version_or_a_bench_wrote_is_refused(tmp_path: Path) -> None:
    Store(newer := tmp_path / "newer.db").close()
    with sqlite3.connect(newer) as plain:
        plain.execute("UPDATE alembic_version SET version_num = 'service 99'")
    plain.close()
    from rollwise.bench.store import Store as Bench

    Bench(other := tmp_path / "results.db").close()
    for file in (newer, other):
        with pytest.raises(InputError, match="was written by another version of rollwise; use that version, or give"):
            Store(file)
    with pytest.raises(InputError, match=r"file is not a database; give another --store"):
        Store(OLD)


@pytest.mark.heavy
def test_the_tables_of_a_server_are_those_of_the_models_and_a_newer_version_is_refused(server: str) -> None:
    Store(server).close()
    engine = create_engine(server, connect_args={"options": "-csearch_path=rollwise_service"})
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'service 99'")
    with pytest.raises(InputError, match="was written by another version of rollwise; use that version, or give"):
        Store(server)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'service 2'")
    engine.dispose()


def test_a_search_is_read_as_it_was_written(place: Any) -> None:
    store = Store(place)
    kept, bare = record(answer="2\0"), record(text=None, answer=None, agrees=None, signals=None)
    store.record([kept, bare])
    found = search_record(store, kept.id)
    assert {name: found[name] for name in COLUMNS if name != "answer"} == {
        name: getattr(kept, name) for name in COLUMNS if name != "answer"
    }
    assert found["events"] == list(kept.events)
    assert found["answer"] in ("2\0", "2\ufffd")
    assert search_record(store, bare.id)["text"] is None
    assert verified_log(store).without_text == 1
    rows, count = search_page(store, filters={"route": "math", "outcome": "answered"})
    assert (count, {row["id"] for row in rows}) == (2, {kept.id, bare.id})
    store.feed_back(kept.id, "ann", True, "2")
    told = json.loads(json.dumps(figures(store, "math")))
    assert told["rules"] == [
        {
            "rule": "dora",
            "purpose": "answer",
            "searches": 2,
            "failed": 0,
            "without_answer": 1,
            "seconds": pytest.approx(0.1),
            "generated": 2**33,
            "support": pytest.approx(1 / 3),
            "agreement": 1.0,
            "moved": None,
            "right": 0.0,
            "money": 0.0,
            "saved": 0,
        }
    ]
    assert told["feedback"] == [{"rule": "dora", "judged": 1, "right": 1.0}]
    assert store.erase_texts("9") == 1
    check = verified_log(store)
    assert (check.faults, check.without_text, check.entries) == ((), 2, 4)
    store.close()


def test_each_process_has_a_chain_and_a_failure_leaves_it_whole(place: Any) -> None:
    first, second = Store(place), Store(place)
    one, other = record(), record()
    first.record([one])
    second.record([other])
    with pytest.raises(InputError):  # one of them is there already, so neither is written
        first.record([record(), replace(other, began=now())])
    first.note("start", "x", {})
    first.record([one, record()])  # tried again after a failure: what is on record stays
    second.feed_back(one.id, "ann", True, None)
    known = heads(first)
    assert {process: head["number"] for process, head in known.items()} == {first.process: 3, second.process: 2}
    assert verified_log(second, known).faults == ()
    assert sum("search" in line for line in exported(second)) == 3
    with second.session() as session:
        session.connection().exec_driver_sql(f"DELETE FROM entries WHERE process = '{first.process}' AND number = 2")
    assert "entries before it are missing" in " ".join(verified_log(second).faults)
    first.close()
    second.close()


def test_a_change_of_a_stage_is_made_once(place: Any) -> None:
    first, second = Store(place), Store(place)
    before, after = Stage("math", "a", "b"), Stage("math", "a", "b", "shadow")
    assert first.change(before, after, "advance", "ann\0", "because")
    assert not second.change(before, after, "advance", "bob", "too")
    assert second.stages() == {"math": after}
    assert second.secret("cookies") == first.secret("cookies") != first.secret("others")
    assert verified_log(second).faults == ()
    first.close()
    second.close()


def test_places_are_taken_in_one_order_and_a_silent_process_loses_its_own(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "LEASE", 1000.0)
    monkeypatch.setattr(placing, "_FORGOTTEN", 2000.0)
    first, second = (Places(Store(place), 2, 1) for _ in range(2))
    (one, _), (two, _), (three, standing) = first.enter(), second.enter(), second.enter()
    assert one is not None
    assert two is not None
    assert three is not None
    assert [standing.admits(number) for number in (one, two, three)] == [True, True, False]
    assert first.enter()[0] is None
    assert first.leave(one).admits(three)
    four, standing = first.enter()
    assert four is not None
    assert not standing.admits(four)

    def silent(seconds: float) -> None:
        """Let the second process have said nothing for so long."""
        with first.store.session() as session:
            statement = f"UPDATE processes SET beat = beat - {seconds} WHERE process = '{second.store.process}'"
            session.connection().exec_driver_sql(statement)

    assert first.glance().count == 3
    silent(1500)
    assert (first.look().count, first.glance().admits(four)) == (1, True)
    assert second.look().count == 3, "it was only slow"
    assert first.glance().count == 3
    silent(2500)
    first.look()
    assert second.look().count == 1, "it was silent for too long"
    first.withdraw()
    assert second.glance().count == 0
    first.store.close()
    second.store.close()


async def test_shared_slots_never_exceed_the_limit_and_everybody_gets_one(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "LEASE", 1000.0)  # a busy machine is no failure
    stores = [Store(place) for _ in range(2)]
    admissions = [SharedAdmission(Places(store, 3, 100)) for store in stores]
    running, most, ended = 0, 0, 0
    draw = random.Random(0)

    async def one(admission: SharedAdmission) -> None:
        nonlocal running, most, ended
        async with admission.slot():
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(0.03)
            finally:
                running -= 1
            ended += 1

    tasks = [asyncio.create_task(one(draw.choice(admissions))) for _ in range(40)]
    await asyncio.sleep(0.1)
    given_up = draw.sample(tasks, 10)
    for task in given_up:
        task.cancel()
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    cancelled = sum(isinstance(each, asyncio.CancelledError) for each in done)
    assert 1 <= most <= 3
    assert (ended + cancelled, running) == (40, 0)
    for admission in admissions:
        await admission.look()
        assert (admission.running, admission.waiting, admission.idle.is_set()) == (0, 0, True)
    await admissions[0].look()
    assert admissions[0].everywhere == (0, 0)
    full = SharedAdmission(Places(stores[0], 1, 0))
    async with full.slot():
        await asyncio.sleep(0.2)
        with pytest.raises(RequestError, match="1 searches run and 0 wait") as refused:
            await (other := SharedAdmission(Places(stores[1], 1, 0))).check()
        assert refused.value.status == 429
    for admission in (*admissions, full, other):
        await admission.close()
    for store in stores:
        store.close()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["enter", "leave"])), max_size=30))
def test_places_are_a_queue(tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, str]]) -> None:
    """Against a plain list: who entered and has not left, in order; the first two of it run."""
    file = tmp_path_factory.mktemp("places") / "store.db"
    at = {name: Places(Store(file), 2, 3) for name in "ab"}
    queue: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(placing, "LEASE", 1000.0)  # a busy machine is no failure
        for name, move in moves:
            mine = [number for holder, number in queue if holder == name]
            if move == "enter":
                number, standing = at[name].enter()
                assert (number is None) == (len(queue) == 5)
                if number is not None:
                    queue.append((name, number))
            elif mine:
                queue.remove((name, mine[0]))
                standing = at[name].leave(mine[0])
            else:
                standing = at[name].look()
            assert standing.count == len(queue)
            assert [standing.admits(number) for _, number in queue] == [place < 2 for place in range(len(queue))]
    for each in at.values():
        each.store.close()


@pytest.mark.heavy
def test_the_commands_take_a_url_and_never_show_its_password(server: str, tmp_path: Path) -> None:
    import psycopg

    name = "elsewhere"
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as plain:
        plain.execute(f"CREATE DATABASE {name}")
    url = server.replace("/postgres", f"/{name}").replace("roll@", "roll:open%3Asesame%2F%40@")
    config = tmp_path / "service.toml"
    config.write_text(f'store = "{url}"\n[routes.math]\nrules = ["temperature", "dora"]\n')
    absent = command.rollwise("audit", "list", "--store", url)
    assert (absent.returncode, "holds no store: give another --store" in absent.stderr) == (2, True)
    forced = command.rollwise("rollout", "advance", str(config), "math", "--force", "a test")
    shown = command.rollwise("rollout", "status", str(config), "--store", url)
    assert "temperature answers; dora shadow" in shown.stdout
    store = Store(url)
    store.record([kept := record()])
    runs = [
        *(absent, forced, shown, command.rollwise("rollout", "revert", str(config), "math")),
        command.rollwise("audit", "list", "--store", url),
        command.rollwise("audit", "show", kept.id, "--store", url),
        command.rollwise("audit", "verify", "--store", url),
        command.rollwise("audit", "export", str(tmp_path / "log.jsonl"), "--store", url),
        command.rollwise("audit", "list", "--store", url.replace("sesame", "mustard")),
    ]
    assert [run.returncode for run in runs] == [2, 0, 0, 0, 0, 0, 0, 0, 2], [run.stderr for run in runs]
    assert "password authentication failed" in runs[-1].stderr
    told = "".join(run.stdout + run.stderr for run in runs) + (tmp_path / "log.jsonl").read_text() + repr(store)
    assert "***" in told
    assert "sesame" not in told
    assert "mustard" not in told
    store.close()
