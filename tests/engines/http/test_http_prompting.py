"""Base models and other prompts behind emulated servers: plain text, examples, stop texts, sentences."""

import asyncio
import json
from pathlib import Path as FilePath
from typing import Any

import pytest
from served import FAST, decode, emulated
from typer.testing import CliRunner
from walking import walk

import rollwise
from rollwise.cli import build_app
from rollwise.core import Problem, Sampling, Stop
from rollwise.engines.http.policy import HttpPolicy
from rollwise.errors import InputError

PROBLEM = Problem("q", "1 + 1?", instruction="Box it.")
GREEDY = Sampling(temperature=0)
KINDS = ("vllm", "sglang", "llamacpp", "openai", "llama-cpp-python", "transformers", "rollwise")


def continuing(text: str) -> Any:
    """What a server says that goes on with a text at the place that a prompt has reached."""

    def says(prompt: str, seed: int, limit: int, temperature: float) -> tuple[str, bool]:
        said = max(size for size in range(len(text) + 1) if prompt.endswith(text[:size]))
        rest = text[said:]
        return rest[:limit], len(rest) < limit

    return says


def prompt_of(body: Any) -> str:
    return body["prompt"] if isinstance(body["prompt"], str) else decode(body["prompt"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_model_gets_plain_text_and_stops_before_the_next_problem(kind: str) -> None:
    with emulated(kind, says=continuing("1 + 1 = 2\n\nSo 2.\nProblem: 2 + 2?\n\n4")) as server:
        policy = HttpPolicy(server.url, patience=FAST, template="none", stops=["Problem:"])
        server.log.clear()
        path = asyncio.run(walk(policy, PROBLEM, GREEDY))
        bodies = server.bodies("/completion" if kind == "llamacpp" else "/v1/completions")
    assert [step.text for step in path.steps] == ["1 + 1 = 2\n\n", "So 2.\n"]
    assert [step.stop for step in path.steps] == [Stop.STEP, Stop.END]
    assert prompt_of(bodies[0]) == "Box it.\n\n1 + 1?\n\n"
    assert prompt_of(bodies[1]) == "Box it.\n\n1 + 1?\n\n1 + 1 = 2\n\n"
    assert not [remark for remark in policy.remarks if "--tokenizer" in remark]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_sentences_does_not_end_after_a_list_number(kind: str) -> None:
    text = "1. Ask Dr. Lee. Add 1 and 1, e.g. by hand. It is 2."
    with emulated(kind, says=continuing(text)) as server:
        policy = HttpPolicy(server.url, "sentence", patience=FAST)
        path = asyncio.run(walk(policy, PROBLEM, GREEDY))
        cut = asyncio.run(walk(policy, PROBLEM, Sampling(temperature=0, max_step_tokens=3), most=1))
    assert [step.text for step in path.steps] == ["1. Ask Dr. Lee. ", "Add 1 and 1, e.g. by hand. ", "It is 2."]
    assert [step.stop for step in path.steps] == [Stop.STEP, Stop.STEP, Stop.END]
    if kind not in ("openai", "transformers", "llama-cpp-python"):
        assert [step.tokens for step in path.steps][:2] == [len(step.text) for step in path.steps][:2]
        assert [(step.text, step.stop, step.tokens) for step in cut.steps] == [("1. ", Stop.LENGTH, 3)]


def test_examples_and_stops_come_from_the_command_line(tmp_path: FilePath) -> None:
    shots = tmp_path / "shots.jsonl"
    shots.write_text('{"question": "2 + 2?", "answer": "#### 4"}\n')
    with emulated("llamacpp", says=continuing(" 2\n#### 2\n\nQuestion: 5 + 5?\nAnswer: 10")) as server:
        options = ["--template", "none", "--shots", str(shots), "--instruction", "none", "--stop", "never, ever"]
        arguments = ["solve", "1 + 1?", "--policy", server.url, "--budget", "2", "--directions", "text", "--json"]
        run = CliRunner().invoke(build_app(), [*arguments, *options, "--stop", "\\nNever"])
        body = server.bodies("/completion")[-2]
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["answer"], found["form"], found["unread"], found["cut"]) == ("2", "gsm8k", 0, 0)
    assert "read after" in found["notes"][-1]
    assert "--instruction user" not in found["notes"][-1]
    assert found["text"].endswith("#### 2\n\n")
    assert prompt_of(body).startswith("Question: 2 + 2?\nAnswer: #### 4\n\nQuestion: 1 + 1?\nAnswer:")
    assert body["stop"] == ["\n\n", "never, ever", "\nNever", "\nQuestion:"]


@pytest.mark.parametrize("says", ["So it is 14.", "We add.\n#### 14", "It is **14**", "Altogether 14 clips"])
def test_an_answer_without_a_box_is_read_and_said_so(says: str) -> None:
    with emulated("vllm", says=continuing(says)) as server:
        run = CliRunner().invoke(
            build_app(), ["solve", "What is 7 + 7?", "--policy", server.url, "--budget", "2", "--directions", "text"]
        )
    assert run.exit_code == 0, run.output
    assert "answer  14" in run.output
    assert "no path boxed its answer" in " ".join(run.output.split())
    assert "--instruction user" in " ".join(run.output.split())


def test_a_search_without_an_answer_says_why() -> None:
    with emulated("vllm", says=continuing("I do not know.")) as server:
        options = {"policy": server.url, "directions": "text"}
        solution = rollwise.solve("What is 7 + 7?", budget=3, **options)
        arguments = ["solve", "What is 7 + 7?", "--policy", server.url, "--budget", "3", "--directions", "text"]
        text = " ".join(CliRunner().invoke(build_app(), arguments).output.split())
        short = rollwise.solve("What is 7 + 7?", budget=3, max_tokens=4, **options)
    assert (solution.answer, solution.unread, solution.cut, solution.example) == (None, 3, 0, "I do not know.")
    assert "3 without a readable answer" in text
    assert "the last line of one of them: 'I do not know.'" in text
    assert "--answer" in text
    assert (short.unread, short.cut, short.example) == (0, 3, "I do")
    assert short.as_dict()["cut"] == 3


def test_world_text_is_named_when_the_numbers_game_cannot_read_a_question() -> None:
    run = CliRunner().invoke(build_app(), ["solve", "Who wrote Faust?"])
    assert isinstance(run.exception, InputError)
    assert "--world text" in str(run.exception)
    with pytest.raises(InputError, match="--world text"):
        rollwise.solve("Who wrote Faust?")
