"""Stores of older versions, made with those versions' own tables, are upgraded in place and lose nothing."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Store
from rollwise.bench.tables import Base
from rollwise.core import Problem, Usage

VERSION_3 = """
CREATE TABLE experiments (
    id INTEGER NOT NULL,
    created VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    config JSON NOT NULL,
    config_hash VARCHAR NOT NULL,
    sources JSON NOT NULL,
    environment JSON NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_experiments_config_hash ON experiments (config_hash);
CREATE TABLE cells (
    id INTEGER NOT NULL,
    experiment_id INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    budget INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    config JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (experiment_id, label, budget, seed),
    FOREIGN KEY(experiment_id) REFERENCES experiments (id)
);
CREATE TABLE problems (
    id INTEGER NOT NULL,
    experiment_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    question VARCHAR NOT NULL,
    answer VARCHAR,
    world VARCHAR,
    level INTEGER,
    PRIMARY KEY (id),
    UNIQUE (experiment_id, name),
    FOREIGN KEY(experiment_id) REFERENCES experiments (id)
);
CREATE TABLE results (
    id INTEGER NOT NULL,
    cell_id INTEGER NOT NULL,
    problem_id INTEGER NOT NULL,
    created VARCHAR NOT NULL,
    "right" BOOLEAN NOT NULL,
    covered BOOLEAN NOT NULL,
    right_paths INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unplaced INTEGER NOT NULL,
    support DOUBLE NOT NULL,
    answer VARCHAR,
    rounds INTEGER NOT NULL,
    flops DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL,
    error VARCHAR,
    votes JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (cell_id, problem_id),
    FOREIGN KEY(cell_id) REFERENCES cells (id),
    FOREIGN KEY(problem_id) REFERENCES problems (id)
);
CREATE INDEX ix_results_problem_id ON results (problem_id);
CREATE TABLE usages (
    result_id INTEGER NOT NULL,
    role VARCHAR NOT NULL,
    generated INTEGER NOT NULL,
    prefilled INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (result_id, role),
    FOREIGN KEY(result_id) REFERENCES results (id)
);
CREATE TABLE events (
    result_id INTEGER NOT NULL,
    events JSON NOT NULL,
    PRIMARY KEY (result_id),
    FOREIGN KEY(result_id) REFERENCES results (id)
);
PRAGMA user_version = 3;
"""
"""The tables as rollwise 0.1.0 made them."""
VERSION_4 = VERSION_3.replace(
    "unplaced INTEGER", "unplaced INTEGER NOT NULL, unread INTEGER NOT NULL, cut INTEGER"
).replace("user_version = 3", "user_version = 4")
CELL = Cell("rebase", 8, 0)
EVENTS = [{"event": "grown", "path": "0", "text": "2 × 3 = 6, left: 4 6"}]


def write_old(file: Path, version: int) -> None:
    """A store of an older version with two results, the second one an error."""
    counts = {3: "", 4: "5, 2,"}[version]
    with sqlite3.connect(file) as plain:
        plain.executescript({3: VERSION_3, 4: VERSION_4}[version])
        plain.execute("PRAGMA journal_mode = WAL")
        row = ("2026-01-01", "0.1.0", '{"seeds": 1}', "abc", '{"mine.py": "12"}', '{"cores": 2}')
        plain.execute("INSERT INTO experiments VALUES (1, ?, ?, ?, ?, ?, ?)", row)
        plain.execute("""INSERT INTO cells VALUES (1, 1, 'rebase', 8, 0, '{"strategy": "rebase"}')""")
        for number in (1, 2):
            plain.execute(f"INSERT INTO problems VALUES ({number}, 1, 'p{number}', 'how many?', '24', 'countdown', 3)")
        head, tail = "INSERT INTO results VALUES", "4, 1.5e9, 0.25, NULL, '{\"majority\": true}')"
        plain.execute(f"{head} (1, 1, 1, '2026-01-01', 1, 1, 3, 7, 1, 2, {counts} 0.5, '2 × 3', {tail}")
        failed = f"0, 0, 0, 0, 0, 0, {'0, 0,' if counts else ''} 0.0, NULL, 0, 0.0, 0.0, 'ValueError: no', '{{}}')"
        plain.execute(f"{head} (2, 1, 2, '2026-01-01', {failed}")
        plain.execute("INSERT INTO usages VALUES (1, 'policy', 5, 6, 7, 8)")
        plain.execute("INSERT INTO events VALUES (1, ?)", (json.dumps(EVENTS),))
    plain.close()


def version_in(file: Path) -> tuple[str, int]:
    with sqlite3.connect(file) as plain:
        (ours,), (theirs,) = (
            plain.execute(text).fetchone()
            for text in ("SELECT version_num FROM alembic_version", "PRAGMA user_version")
        )
    plain.close()
    return ours, theirs


@pytest.mark.parametrize("version", [3, 4])
def test_an_older_store_is_upgraded_without_loss(tmp_path: Path, version: int) -> None:
    write_old(tmp_path / "results.db", version)
    unread, cut = {3: (0, 0), 4: (5, 2)}[version]
    solved = Outcome(
        *(True, True, 3, 7, 1, 2, 0.5, "2 × 3", 4, 1.5e9, 0.25, None),
        usage={"policy": Usage(5, 6, 7, 8)},
        votes={"majority": True},
        unread=unread,
        cut=cut,
    )
    for _ in range(2):  # the second time nothing is left to do
        store = Store(tmp_path / "results.db")
        begun = store.latest()
        assert begun is not None
        assert (begun.version, begun.config, begun.sources) == ("0.1.0", {"seeds": 1}, {"mine.py": "12"})
        assert [result.outcome for result in store.results(1)] == [solved, Outcome(error="ValueError: no")]
        assert store.events(1, CELL, "p1") == EVENTS
        assert store.problems(1)[0] == Problem("p1", "how many?", "24", "countdown", 3)
        store.close()
    assert version_in(tmp_path / "results.db") == ("6", 5)


def test_an_upgraded_store_takes_new_results(tmp_path: Path) -> None:
    write_old(tmp_path / "results.db", 3)
    with sqlite3.connect(tmp_path / "results.db") as plain:
        plain.execute("DELETE FROM results WHERE id = 2")
    store = Store(tmp_path / "results.db")
    split = Outcome(True, usage={"policy": Usage(1)}, flops_of={"policy": 2.0}, seconds_of={"policy": 0.5}, unread=3)
    assert store.record(1, CELL, "p2", split)
    assert store.results(1)[1].outcome == split


@pytest.mark.parametrize("version", [None, 3, 4])
def test_the_tables_are_those_of_the_models(tmp_path: Path, version: int | None) -> None:
    if version is not None:
        write_old(tmp_path / "results.db", version)
    Store(tmp_path / "results.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'results.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_an_upgrade_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_old(tmp_path / "results.db", 3)

    def break_off(connection: object, number: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rollwise.database.upgrading._mark_for_older_versions", break_off)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path / "results.db")
    with sqlite3.connect(tmp_path / "results.db") as plain:
        names = {name for _, name, *_ in plain.execute("PRAGMA table_info(results)")}
        tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master")}
    assert "unread" not in names
    assert "alembic_version" not in tables
    assert Store(tmp_path / "results.db").counts(1) == (2, 1)


def test_many_may_open_an_older_store_at_once(tmp_path: Path) -> None:
    for turn in range(3):
        write_old(file := tmp_path / f"{turn}.db", 3)
        gate = threading.Barrier(6)

        def count(file: Path = file, gate: threading.Barrier = gate) -> tuple[int, int]:
            gate.wait()
            return Store(file).counts(1)

        with ThreadPoolExecutor(6) as pool:
            assert [each.result() for each in [pool.submit(count) for _ in range(6)]] == [(2, 1)] * 6
