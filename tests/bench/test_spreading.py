"""A bench on a local Ray cluster of four nodes finds the rows of one machine, whatever dies on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command
import pytest
from four_nodes import four_nodes
from served import emulated
from test_bench import results

from rollwise.bench.finding import begun
from rollwise.bench.grid import Grid
from rollwise.bench.run import begin, read
from rollwise.bench.store import Outcome
from rollwise.errors import InputError
from rollwise.search.runner import run_to_end

FEW: dict[str, Any] = {"world": "stories", "strategies": "rebase,dora:directions=text", "levels": [2, 3]}
FEW |= {"search": {"policy": "demonstrator", "reward": "dial(0.5,1)"}, "budgets": [4], "limit": 12, "events": True}
ON_RAY = {"engine": "ray", "ray_workers": 4, "in_flight": 2}
WORDS = (
    *("--world", "stories", "--strategies", "rebase", "--levels", "2", "--limit", "200", "--budgets", "4"),
    *("--policy", "demonstrator", "--reward", "dial(0.5,1)", "--in-flight", "1"),
)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"engine": "ray", "jobs": 2}, "with --engine ray give --ray-workers"),
        ({"ray_address": "auto"}, "--ray-address is for --engine ray"),
        ({"engine": "spark"}, "engine"),
    ],
)
def test_options_of_another_engine_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Grid.of(**FEW | fields)


def test_without_its_package_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from rollwise.cli import main; sys.argv[1:] = sys.argv[1:]; main()"
    words = [*WORDS, "--limit", "1", "--engine", "ray", "--out", str(tmp_path / "out")]
    run = subprocess.run([sys.executable, "-c", code, "bench", *words], capture_output=True, text=True)
    assert run.returncode == 2
    assert "work on a Ray cluster needs an extra: pip install 'rollwise[ray]'" in run.stderr


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with four_nodes() as cluster:
        yield cluster


@pytest.mark.heavy
def test_rows_are_those_of_one_process_and_a_killed_node_costs_none(nodes: Any, tmp_path: Path) -> None:
    from rollwise.bench.spreading import run_on_cluster

    run_to_end(begin(tmp_path / "one", FEW).run())
    run_on_cluster(begin(tmp_path / "four", FEW | ON_RAY))
    assert results(tmp_path / "four") == results(tmp_path / "one")
    bench, seen = begin(tmp_path / "killed", FEW | ON_RAY), 0

    def kill_a_node(outcome: Outcome) -> None:
        nonlocal seen
        seen += 1
        if seen == 10:
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

    run_on_cluster(bench, kill_a_node)
    assert seen == bench.size == 48
    assert results(tmp_path / "killed") == results(tmp_path / "one")


@pytest.mark.heavy
def test_workers_that_would_search_otherwise_are_refused(nodes: Any, tmp_path: Path) -> None:
    from rollwise.bench.spreading import run_on_cluster

    mine = tmp_path / "mine.py"
    mine.write_text("def even(candidates, width):\n    return [1] * width\n")
    bench = begin(tmp_path / "out", FEW | ON_RAY | {"strategies": [f"{mine}:even"]})
    mine.write_text("def even(candidates, width):\n    return [1] * width  # changed\n")
    with pytest.raises(InputError, match=r"cannot begin: it would search otherwise: \S*mine\.py was"):
        run_on_cluster(bench)


@pytest.mark.heavy
def test_ctrl_c_stops_cleanly_and_resume_ends_the_same(tmp_path: Path) -> None:
    out = tmp_path / "cut"
    words = [sys.executable, "-m", "rollwise", "bench", *WORDS, "--engine", "ray", "--ray-workers", "2"]
    ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen([*words, "--out", str(out)], stderr=subprocess.PIPE, text=True, **ready)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while not (begun(out) and results(out)) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.count("\n") <= 3, told
    assert f"go on with: rollwise bench --out {out} --resume" in told
    assert 0 < read(out).summary.results < 200
    on = subprocess.run([*words[:4], "--resume", "--out", str(out)], capture_output=True, text=True)
    assert on.returncode == 0, on.stderr
    assert command.rollwise("bench", *WORDS, "--out", str(tmp_path / "whole")).returncode == 0
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.heavy
def test_four_workers_wait_for_a_server_four_times_as_fast(nodes: Any, tmp_path: Path) -> None:
    """With a server that takes 0.4 s for a step, and one search at a time in each worker."""
    from rollwise.bench.spreading import run_on_cluster

    while len(nodes.worker_nodes) < 4:  # a test before this one killed one
        nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(f'{{"question": "What makes 24? ({n})", "answer": "24"}}\n' for n in range(24)))
    times = {}
    with emulated("vllm", seconds=0.4) as server:
        given = {"data": str(questions), "strategies": "temperature", "budgets": [2], "engine": "ray", "in_flight": 1}
        given |= {"search": {"policy": server.url}}
        for workers in (1, 4):
            first: list[float] = []
            bench = begin(tmp_path / str(workers), given | {"ray_workers": workers})
            run_on_cluster(bench, lambda outcome, first=first: first.append(time.monotonic()))  # type: ignore[misc]
            assert bench.store.counts(1) == (24, 0)
            times[workers] = (len(first) - workers) / (first[-1] - first[workers - 1])
    print(f"searches a second: {times}")
    assert times[4] > 0.8 * 4 * times[1]
