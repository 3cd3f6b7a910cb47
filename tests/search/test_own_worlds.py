"""Worlds of your own that have levels and no states: a search, a bench and every picture of them."""

import json
from pathlib import Path as FilePath
from typing import Any

import pytest
from served import emulated
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.core import CheckedProblems
from rollwise.errors import InputError
from rollwise.registry import find_policy, find_problems, find_reward
from rollwise.search.config import Config
from rollwise.search.parts import find_parts

WORLD = """
from rollwise.core import Problem, Problems

class Sums{base}:
    name, levels, separator, checkable = "sums", (1, 2), "\\n\\n", {checkable}

    def problem(self, level, seed, split="test"):
        return Problem(f"{{level}}-{{seed}}-{{split}}", f"{{level}} + {{seed}}?", str(level + seed), "sums", level)

    def parse(self, question):
        return Problem(question, question)

    def remark(self, problem):
        return None

    def is_right(self, problem, answer):
        {check}
"""


def own_world(
    folder: FilePath, base: str = "", checkable: bool = False, check: str = "return answer == problem.answer"
) -> str:
    file = folder / "own.py"
    file.write_text(WORLD.format(base=base, checkable=checkable, check=check))
    return f"{file}:Sums"


def sums(prompt: str, seed: int, limit: int, temperature: float) -> tuple[str, bool]:
    text = "We add.\n\nThe answer is 1."
    said = max(size for size in range(len(text) + 1) if prompt.endswith(text[:size]))
    return text[said:][:limit], len(text) - said < limit


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments))


@pytest.mark.parametrize("base", ["", "(Problems)"])
@pytest.mark.parametrize("checkable", [True, False])
def test_a_world_without_states_is_solved_explained_drawn_and_compared(
    base: str, checkable: bool, tmp_path: FilePath
) -> None:
    world = own_world(tmp_path, base, checkable)
    assert not isinstance(find_problems(world), CheckedProblems)
    picture, out = tmp_path / "search.svg", tmp_path / "bench"
    with emulated("vllm", says=sums) as server:
        parts = ["--policy", server.url, "--directions", "text", "--world", world]
        solved = run("solve", *parts, "--level", "1", "--budget", "4", "--explain", "--draw", str(picture))
        settings = ["--set", f"policy={server.url}", "--set", "directions=text", "--world", world]
        limits = ["--budgets", "2", "--limit", "1", "--strategies", "rebase,dora", "--levels", "1"]
        compared = run("bench", *settings, *limits, "--out", str(out), "--json")
    assert solved.exit_code == 0, solved.output
    assert "answer  1 " in solved.output
    assert "true states" not in solved.output
    assert picture.read_text().startswith("<svg")
    assert compared.exit_code == 0, compared.output
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert [row["measures"]["accuracy"]["mean"] for row in rows] == [1.0, 1.0]


def test_a_check_that_raises_costs_no_search(tmp_path: FilePath) -> None:
    world = own_world(tmp_path, check="raise KeyError('gone')")
    with emulated("vllm", says=sums) as server:
        solved = run("solve", "--world", world, "--level", "1", "--policy", server.url, "--directions", "text")
    assert solved.exit_code == 0, solved.output
    assert "could not check 64 answers" in " ".join(solved.output.split())
    assert "KeyError: 'gone'" in " ".join(solved.output.split())


def test_a_world_that_lacks_members_is_refused_before_the_search(tmp_path: FilePath) -> None:
    file = tmp_path / "half.py"
    file.write_text("class Half:\n    name = 'half'\n    def problem(self, level, seed, split='test'): ...\n")
    with pytest.raises(InputError, match="lacks levels, separator, checkable, parse, remark, is_right"):
        find_problems(f"{file}:Half")


@pytest.mark.parametrize("option", ["template", "shots", "stop"])
def test_a_policy_that_makes_its_own_prompts_refuses_other_prompts(option: str, tmp_path: FilePath) -> None:
    shots = tmp_path / "shots.txt"
    shots.write_text("1 + 1 = 2")
    value = {"template": "none", "shots": str(shots), "stop": "Problem:"}[option]
    for policy in ("demonstrator", object_policy()):
        config = Config.of(world="stories", reward="dial", policy=policy, **{option: value})
        with pytest.raises(InputError, match=option):
            find_parts(config)
    file = tmp_path / "own.py"
    file.write_text("class Own:\n    parameters = 0\n    def open(self, problem, sampling): ...\n")
    with pytest.raises(InputError, match=f"leave --{option} out"):
        find_parts(Config.of(world="stories", reward="dial", policy=f"{file}:Own", **{option: value}))


def object_policy() -> Any:
    return find_policy("demonstrator", "stories")


def test_a_gguf_file_is_refused_with_the_command_that_serves_it(tmp_path: FilePath) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"there is no file elsewhere/model\.gguf"):
        find_policy("elsewhere/model.gguf", "text")
    for name in (str(file), str(tmp_path)):
        with pytest.raises(InputError, match=r"llama-server -m .*model\.gguf --port 8080.*--policy http"):
            find_policy(name, "text")
    with pytest.raises(InputError, match=r"llama-server -m .*model\.gguf.*--reward family@http"):
        find_reward(str(file), "text")


def test_a_bench_of_a_server_names_its_world(tmp_path: FilePath) -> None:
    for given in (["--set", "policy=http://127.0.0.1:9"], ["--strategies", "rebase:policy=http://127.0.0.1:9"]):
        refused = run("bench", *given, "--out", str(tmp_path / "out"))
        assert isinstance(refused.exception, InputError)
        assert "name the world" in str(refused.exception)
    refused = run("bench", "--world", "text", "--out", str(tmp_path / "out"))
    assert isinstance(refused.exception, InputError)
    assert "draws no problems" in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_an_unknown_form_is_refused_before_a_model_loads() -> None:
    with pytest.raises(InputError, match="answer: 'numbers' is none of"):
        find_parts(Config.of(answer="numbers", policy="missing"))


def test_a_bench_counts_paths_without_an_answer(tmp_path: FilePath) -> None:
    out = tmp_path / "bench"
    given = [
        "--world",
        own_world(tmp_path),
        "--budgets",
        "2",
        "--limit",
        "1",
        "--levels",
        "1",
        "--strategies",
        "rebase",
    ]
    with emulated("vllm", says=lambda prompt, seed, limit, temperature: ("Who knows?", True)) as server:
        settings = ["--set", f"policy={server.url}", "--set", "directions=text"]
        shown = run("bench", *given, *settings, "--out", str(out)).output
    (row,) = json.loads((out / "summary.json").read_text())["rows"]
    assert (row["unread"], row["cut"]) == (2, 0)
    assert "unread paths" in shown
    assert "2 ended without a readable answer" in " ".join(shown.split())
