"""The benchmarks run, with tiny models and settings, and say what they are about. Nothing here measures time."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from served import emulated
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification

from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = ["--questions", "2", "--budget", "3", "--repeats", "1", "--max-tokens", "12"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random policy and a random reward model."""
    folder, tokenizer = tmp_path_factory.mktemp("models"), build_tokenizer(Countdown().literals)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, num_labels=2, **sizes, **ends)
    for name, kind in (("policy", LlamaForCausalLM), ("reward", LlamaForTokenClassification)):
        kind(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_engine_speed(models: Path, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures" / "engine.json"
    parts = ["--policy", str(models / "policy"), "--reward", str(models / "reward"), "--threads", "1"]
    load("engine_speed").main([*TINY, *parts, "--rows", "2,4", "--batches", "3", "--json", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["contenders"]) == {"plain", "temperature", "rebase", "dora", "reread", "generate"}
    assert all(row["generated"] == 2 * 3 * 12 for row in found["contenders"].values())
    assert found["ratios"]["reread / rebase, tokens read"] >= 1
    assert "plain / generate" in capsys.readouterr().out


def test_reward_tokens(
    models: Path, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tokens.json"
    parts = ["--policy", str(models / "policy"), "--reward", str(models / "reward"), "--strategies", "dora"]
    module = load("reward_tokens")
    one_by_one = functools.partial(module.ServedReward, concurrency=1)  # texts of one batch do not share their prompt
    monkeypatch.setattr(module, "ServedReward", one_by_one)
    module.main(["--questions", "2", "--budget", "6", "--max-tokens", "60", *parts, "--json", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))["strategies"]["dora"]
    here, kept, anew, each = found["read"].values()
    assert 0 < max(here, kept) < anew <= each
    assert kept == pytest.approx(here, rel=0.1)
    assert found["factor"]["/pooling, none kept"] == pytest.approx(anew / here, abs=0.01)
    assert "dora" in capsys.readouterr().out


def test_allocation_speed(load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "allocation.json"
    load("allocation_speed").main(["--candidates", "12", "--dimensions", "6", "--repeats", "2", "--json", str(out)])
    assert json.loads(out.read_text(encoding="utf-8"))["milliseconds"]["dora"]["median"] > 0
    assert "under 5" in capsys.readouterr().out


def test_grouping_speed(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load("grouping_speed").main(["--questions", "2", "--answers", "4", "--level", "2"])
    assert "to 2 questions; the groups of 0 questions differ" in capsys.readouterr().out


def test_optimal_speed(load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "optimal.json"
    load("optimal_speed").main(["--candidates", "12", "--width", "600", "--repeats", "2", "--json", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))["milliseconds"]
    assert {name: row["rollouts"] for name, row in found.items()} == {
        "divisor": 600,
        "divisor, all alike": 600,
        "heap": 6,
        "shared": 6,
    }
    assert "under 50" in capsys.readouterr().out


class Handler(BaseHTTPRequestHandler):
    """Answers as a server does that serves one model and gives every request seven tokens."""

    bodies: list[dict[str, Any]] = []  # noqa: RUF012 (collected over one test)

    def do_GET(self) -> None:
        self.answer({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer({"usage": {"completion_tokens": 7, "prompt_tokens": len(self.bodies[-1]["prompt"])}})

    def answer(self, found: dict[str, Any]) -> None:
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def test_vllm_speed(models: Path, load: Any, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    load("vllm_speed").main([server, *TINY, "--policy", str(models / "policy"), "--engine-rows", "4"])
    assert "engine / server" in capsys.readouterr().out
    assert len(Handler.bodies) == 2 * (2 * 3)
    assert {body["model"] for body in Handler.bodies} == {"tiny"}
    assert all(body["prompt"] and body["max_tokens"] == 12 for body in Handler.bodies)


def test_vllm_search(load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "search.json"
    sizes = ["--concurrent", "2,4", "--together", "1,3", "--strategies", "temperature,rebase", "--concurrency", "4"]
    with emulated("vllm") as server:
        load("vllm_search").main([server.url, *TINY, "--max-tokens", "40", *sizes, "--json", str(out)])
        bodies = server.bodies("/v1/completions")
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["search / plain"]) == {"temperature", "rebase"}
    assert set(found["plain"]["tried"]) == {f"{c} at a time, {n} a request" for c in (2, 4) for n in (1, 3)}
    assert found["generated"]["temperature"] > 0
    whole = [body for body in bodies if "stop" not in body and body["max_tokens"] == 40]
    assert {body["n"] for body in whole} == {1, 3}
    assert {body["prompt"][-1] for body in whole} == {ord(">")}
    assert "of at least 0.9" in capsys.readouterr().out


def test_waiting_server(load: Any) -> None:
    waiting = load("waiting_server")
    assert waiting.bound(1, 20) == 1.0
    assert 0.6 < waiting.bound(8, 50) < 0.95
    prompt, ids = waiting.encoded("How many?"), list[int]()
    for step in range(100):
        more, reason, stop = waiting.continuation(prompt + ids, step, True, 2048)
        ids += more
        if stop is None:
            break
    assert reason == "stop"
    assert waiting.steps_done(ids) == step >= 2
    assert "\\boxed{" in waiting.decoded(ids)
    assert len(waiting.continuation(prompt, 1, False, 7)[0]) == 7


@pytest.mark.heavy
def test_serve_load() -> None:
    options = ["--at-once", "2", "--seconds", "4", "--warm", "2", "--milliseconds", "1", "--budget", "2"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "serve_load.py"), *options], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    figures = done.stdout.splitlines()[-1].split()
    assert figures[0] == "2"
    assert figures[1] == "auto"
    assert all(float(figure) > 0 for figure in figures[2:8])
