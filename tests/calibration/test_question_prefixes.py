"""Prefixes of your own questions, completed by a server that knows two solutions of a question, and the cost of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path as FilePath
from typing import Any

import pytest
from served import QUESTION, TEXTS, WAYS, Emulator, emulated
from typer.testing import CliRunner, Result

from rollwise.answers import find_grader
from rollwise.calibration import IN_FLIGHT, Completer, Plan, Prefix, in_process, load_prefixes, measure
from rollwise.cli import build_app
from rollwise.core import Problem, Sampling
from rollwise.engines.http import HttpPolicy
from rollwise.registry import find_world
from rollwise.rewards import Confidence

VALUES = (24, 20)
"""What the served policy's two solutions come to."""


def cli(*words: Any) -> Result:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def written(folder: FilePath, *golds: str) -> FilePath:
    file = folder / "q.jsonl"
    rows = [{"question": f"{QUESTION} ({place})", "gold": gold} for place, gold in enumerate(golds)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def calibrated(server: Emulator, file: FilePath, *more: Any) -> list[Any]:
    few = ["--paths", 4, "--points", 1, "--completions", 3]
    return ["calibrate", "--data", file, "--policy", server.url, *few, "--out", file.parent / "belief.json", *more]


def stored(file: FilePath) -> dict[str, list[Prefix]]:
    return {problem.id: prefixes for problem, prefixes in load_prefixes(file)}


def completer(server: Emulator, plan: Plan, **fields: Any) -> Completer:
    policy = HttpPolicy(server.url)
    return Completer(policy, Confidence(), find_grader("math"), Sampling(**fields), 30, plan)


def test_a_prefix_is_worth_what_its_way_comes_to(served: Emulator, tmp_path: FilePath) -> None:
    golds = ["24", "20", "7", "20", "24"]
    run = cli(*calibrated(served, written(tmp_path, *golds)))
    assert run.exit_code == 0, (run.output, run.exception)
    assert "5 of 5 rows" in run.stderr
    assert "will take about" in run.stderr
    found = stored(tmp_path / "belief.prefixes.jsonl")
    assert set(found) == {"1", "2", "3", "4", "5"}
    for place, gold in enumerate(golds):
        prefixes = found[str(place + 1)]
        for prefix in prefixes:
            way = next(way for way, text in enumerate(TEXTS) if text.startswith("".join(prefix.steps)))
            right = VALUES[way] == int(gold)
            assert prefix.completions == (1 if prefix.ended else 3)
            assert prefix.right == right * prefix.completions
            assert prefix.ended == (len(prefix.steps) == len(WAYS[way]))
            assert (prefix.state, prefix.valid, prefix.reachable) == (None, None, None)
            assert prefix.reward is not None
            assert 0 < prefix.reward < 1
        assert sum(prefix.size for prefix in prefixes if prefix.ended) == 4
    belief = json.loads((tmp_path / "belief.json").read_text())
    assert (belief["source"]["world"], belief["source"]["policy"]) == ("text", served.url)
    assert (belief["source"]["reward"], belief["source"]["problems"]) == ("confidence", 5)
    asked = len(served.bodies("/v1/completions"))
    again = cli(*calibrated(served, tmp_path / "q.jsonl", "--json"))
    assert again.exit_code == 0
    assert json.loads(again.stdout)["depths"] == belief["depths"]
    solve = cli("solve", f"{QUESTION} (9)", "--policy", served.url, "--belief", tmp_path / "belief.json", "--budget", 4)
    assert "optimal_directions, N = 4" in solve.stdout
    assert "the belief was fitted" not in solve.stdout.replace("\n", " ")
    assert len(served.bodies("/v1/completions")) > asked


def test_a_stopped_run_goes_on_with_the_same_prefixes(served: Emulator, tmp_path: FilePath) -> None:
    file, prefixes = written(tmp_path, *["24", "20"] * 3), tmp_path / "p.jsonl"
    assert cli(*calibrated(served, file, "--prefixes", prefixes)).exit_code == 0
    whole = stored(prefixes)
    lines = prefixes.read_bytes().splitlines(keepends=True)
    prefixes.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    assert cli(*calibrated(served, file, "--prefixes", prefixes)).exit_code == 0
    assert prefixes.read_bytes().startswith(b"".join(lines[:3]))
    assert stored(prefixes) == whole
    asked = len(served.log)
    refused = cli(*calibrated(served, file, "--prefixes", prefixes, "--set", "temperature=0.5"))
    assert "was made with other settings: temperature was 0.8 and is now 0.5" in str(refused.exception)
    assert not any("Use 2, 3, 4" in json.dumps(body) for _, body, _ in served.log[asked:])


def test_the_cost_of_few_questions_is_what_they_take(served: Emulator, tmp_path: FilePath) -> None:
    mine = completer(served, Plan(paths=4, points=1, completions=3))
    problems = [Problem(f"{place}", f"{QUESTION} ({place})", "24", "text") for place in range(6)]
    do = in_process(mine.answer, IN_FLIGHT)
    cost = measure(mine, problems, do).cost
    served.log.clear()
    before = mine.usage.generated
    for problem in problems:
        asyncio.run(mine.complete(problem))
    assert cost.tokens == mine.usage.generated - before
    assert cost.steps == sum(body.get("n", 1) for body in served.bodies("/v1/completions"))
    assert cost.questions == 6
    twice = measure(
        mine, [*problems, *[Problem(f"{place}", QUESTION, "24", "text") for place in range(6, 34)]], do
    ).cost
    assert twice.questions == 34
    assert 0.6 < twice.tokens / 34 / (cost.tokens / 6) < 1.6


def test_a_dry_run_writes_nothing(served: Emulator, tmp_path: FilePath) -> None:
    file = written(tmp_path, "24", "20")
    run = cli(*calibrated(served, file, "--dry-run", "--json"))
    assert run.exit_code == 0, run.exception
    said = json.loads(run.stdout)
    assert said["questions"] == 2
    assert min(said["tokens"], said["steps"], said["seconds"]) > 0
    assert [each.name for each in tmp_path.iterdir()] == ["q.jsonl"]


def test_a_question_that_cannot_be_asked_costs_itself_only(served: Emulator, tmp_path: FilePath) -> None:
    file = written(tmp_path, "24", "20", "24")
    with file.open("a") as out:
        out.write(json.dumps({"question": "x" * 900, "gold": "1"}) + "\n")
    run = cli(*calibrated(served, file))
    assert run.exit_code == 0, run.exception
    assert set(stored(tmp_path / "belief.prefixes.jsonl")) == {"1", "2", "3"}
    assert "questions that could not be asked: 1, the first: the question takes" in run.stderr


def test_lost_completions_do_not_count(tmp_path: FilePath) -> None:
    with emulated("vllm", broken_choice=1) as server:
        run = cli(*calibrated(server, written(tmp_path, "24", "20"), "--json"))
        assert run.exit_code == 0, run.exception
        for prefixes in stored(tmp_path / "belief.prefixes.jsonl").values():
            assert all(prefix.right in (0, prefix.completions) for prefix in prefixes)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give your own questions by --data FILE with a --policy"),
        (["--policy", "http://127.0.0.1:9", "--prefixes", "p.jsonl"], "--policy is for --data"),
        (["--points", "3", "--prefixes", "p.jsonl"], "--points is for --data"),
        (["--data", "{file}"], "--policy: give the URL of a server"),
        (["--data", "{file}", "--policy", "x", "--world", "stories"], "leave --world stories out"),
        (["--data", "{file}", "--policy", "x", "--set", "budget=3"], "--set budget: nothing reads it here"),
        (["--prefixes", "nothing.jsonl"], "nothing.jsonl does not exist"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: FilePath, words: list[str], told: str) -> None:
    file = written(tmp_path, "24", "20")
    run = cli("calibrate", *(word.format(file=file) for word in words), "--out", tmp_path / "b.json")
    assert told in str(run.exception)


@pytest.mark.heavy
def test_the_seconds_said_are_those_of_a_bundled_model(tmp_path: FilePath) -> None:
    world = find_world("countdown")
    problems = [world.problem(level, seed, "test") for seed in range(20) for level in (1, 2, 3)]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps({"question": each.question, "gold": each.answer}) + "\n" for each in problems))
    command = [sys.executable, "-m", "rollwise", "serve-model", "--policy", "small", "--reward", "none", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"serving at (http\S+)", process.stdout.readline())
        assert found
        try:
            words = ["calibrate", "--data", file, "--policy", found[1], "--out", tmp_path / "belief.json"]
            said = json.loads(cli(*words, "--dry-run", "--json").stdout)
            started = time.perf_counter()
            run = cli(*words)
            assert run.exit_code == 0, run.exception
            assert math.isclose(said["seconds"], time.perf_counter() - started, rel_tol=0.25)
        finally:
            process.terminate()
