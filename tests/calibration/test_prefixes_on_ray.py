"""Prefixes completed on a local Ray cluster, by calibrate and by a pilot, are those of one process."""

from __future__ import annotations

import json
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
from test_question_prefixes import calibrated, cli, completer, stored, written

from rollwise.bench import read_run
from rollwise.calibration import Plan, collect_scored_prefixes
from rollwise.search import Config, completers

ON_RAY = ("--engine", "ray", "--ray-workers", 2)
GOLDS = ["24", "20", "7", "20", "24", "24", "20", "7"]


@pytest.mark.parametrize("name", ["calibrate", "pilot"])
def test_a_cluster_without_its_engine_is_refused(name: str, tmp_path: Path) -> None:
    file = written(tmp_path, "24", "20")
    given = [file] if name == "pilot" else ["--data", file]
    words = [name, *given, "--policy", "http://127.0.0.1:9", "--ray-workers", "2", "--out", tmp_path / "out"]
    assert "--ray-workers is for --engine ray" in str(cli(*words).exception)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with four_nodes() as cluster:
        yield cluster


@pytest.mark.heavy
def test_the_prefixes_are_those_of_one_process_and_a_killed_node_costs_none(nodes: Any, tmp_path: Path) -> None:
    with emulated("vllm") as server:
        file = written(tmp_path, *GOLDS)
        one, four = tmp_path / "one.jsonl", tmp_path / "four.jsonl"
        assert cli(*calibrated(server, file, "--prefixes", one)).exit_code == 0
        run = cli(*calibrated(server, file, "--prefixes", four, *ON_RAY))
        assert run.exit_code == 0, (run.output, run.exception)
        assert stored(four) == stored(one)
        assert (
            json.loads(four.read_text().splitlines()[0])["source"]
            == json.loads(one.read_text().splitlines()[0])["source"]
        )
    with emulated("vllm", seconds=0.2) as server:
        config = Config.of(policy=server.url, grader="math", world="text", strategy="rebase", max_steps=30)
        mine = completer(server, Plan(paths=4, points=1, completions=3))
        file = tmp_path / "q.jsonl"
        problems = [problem for problem, _ in _problems(one)]
        killed = tmp_path / "killed.jsonl"

        def progress(done: int, total: int) -> None:
            if done == 2:
                nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

        from rollwise.cluster import Cluster

        with completers(mine, config, Cluster(workers=4)) as do:
            collect_scored_prefixes(mine, problems, {}, killed, progress, do)
        assert not mine.unasked
        assert set(stored(killed)) == set(stored(one))


def _problems(file: Path) -> list[Any]:
    from rollwise.calibration import load_prefixes

    return list(load_prefixes(file))


@pytest.mark.heavy
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with emulated("vllm", seconds=0.1) as server:
        file, prefixes = written(tmp_path, *GOLDS * 4), tmp_path / "p.jsonl"
        words = [*map(str, calibrated(server, file, "--prefixes", prefixes, *ON_RAY))]
        ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
        process = subprocess.Popen(
            [sys.executable, "-m", "rollwise", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            **ready,  # type: ignore[call-overload]
        )
        deadline = time.monotonic() + 120
        while not (prefixes.exists() and prefixes.read_bytes().count(b"\n") > 4) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert "finished questions are kept" in told
        kept = len(stored(prefixes))
        assert 0 < kept < 32
        on = command.rollwise(*words)
        assert on.returncode == 0, on.stderr
        whole = tmp_path / "whole.jsonl"
        assert cli(*calibrated(server, file, "--prefixes", whole)).exit_code == 0
        assert stored(prefixes) == stored(whole)


def searches(out: Path) -> dict[str, Any]:
    """What every search of a pilot came to, without how long it took."""
    return {
        str(folder.parent.relative_to(out)): [
            (each.cell, each.problem, each.outcome.right, each.outcome.answer, each.outcome.usage)
            for each in read_run(folder.parent).results
        ]
        for folder in sorted(out.glob("*/*/results.db"))
    }


@pytest.mark.heavy
def test_a_pilot_finds_the_same_on_a_cluster(nodes: Any, tmp_path: Path) -> None:
    given = ["pilot", "--world", "stories", "--policy", "demonstrator", "--directions", "state", "--levels", "3,4"]
    given += ["--limit", "12", "--budget", "4", "--tokens", "9000000", "--reward", "worth(0.2,1)"]
    assert cli(*given, "--out", tmp_path / "one").exit_code == 0
    run = cli(*given, "--out", tmp_path / "four", *ON_RAY)
    assert run.exit_code == 0, (run.output, run.exception)
    assert searches(tmp_path / "four") == searches(tmp_path / "one")
    assert stored(tmp_path / "four" / "prefixes.jsonl") == stored(tmp_path / "one" / "prefixes.jsonl")
