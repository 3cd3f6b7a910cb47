"""Your own questions asked of a server on loopback, by the commands: their grades, and what a killed bench keeps."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from served import QUESTION, Emulator, emulated
from typer.testing import CliRunner, Result

from rollwise.cli import build_app

VALUES = {"2 × 3 × 4": 24, "(2 + 3) × 4": 20}
"""The answers that the served policy knows, with their values."""


def cli(*words: Any) -> Result:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def written(folder: Path, *golds: str, name: str = "q.jsonl") -> Path:
    rows = [{"question": f"{QUESTION} ({place})", "gold": gold, "level": 1} for place, gold in enumerate(golds)]
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def asked(server: Emulator, file: Path, out: Path, *more: Any) -> list[Any]:
    fixed = ["--set", f"policy={server.url}", "--set", "directions=text", "--strategies", "rebase,dora"]
    return ["bench", "--data", file, *fixed, "--budgets", "4", "--out", out, *more]


def rows_of(out: Path) -> list[tuple[Any, ...]]:
    """The stored results without their times."""
    wanted = (
        "select cells.label, problems.name, right, covered, right_paths, finished, failed, results.answer, error "
        "from results join cells on cell_id = cells.id join problems on problem_id = problems.id order by 1, 2"
    )
    with sqlite3.connect(out / "results.db") as connection:
        return connection.execute(wanted).fetchall()


def test_a_bench_asks_the_questions_of_a_file(served: Emulator, tmp_path: Path) -> None:
    file, out = written(tmp_path, "20", "25", "\\frac{48}{2}"), tmp_path / "out"
    run = cli(*asked(served, file, out, "--json"))
    assert run.exit_code == 0, run.output
    assert "3 of 3 rows" in run.stderr
    assert "answer = 'gold'" in run.stderr
    found = json.loads(run.stdout)
    assert found["planned"] == found["results"] == 6
    for _, name, right, *_, answer, _ in rows_of(out):
        assert right == (VALUES[answer] == (20, 25, 24)[int(name) - 1])
    assert found["experiment"]["world"] == "text"
    assert "instruct" not in json.dumps(found)
    asks = [json.dumps(body) for body in served.bodies("/tokenize")]
    assert any("within" in each and "(2)" in each for each in asks), "the model is told how to answer"
    file.write_text(file.read_text().replace("25", "26"))
    refused = cli("bench", "--out", out, "--resume")
    assert f"data {file} was" in str(refused.exception)
    file.unlink()
    assert cli("bench", "--out", out, "--report", "--json").exit_code == 0


def test_a_row_is_asked(served: Emulator, tmp_path: Path) -> None:
    file = written(tmp_path, "20", "25")
    for row, right in (("1", True), ("2", False)):
        run = cli("solve", "--data", file, "--row", row, "--policy", served.url, "--budget", 4, "--json")
        assert run.exit_code == 0, run.output
        found = json.loads(run.stdout)
        assert found["question"] == f"{QUESTION} ({int(row) - 1})"
        assert found["right"] is (right and VALUES[found["answer"]] == 20)


def test_a_grader_of_your_own_grades_a_bench(served: Emulator, tmp_path: Path) -> None:
    grader = tmp_path / "mine.py"
    body = "def judge(answer, gold):\n    if gold == '25': raise ValueError(answer)\n    return '+' in answer\n"
    grader.write_text(body)
    out = tmp_path / "out"
    run = cli(*asked(served, written(tmp_path, "24", "25"), out, "--grader", f"{grader}:judge", "--json"))
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert not found["errors"]
    assert found["experiment"][f"grader {grader}:judge"]
    assert {(name, right) for _, name, right, *_ in rows_of(out) if name == "2"} == {("2", 0)}
    grader.write_text(body + "# edited\n")
    assert f"grader {grader}:judge was" in str(cli("bench", "--out", out, "--resume").exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["solve", "1 + 1?", "--data", "{file}"], "leave out --data or the question"),
        (["solve", "--row", "1"], "--row names a row of --data"),
        (["solve", "--data", "{file}", "--world", "countdown"], "leave --world countdown out"),
        (["solve", "--data", "{file}", "--row", "9", "--policy", "http://127.0.0.1:9"], "has no row '9'"),
        (["solve", "--data", "{file}"], "the world text has no models of its own"),
        (["solve", "--answer-field", "gold"], "--answer-field names a field of --data"),
        (["solve", "--grader", "choice"], "the world countdown checks its answers itself"),
        (["bench", "--data", "{file}", "--world", "stories"], "leave --world stories out"),
        (["bench", "--data", "{file}", "--levels", "3"], "with --data take --where level=5"),
        (["bench", "--data", "{file}"], "give --set policy=URL"),
        (
            ["bench", "--data", "{file}", "--set", "policy=x", "--grader", "choice"],
            "line 1: the gold “24” is not a letter",
        ),
        (["bench", "--data", "{file}", "--where", "level"], "--where takes field=value"),
        (["bench", "--where", "level=5"], "--where chooses rows of --data"),
        (["bench", "--data", "{file}", "--strategies", "dora:grader=text"], "grader is the grid's to set"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, words: list[str], told: str) -> None:
    file = written(tmp_path, "24")
    run = cli(
        *(word.format(file=file) for word in words), *(["--out", tmp_path / "out"] if words[0] == "bench" else [])
    )
    assert told in str(run.exception)


def kill_and_resume(folder: Path, questions: int, kills: int) -> None:
    """Kill a bench at random moments, go on each time, and compare its rows with those of a bench left alone."""
    file = written(folder, *["20", "25"] * (questions // 2))
    draw = random.Random(5)
    with emulated("vllm", seconds=0.02) as server:
        words = asked(server, file, folder / "killed", "--in-flight", "2")
        command = [sys.executable, "-m", "rollwise", *map(str, words)]
        stored = 0
        for kill in range(kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 600
            goal = stored + draw.randint(0, max(1, questions * 2 // (kills + 1)))
            while time.monotonic() < deadline and process.poll() is None:
                if (folder / "killed" / "results.db").is_file() and len(_stored(folder / "killed")) > goal:
                    break
                time.sleep(0.02)
            time.sleep(draw.random() * 0.1)
            assert process.poll() is None, f"the bench ended before kill {kill}"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            stored = len(rows_of(folder / "killed"))
            command = [sys.executable, "-m", "rollwise", "bench", "--out", str(folder / "killed"), "--resume"]
        assert subprocess.run(command, capture_output=True).returncode == 0
        assert cli(*asked(server, file, folder / "whole")).exit_code == 0
    assert rows_of(folder / "killed") == rows_of(folder / "whole")
    assert len(rows_of(folder / "whole")) == questions * 2


def _stored(out: Path) -> list[Any]:
    try:
        return rows_of(out)
    except sqlite3.OperationalError:  # its tables are being made
        return []


def test_a_killed_bench_goes_on_with_the_same_rows(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, questions=10, kills=2)


@pytest.mark.heavy
def test_a_bench_killed_ten_times_ends_with_the_same_rows(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, questions=120, kills=10)
