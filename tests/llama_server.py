"""A server of llama.cpp's kind that holds the bundled policy of the numbers game, and the policy's own logits."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
import torch

from rollwise.core import Path, Stop
from rollwise.names import bundled
from rollwise.training.gguf import write_gguf

NEAR_TIE = 1e-2
CLIENT = httpx.Client(trust_env=False, verify=False, timeout=300)


@contextmanager
def serving(command: Sequence[str], folder: FilePath, alive: str) -> Iterator[str]:
    """The URL of the server that a command starts, as soon as it answers the path `alive`.

    The command may contain {model} for the policy's file and {port} for a free port.
    """
    model = folder / "policy.gguf"
    if not model.exists():
        write_gguf(bundled("countdown", "policy"), model, "countdown")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", folder / f"log-{port}"
    words = [word.format(model=model, port=port) for word in command]
    with log.open("w") as out:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            deadline = time.monotonic() + 300
            while not answers(url + alive):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def answers(url: str) -> bool:
    try:
        return CLIENT.get(url).status_code == 200
    except httpx.TransportError:
        return False


def posted(url: str, path: str, body: Any) -> Any:
    reply = CLIENT.post(url + path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def logits(local: Any, prompt: list[int], ids: list[int]) -> torch.Tensor:
    """The policy's own logits (places, vocabulary) before each of the ids and after the last id."""
    with torch.inference_mode():
        logits: torch.Tensor = local.model(input_ids=torch.tensor([prompt + ids])).logits
    return logits[0, len(prompt) - 1 :]


def assert_logprobs(scores: torch.Tensor, path: Path, end: int, within: float) -> None:
    """Assert that each step of a path has the log-probability of its tokens by the policy's own logits (places,
    vocabulary), and the last one that of the token `end` too if the text ended.
    """
    chances = torch.log_softmax(scores, -1)
    place = 0
    for step in path.steps:
        expected = sum(float(chances[place + index, token]) for index, token in enumerate(step.ids))
        place += len(step.ids)
        expected += float(chances[place, end]) if step.stop is Stop.END else 0.0
        assert step.logprob == pytest.approx(expected, abs=within)


def assert_greedy(scores: torch.Tensor, ids: Sequence[int]) -> None:
    """Assert that each id is the likeliest by its scores (places, vocabulary), up to the first near-tie."""
    for place, token in enumerate(ids):
        first, second = scores[place].topk(2).values.tolist()
        if first - second < NEAR_TIE:
            break
        assert token == int(scores[place].argmax()), place
