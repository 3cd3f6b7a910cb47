"""Benches by name in one store: an SQLite file by its URL, and a real PostgreSQL."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres import PASSWORD, postgres
from sqlalchemy import create_engine, text
from test_store import CELLS, DORA, PROBLEMS, REBASE, SPLIT, begin

from rollwise.bench.browse import Browser, Filter
from rollwise.bench.grid import Cell
from rollwise.bench.places import Shared, read_place
from rollwise.bench.run import read
from rollwise.bench.store import Outcome, Store
from rollwise.bench.tables import Base
from rollwise.core import Problem
from rollwise.errors import InputError


def plainly(url: str) -> Any:
    """A connection of the driver itself, without the store."""
    import psycopg  # of the extra postgres

    return psycopg.connect(url.replace("+psycopg", ""))


FEW: tuple[str, ...] = (
    "--world",
    "stories",
    "--strategies",
    "rebase,temperature",
    "--levels",
    "2",
    "--limit",
    "3",
    "--budgets",
    "4",
)
FEW += ("--policy", "demonstrator", "--reward", "dial(0.5,1)")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PGPASSWORD", PASSWORD)
        yield url


@pytest.fixture
def empty(server: str) -> str:
    """The URL of a store without tables."""
    with plainly(server) as plain:
        plain.execute("DROP SCHEMA IF EXISTS rollwise_bench CASCADE")
    return server


def measures(document: str) -> list[Any]:
    return [(row["strategy"], row["measures"], row["tokens"]) for row in json.loads(document)["rows"]]


def use_shared_store(url: str, folder: Path) -> None:
    alone = command.rollwise("bench", *FEW, "--out", str(folder / "alone"), "--json")
    assert alone.returncode == 0, alone.stderr
    for name in ("first", "second"):
        run = command.rollwise("bench", *FEW, "--store", url, "--name", name, "--out", str(folder / name), "--json")
        assert run.returncode == 0, run.stderr
        assert measures(run.stdout) == measures(alone.stdout)
    again = command.rollwise("bench", *FEW, "--store", url, "--name", "first", "--out", str(folder / "first"))
    assert again.returncode == 2
    assert "#first holds a bench: --resume goes on with it, --report reads it; or give another --name" in again.stderr
    on = command.rollwise("bench", "--resume", "--store", url, "--out", str(folder / "first"), "--json")
    assert measures(on.stdout) == measures(alone.stdout), "the last part of --out is the name"
    missing = command.rollwise("bench", "--report", "--store", url, "--name", "third", "--out", str(folder / "third"))
    assert "#third holds no bench; leave out --resume and --report to begin one" in missing.stderr
    assert "name one of: second, first" in missing.stderr
    looks = [Browser(place) for place in (Shared(url, "first"), folder / "alone")]
    names = ("strategy", "budget", "level", "questions", "measures")
    shown = [[[row[name] for name in names] for row in each.quick(by_level=True)] for each in looks]
    assert shown[0] == shown[1]
    assert len({each.pairs("rebase", "temperature", 4)[0]["both"] for each in looks}) == 1
    assert [each.page(Filter(right=True))[0] for each in looks] == [looks[1].page(Filter(right=True))[0]] * 2
    exported = command.rollwise("ui", f"{url}#first", "--export", "1", str(folder / "search.html"))
    assert "was run without its events" in exported.stderr
    out = folder / "page"
    page = command.rollwise("report", f"{url}#first", str(folder / "alone"), "--out", str(out), "--json")
    assert page.returncode == 0, page.stderr
    assert (out / "index.html").is_file()


def test_benches_share_a_file_by_its_url(tmp_path: Path) -> None:
    use_shared_store(f"sqlite:///{tmp_path / 'all.db'}", tmp_path)


@pytest.mark.heavy
def test_benches_share_a_server(empty: str, tmp_path: Path) -> None:
    use_shared_store(empty, tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--name", "first"], "--name is the name of a bench in a --store"),
        (["--store", "results.db"], "give a URL, like postgresql+psycopg://user@host/name"),
        (["--store", "mysql://me:sesame@host/db"], "an SQLite file or PostgreSQL, not mysql"),
        (["--store", "postgresql://me:sesame@host:port/db"], "the URL of the store cannot be read"),
        (["--store", "postgresql://me@host/db?password=sesame"], "would be shown; put it into PGPASSWORD"),
        (["--store", "postgresql://me:sesame@127.0.0.1:1/db"], "me:***@127.0.0.1:1/db cannot be used as a store"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_without_its_password(tmp_path: Path, words: list[str], says: str) -> None:
    run = command.rollwise("bench", *FEW, *words, "--out", str(tmp_path / "out"))
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert "sesame" not in run.stderr


def test_a_run_in_a_store_needs_its_name() -> None:
    assert read_place("runs/first") == Path("runs/first")
    assert read_place("sqlite:///all.db#first") == Shared("sqlite:///all.db", "first")
    with pytest.raises(
        InputError, match=r"me:\*\*\*@h/d: a store holds several benches; add the name of one: URL#NAME"
    ):
        read_place("postgresql://me:sesame@h/d")
    assert "sesame" not in str(Shared("postgresql://me:sesame@h/d", "x")) + repr(
        Shared("postgresql://me:sesame@h/d", "x")
    )


@pytest.mark.heavy
def test_results_are_read_as_they_were_written_on_a_server(empty: str) -> None:
    store = Store(empty)
    begun = begin(store)
    events = [{"event": "grown", "text": "2 × 3 = 6, \ud800 left: 4 6 \0", "reward": 0.5}]
    assert store.record(begun.id, DORA, "p1", SPLIT, events)
    assert not Store(empty).record(begun.id, DORA, "p1", Outcome())
    hostile = Outcome(error="ValueError: \0\ud800", answer="1\0")
    assert store.record(begun.id, REBASE, "p2", hostile)
    large = Outcome(usage={"policy": type(SPLIT.usage["policy"])(cached=2**40)})
    assert store.record(begun.id, REBASE, "p0", large)
    first, second, third = Store(empty).results(begun.id)
    assert (first.outcome, third.outcome) == (large, SPLIT)
    assert (second.outcome.error, second.outcome.answer) == ("ValueError: \ufffd\ufffd", "1\ufffd")
    assert store.events(begun.id, DORA, "p1") == events
    assert (store.cells(begun.id), store.problems(begun.id)) == (CELLS, PROBLEMS)
    infinite = store.begin({"x": float("inf")}, "y", "1", {}, [], name="infinite")
    assert store.named("infinite") == infinite


@pytest.mark.heavy
def test_the_tables_of_a_server_are_those_of_the_models_and_a_newer_version_is_refused(empty: str) -> None:
    Store(empty).close()
    engine = create_engine(empty, connect_args={"options": "-csearch_path=rollwise_bench"})
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '99'")
    engine.dispose()
    with pytest.raises(InputError, match="was written by another version of rollwise; use that version, or give"):
        Store(empty)


@pytest.mark.heavy
def test_version_5_of_a_server_is_upgraded_without_loss(empty: str) -> None:
    store = Store(empty)
    begun = begin(store)
    store.record(begun.id, DORA, "p1", SPLIT)
    store.close()
    with plainly(empty) as plain:
        plain.execute("ALTER TABLE rollwise_bench.experiments DROP COLUMN name")
        plain.execute("UPDATE rollwise_bench.alembic_version SET version_num = '5'")
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        assert pool.map(_results_of, [(empty, begun.id)] * 6) == [1] * 6
    assert [each.outcome for each in Store(empty).results(begun.id)] == [SPLIT]


def _results_of(asked: tuple[str, int]) -> int:
    return len(Store(asked[0]).results(asked[1]))


@pytest.mark.heavy
def test_a_password_in_the_url_works_and_never_shows(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    url = empty.replace("roll@", f"roll:{quote(PASSWORD, safe='')}@")
    out = tmp_path / "out"
    run = command.rollwise("bench", *FEW, "--store", url, "--name", "x", "--out", str(out))
    assert run.returncode == 0, run.stderr
    told = [run.stdout, run.stderr, *(file.read_text() for file in out.iterdir())]
    again = command.rollwise("bench", *FEW, "--store", url, "--name", "x", "--out", str(out))
    assert "roll:***@127.0.0.1" in again.stderr
    without = command.rollwise("bench", *FEW, "--store", empty, "--name", "x", "--out", str(out))
    assert "no password supplied" in without.stderr
    with plainly(url) as plain:
        stored = plain.execute("SELECT config::text || environment::text FROM rollwise_bench.experiments").fetchall()
    for each in (*told, again.stderr, without.stderr, str(stored)):
        assert "sesame" not in each


WRITERS, ROWS = 8, 100_000
MANY: dict[Cell, dict[str, Any]] = {
    Cell(label, budget, seed): {} for label in "abcd" for budget in (4, 16, 64, 256, 1024) for seed in range(10)
}
ASKED = [Problem(f"p{number}", "how many?", "24", "stories", number % 5) for number in range(ROWS // len(MANY))]


def _write(url: str, experiment: int, writer: int) -> None:
    """Write each result that this writer begins with, and every eighth that another one writes too."""
    store = Store(url)
    for turn, cell in enumerate(MANY):
        if turn % WRITERS == writer or (turn + 1) % WRITERS == writer:
            mine = ASKED if turn % WRITERS == writer else ASKED[::8]
            for problem in mine:
                store.record(experiment, cell, problem.id, Outcome(True, answer=f"{writer}", usage=SPLIT.usage))


@pytest.mark.heavy
def test_eight_writers_lose_and_double_nothing(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(empty)
    asked = ASKED[:50]
    monkeypatch.setattr(sys.modules[__name__], "ASKED", asked)
    grid = {"strategies": [*"abcd"], "budgets": [4], "seeds": 10}
    begun = store.begin(grid, "x", "1", MANY, asked, name="many")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(empty, begun.id, writer)) for writer in range(WRITERS)]
    store.close()
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert [each.exitcode for each in writers] == [0] * WRITERS
    found = store.results(begun.id)
    assert len(found) == len({(each.cell, each.problem) for each in found}) == len(MANY) * len(asked)
    assert all(each.outcome.usage == SPLIT.usage for each in found)


_FILL = (
    """INSERT INTO results (cell_id, problem_id, created, "right", covered, right_paths, finished, failed, unplaced,
    unread, cut, support, rounds, flops, seconds, votes)
    SELECT c.id, p.id, 'now', (7 * c.id + 13 * p.id) % 5 > 2, (7 * c.id + 13 * p.id) % 5 > 1, (7 * c.id + 13 * p.id)
    % 5, c.budget, 0, 0, 0, 0, 0.5, 4, 2e9, 0.5, '{}' FROM cells c, problems p""",
    """INSERT INTO usages (result_id, role, generated, prefilled, cached, calls, flops, seconds)
    SELECT r.id, x.role, 10 * (r.id % 7), 5, 0, 3, 1e9, 0.25
    FROM results r, (SELECT 'policy' AS role UNION SELECT 'reward') x""",
)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_summary_of_100000_rows_takes_less_than_two_seconds(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'all.db'}" if kind == "file" else request.getfixturevalue("empty")
    store = Store(url)
    grid = {"strategies": [*"abcd"], "budgets": [4, 16, 64, 256, 1024], "seeds": 10, "world": "stories"}
    begun = store.begin(grid, "x", "1", MANY, ASKED, name="many")
    where = {} if kind == "file" else {"connect_args": {"options": "-csearch_path=rollwise_bench"}}
    engine = create_engine(url, **where)
    with engine.begin() as connection:
        for statement in _FILL:
            connection.execute(text(statement))
        connection.execute(text("ANALYZE"))  # as the server does by itself within a minute
    clock = time.process_time if kind == "file" else time.perf_counter  # the database works in this process, or beside
    times = []
    for _ in range(5):
        started = clock()
        summary = read(Shared(url, "many"), "a").summary
        times.append(clock() - started)
    print(f"seconds for a summary of {summary.results} rows: {min(times):.2f}, load {os.getloadavg()[0]:.1f}")
    assert store.counts(begun.id) == (ROWS, 0)
    with engine.connect() as connection:  # the database's own means
        means = connection.execute(
            text(
                """SELECT c.label, c.budget, avg(CASE WHEN r."right" THEN 1.0 ELSE 0.0 END), avg(u.generated), count(*)
            FROM results r JOIN cells c ON c.id = r.cell_id JOIN usages u ON u.result_id = r.id AND u.role = 'reward'
            GROUP BY c.label, c.budget"""
            )
        ).fetchall()
    engine.dispose()
    found = {(row.strategy, row.budget): row for row in summary.rows}
    assert len(means) == len(found) == 20
    for label, budget, right, generated, count in means:
        row = found[label, budget]
        assert (row.results, row.questions) == (count, len(ASKED)) == (5000, 500)
        assert row.measures["accuracy"].mean == pytest.approx(float(right))
        assert row.tokens["reward"]["generated"] == pytest.approx(float(generated))
    assert len(summary.by_level) == 100
    assert min(times) < 2


@pytest.mark.heavy
def test_two_processes_resume_one_bench_and_share_its_store(empty: str, tmp_path: Path) -> None:
    """Ctrl-C stops a bench on a server, and two that go on at once end with every row once."""
    words = [sys.executable, "-m", "rollwise", "bench", *FEW, "--limit", "40", "--set", "reward=dial(0.4,1)"]
    words = [word for word in words if word not in ("--reward", "dial(0.5,1)")]
    shared = ["--store", empty, "--name", "cut"]
    ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(
        [*words, *shared, "--out", str(tmp_path / "cut")],
        stderr=subprocess.PIPE,
        text=True,
        **ready,  # type: ignore[call-overload]
    )
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        store = Store(empty)
        begun = store.named("cut")
        if begun is not None and store.counts(begun.id)[0]:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert f"go on with: rollwise bench --store {empty} --name cut --resume" in told
    on = [
        subprocess.Popen([*words[:4], *shared, "--resume", "--out", str(tmp_path / f"cut{number}")])
        for number in range(2)
    ]
    assert [each.wait(100) for each in on] == [0, 0]
    whole = command.rollwise(*words[3:], "--out", str(tmp_path / "whole"), "--json")
    summary = read(Shared(empty, "cut")).summary
    assert summary.results == summary.planned == 80
    assert [row.measures["pass_rate"].mean for row in summary.rows] == [
        row["measures"]["pass_rate"]["mean"] for row in json.loads(whole.stdout)["rows"]
    ]
