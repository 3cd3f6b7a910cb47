"""The store on real files: results are read as written, are written once, and are written completely or not at all."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rollwise.bench.grid import Cell
from rollwise.bench.store import Experiment, Outcome, Store
from rollwise.bench.stored_columns import stored_columns
from rollwise.bench.summary import summarise, summarise_columns
from rollwise.core import Problem, Usage
from rollwise.errors import InputError

CELLS = {Cell("rebase", 8, 0): {"strategy": "rebase"}, Cell("dora", 8, 0): {"strategy": "dora"}}
REBASE, DORA = CELLS
PROBLEMS = [Problem(f"p{index}", f"question {index}", "24", "countdown", index % 2) for index in range(3)]
USAGE = {"policy": Usage(5, 6, 7, 8), "reward": Usage(0, 1, 2, 3)}
SOLVED = Outcome(True, True, 3, 7, 1, 2, 0.5, "2 × 3", 4, 1.5e9, 0.25, None, USAGE)
SPLIT = replace(SOLVED, flops_of={"policy": 1e9, "reward": 5e8}, seconds_of={"policy": 0.2, "reward": 0.125})


def begin(store: Store) -> Experiment:
    return store.begin({"seeds": 1}, "abc", "0.1.0", CELLS, PROBLEMS, {"mine.py": "12"}, {"cores": 2})


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    assert store.latest() is None
    begun = begin(store)
    assert store.latest() == begun
    assert (begun.config, begun.sources, begun.environment) == ({"seeds": 1}, {"mine.py": "12"}, {"cores": 2})
    events = [{"event": "grown", "path": "0", "text": "2 × 3 = 6, left: 4 6"}]
    assert store.record(begun.id, DORA, "p1", SPLIT, events)
    assert store.record(begun.id, REBASE, "p2", Outcome(error="ValueError: no"))
    store.close()
    again = Store(tmp_path / "results.db")
    assert again.held(begun.id) == {(DORA, "p1"), (REBASE, "p2")}
    first, second = again.results(begun.id)
    assert (first.cell, first.problem, first.level, first.outcome) == (REBASE, "p2", 0, Outcome(error="ValueError: no"))
    assert (second.cell, second.problem, second.level, second.outcome) == (DORA, "p1", 1, SPLIT)
    assert again.events(begun.id, DORA, "p1") == events
    assert again.events(begun.id, REBASE, "p2") is None
    assert again.problems(begun.id) == PROBLEMS
    assert again.cells(begun.id) == CELLS


def test_a_result_is_written_once(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "results.db"), Store(tmp_path / "results.db")
    begun = begin(store)
    assert store.record(begun.id, DORA, "p0", SOLVED)
    assert not other.record(begun.id, DORA, "p0", Outcome())
    assert [result.outcome for result in other.results(begun.id)] == [SOLVED]


def test_the_order_of_results_does_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    pairs = [(cell, problem.id) for cell in CELLS for problem in PROBLEMS]
    orders = []
    for name, order in (("a", pairs), ("b", pairs[::-1])):
        store = Store(tmp_path / name)
        begun = begin(store)
        for cell, problem in order:
            store.record(begun.id, cell, problem, SOLVED)
        orders.append([(result.cell, result.problem) for result in store.results(begun.id)])
    assert orders == [pairs, pairs]


def test_experiments_in_a_file_are_separate(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    first, second = begin(store), begin(store)
    store.record(first.id, DORA, "p0", SOLVED)
    assert store.latest() == second
    assert store.held(second.id) == set()
    assert store.results(second.id) == []


def test_a_result_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    begun = begin(store)
    with pytest.raises(Exception, match="JSON serializable"):
        store.record(begun.id, DORA, "p0", SOLVED, [{"event": object()}])
    assert store.held(begun.id) == set()
    with sqlite3.connect(tmp_path / "results.db") as plain:
        assert plain.execute("select count(*) from usages").fetchone() == (0,)


def test_written_results_survive_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_store import *\n"
        "store = Store(Path(sys.argv[1])); begun = begin(store)\n"
        "store.record(begun.id, DORA, 'p0', SOLVED); os._exit(9)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "results.db"), str(Path(__file__).parent)])
    assert run.returncode == 9
    assert Store(tmp_path / "results.db").held(1) == {(DORA, "p0")}


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    begun = begin(store)
    with sqlite3.connect(tmp_path / "results.db") as writer:
        assert writer.execute("pragma journal_mode").fetchone() == ("wal",)
        writer.execute("begin immediate")
        assert store.results(begun.id) == []


def test_many_threads_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    gate = threading.Barrier(8)

    def start_experiment(name: str) -> int:
        gate.wait()
        return begin(Store(tmp_path / name)).id

    with ThreadPoolExecutor(8) as pool:
        for turn in range(5):
            assert sorted(pool.map(start_experiment, [f"{turn}.db"] * 8)) == list(range(1, 9))


def test_files_that_cannot_serve_as_a_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, it is a text of some length")
    with pytest.raises(InputError, match="cannot be used as a store"):
        Store(tmp_path / "text.db")
    with pytest.raises(InputError, match="cannot be used as a store"):
        Store(tmp_path / "nowhere" / "results.db")
    Store(tmp_path / "newer.db").close()
    with sqlite3.connect(tmp_path / "newer.db") as plain:
        plain.execute("update alembic_version set version_num = '99'")
    with sqlite3.connect(tmp_path / "oldest.db") as plain:
        plain.execute("pragma user_version = 2")
    for name in ("newer.db", "oldest.db"):
        with pytest.raises(InputError, match="another version"):
            Store(tmp_path / name)


def test_without_its_package_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from rollwise.cli import main; sys.argv[1:] = ['bench']; main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert run.returncode == 2
    assert run.stderr == "rollwise: the store of runs needs an extra: pip install 'rollwise[bench]'\n"


def test_a_summary_of_the_columns_is_that_of_the_results(tmp_path: Path) -> None:
    """With missing trials, errors, votes that some lack, unknown FLOPs, and another bench in the same store."""
    store = Store(tmp_path / "results.db")
    cells: dict[Cell, dict[str, str]] = {
        Cell(label, budget, seed): {} for budget in (6, 7) for seed in (0, 1) for label in ("dora", "rebase")
    }
    asked = [*PROBLEMS, Problem("p9", "without a level", None, None, None)]
    other = store.begin({}, "x", "1", cells, asked, name="other")
    begun = store.begin({}, "y", "1", cells, asked, name="this")
    draw = random.Random(0)
    for experiment in (other, begun):
        for cell in cells:
            for problem in asked:
                outcome = draw.choice(
                    [
                        replace(
                            SPLIT, right=draw.random() < 0.5, right_paths=draw.randrange(6), rounds=draw.randrange(9)
                        ),
                        replace(SOLVED, flops=draw.choice([0.0, 3e9]), votes={"majority": draw.random() < 0.5}),
                        replace(SPLIT, flops_of={"policy": 2e9}, cut=2, unread=1),
                        replace(SPLIT, usage={"policy": Usage(9, 1, 1, 1), "embedder": Usage(0, 0, 3, 0)}),
                        Outcome(error=draw.choice(["ValueError: no", "EngineError: gone"]), flops=1.0),
                        Outcome(flops=draw.choice([0.0, 1.0])),
                        None,
                    ]
                )
                if outcome is not None:
                    store.record(experiment.id, cell, problem.id, outcome)
    columns = stored_columns(store, begun.id)
    assert summarise_columns(columns, "rebase") == summarise(store.results(begun.id), "rebase")
    assert {row.flops is None for row in summarise_columns(columns, "rebase").by_level} == {True, False}
    empty = store.begin({}, "z", "1", cells, asked, name="empty")
    assert summarise_columns(stored_columns(store, empty.id), "rebase") == summarise([], "rebase")
