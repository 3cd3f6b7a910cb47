"""A real server on the loopback interface with the bundled models in float64, compared with transformers and the local
engine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.core import Failure, Path, Problem, Sampling, Step, Stop
from rollwise.engines.local.policy import LocalPolicy
from rollwise.engines.local.stops import StopRule, StopTable
from rollwise.errors import InputError
from rollwise.model_server.models import Models
from rollwise.model_server.run import Choice, load_models, running
from rollwise.model_server.step_scores import StepScorer
from rollwise.model_server.text import Detokenizer, Transcript
from rollwise.registry import find_world
from rollwise.rewards.layouts import FAMILIES
from rollwise.rewards.local import LocalReward
from rollwise.rewards.served import ServedReward

torch.set_num_threads(1)

WORLD = find_world("countdown")
ROWS = 8
PATIENCE = 300.0
Post = Callable[..., Any]


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(Choice(dtype="float64", rows=ROWS))


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with running(models) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def post(client: httpx.Client) -> Post:
    def send(route: str, **body: Any) -> Any:
        reply = client.post(route, json=body)
        assert reply.status_code == HTTPStatus.OK, reply.text
        return reply.json()

    return send


def question(seed: int) -> Problem:
    """A question that only one test asks, so that the test knows how much of it is cached."""
    return WORLD.problem(3, seed)


def prompt_text(problem: Problem) -> str:
    return f"<|user|>{problem.question}<|assistant|>"


def encode(models: Models, text: str) -> list[int]:
    return list(models.policy.tokenizer(text, add_special_tokens=False)["input_ids"])


def plain_greedy(models: Models, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens up to the end of text, with one forward pass over everything for each token."""
    tokens = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(models.policy.model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in models.policy.end_tokens:
            break
    return tokens[len(prompt) :]


def plain_logprobs(models: Models, prompt: list[int], tokens: list[int]) -> Any:
    """Log-probabilities (tokens, vocabulary) at each position, after one forward pass over everything."""
    with torch.no_grad():
        logits = models.policy.model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)


def info(client: httpx.Client) -> Any:
    return client.get("/server_info").json()


async def test_a_greedy_completion_is_the_local_engines_greedy_path(models: Models, post: Post) -> None:
    policy = models.policy
    local = LocalPolicy(policy.model, policy.tokenizer, WORLD.separator, rows=2)
    for seed in range(2):
        problem = question(seed)
        prompt = encode(models, prompt_text(problem))
        reply = post("/v1/completions", prompt=prompt, max_tokens=200, temperature=0, return_token_ids=True)
        (choice,) = reply["choices"]
        session, path = local.open(problem, Sampling(0.0, max_step_tokens=200, max_tokens=200)), Path((0,))
        while not path.ended and path.tokens < 200:
            (step,) = await session.extend([path])
            assert isinstance(step, Step)
            path = path.grown(step).copy(0)
        assert choice["text"] == path.text
        ids = [token for step in path.steps for token in step.ids]
        assert choice["token_ids"] == ids + [policy.tokenizer.eos_token_id] * path.ended
        assert choice["token_ids"][:12] == plain_greedy(models, prompt, 12)
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop" if path.ended else "length", None)
        assert reply["usage"]["completion_tokens"] == path.tokens
        await session.close()


def test_prompts_are_text_or_tokens_one_or_several(models: Models, post: Post) -> None:
    texts = [prompt_text(question(seed)) for seed in (10, 11)]
    ids = [encode(models, text) for text in texts]
    options = {"max_tokens": 9, "temperature": 0, "return_token_ids": True}
    alone = [post("/v1/completions", prompt=prompt, **options)["choices"][0] for prompt in [*texts, *ids]]
    for prompts in (texts, ids):
        together = post("/v1/completions", prompt=prompts, **options)
        assert [choice["text"] for choice in together["choices"]] == [choice["text"] for choice in alone[:2]]
        assert [choice["prompt_token_ids"] for choice in together["choices"]] == ids
        assert [choice["index"] for choice in together["choices"]] == [0, 1]
        assert together["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert [choice["text"] for choice in alone[:2]] == [choice["text"] for choice in alone[2:]]
    assert all(choice["finish_reason"] == "length" for choice in alone)


def stop_strings(pieces: list[str]) -> list[str]:
    """A stop string that is a token, a stop string within a token, and a stop string that spans two tokens."""
    text = "".join(pieces)
    longest = max(pieces[2:], key=len)
    across = len("".join(pieces[:4]))
    return [pieces[5], longest[1:-1] or longest, text[across - 1 : across + 1]]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("include", [False, True])
def test_a_stop_string_ends_the_text_and_its_token_the_tokens(
    models: Models, post: Post, which: int, include: bool
) -> None:
    prompt = encode(models, prompt_text(question(20)))
    whole = plain_greedy(models, prompt, 30)
    decode = models.policy.tokenizer.decode
    stop = stop_strings([decode([token]) for token in whole])[which]
    count = next(count for count in range(1, 31) if stop in decode(whole[:count]))
    end = decode(whole).index(stop) + len(stop) * include
    for given in (stop, ["never such a text", stop]):
        options = {"stop": given, "include_stop_str_in_output": include, "return_token_ids": True}
        (choice,) = post("/v1/completions", prompt=prompt, max_tokens=60, temperature=0, **options)["choices"]
        assert choice["text"] == decode(whole)[:end]
        assert choice["token_ids"] == whole[:count]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


def test_a_stop_token_ends_the_text_before_it(models: Models, post: Post) -> None:
    prompt = encode(models, prompt_text(question(21)))
    whole = plain_greedy(models, prompt, 8)
    place, decode = whole.index(whole[5]), models.policy.tokenizer.decode
    options = {"max_tokens": 60, "temperature": 0, "stop_token_ids": [whole[5]], "return_token_ids": True}
    for include in (False, True):
        reply = post("/v1/completions", prompt=prompt, include_stop_str_in_output=include, **options)
        (choice,) = reply["choices"]
        assert choice["token_ids"] == whole[: place + 1]
        assert choice["text"] == decode(whole[: place + include])
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", whole[5])


def test_log_probabilities_are_those_of_a_plain_forward(models: Models, post: Post) -> None:
    prompt, pieces = encode(models, prompt_text(question(30))), models.policy.stops.pieces
    options = {"max_tokens": 25, "temperature": 1.5, "top_p": 0.9, "return_token_ids": True, "seed": 3}
    for count in (0, 4):
        (choice,) = post("/v1/completions", prompt=prompt, logprobs=count, **options)["choices"]
        expected = plain_logprobs(models, prompt, choice["token_ids"])
        logprobs = choice["logprobs"]
        chosen = expected[range(len(choice["token_ids"])), choice["token_ids"]]
        np.testing.assert_allclose(logprobs["token_logprobs"], chosen, atol=1e-9)
        assert logprobs["tokens"] == [pieces[token] for token in choice["token_ids"]]
        for place, likeliest in enumerate(logprobs["top_logprobs"]):
            values, ids = expected[place].topk(count)
            wanted = {pieces[token]: value for token, value in zip(ids.tolist(), values.tolist(), strict=True)}
            wanted[pieces[choice["token_ids"][place]]] = float(chosen[place])
            assert likeliest == pytest.approx(wanted, abs=1e-9)
        text = "".join(logprobs["tokens"])
        rests = [text[offset:] for offset in logprobs["text_offset"]]
        assert all(rest.startswith(piece) for rest, piece in zip(rests, logprobs["tokens"], strict=True))
    assert post("/v1/completions", prompt=prompt, **options)["choices"][0]["logprobs"] is None


def test_completion_i_of_a_request_has_the_seed_plus_i(models: Models, post: Post) -> None:
    prompt = prompt_text(question(40))
    options = {"prompt": prompt, "max_tokens": 16, "temperature": 1.3}
    several = [post("/v1/completions", n=4, seed=7, **options) for _ in range(2)]
    texts = [[choice["text"] for choice in reply["choices"]] for reply in several]
    alone = [post("/v1/completions", seed=7 + child, **options)["choices"][0]["text"] for child in range(4)]
    assert texts == [alone, alone]
    assert len(set(alone)) > 1
    free = {post("/v1/completions", **options)["choices"][0]["text"] for _ in range(25)}
    assert len(free) > 1
    greedy = post("/v1/completions", **(options | {"temperature": 0}))["choices"][0]["text"]
    assert post("/v1/completions", top_p=1e-9, **options)["choices"][0]["text"] == greedy


def test_a_client_that_works_step_by_step_causes_no_prefix_to_be_read_again(models: Models, post: Post) -> None:
    prompt = encode(models, prompt_text(question(50)))
    options = {"max_tokens": 40, "temperature": 0.7, "stop": WORLD.separator, "return_token_ids": True, "n": 3}
    first = len(prompt)
    for depth in range(3):
        reply = post("/v1/completions", prompt=prompt, seed=depth, **options)
        cached = reply["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert reply["usage"]["prompt_tokens"] == len(prompt)
        assert cached < first if depth == 0 else cached == len(prompt)
        going = [choice for choice in reply["choices"] if choice["stop_reason"] == WORLD.separator]
        if not going:
            break
        prompt = prompt + going[-1]["token_ids"]
        text = models.policy.tokenizer.decode(prompt)
        again = post("/v1/completions", prompt=text, max_tokens=1)
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == len(prompt)
    assert len(prompt) > first


def test_kept_prefixes_change_no_result(models: Models, post: Post) -> None:
    prompt = encode(models, prompt_text(question(51)))
    whole = plain_greedy(models, prompt, 14)
    for cut in (14, 3, 9, 0):
        reply = post(
            "/v1/completions",
            prompt=prompt + whole[:cut],
            max_tokens=5,
            temperature=0,
            logprobs=0,
            return_token_ids=True,
        )
        (choice,) = reply["choices"]
        assert choice["token_ids"] == plain_greedy(models, prompt + whole[:cut], 5)
        expected = plain_logprobs(models, prompt + whole[:cut], choice["token_ids"])
        chosen = expected[range(len(choice["token_ids"])), choice["token_ids"]]
        np.testing.assert_allclose(choice["logprobs"]["token_logprobs"], chosen, atol=1e-9)


def test_a_chat_is_the_completion_of_its_rendered_messages(models: Models, post: Post) -> None:
    problem = question(60)
    user = {"role": "user", "content": problem.question}
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 2, "return_token_ids": True}
    reply = post("/v1/chat/completions", messages=[user], **options)
    (choice,) = reply["choices"]
    (plain,) = post("/v1/completions", prompt=prompt_text(problem), max_tokens=300, temperature=0, logprobs=2)[
        "choices"
    ]
    assert choice["message"] == {"role": "assistant", "content": plain["text"]}
    assert reply["prompt_token_ids"] == encode(models, prompt_text(problem))
    logprobs = choice["logprobs"]["content"]
    assert [entry["logprob"] for entry in logprobs] == pytest.approx(plain["logprobs"]["token_logprobs"], abs=1e-9)
    assert bytes(byte for entry in logprobs for byte in entry["bytes"]).decode() == "".join(plain["logprobs"]["tokens"])
    assert all(entry["top_logprobs"][0]["token"] == entry["token"] for entry in logprobs)

    place = len(plain["text"]) // 2
    begun = [{"type": "text", "text": plain["text"][:place]}]
    for content in (begun, plain["text"][:place]):
        messages = [user, {"role": "assistant", "content": content}]
        rest = post(
            "/v1/chat/completions",
            messages=messages,
            continue_final_message=True,
            add_generation_prompt=False,
            **options,
        )
        ids = encode(models, prompt_text(problem) + plain["text"][:place])
        assert rest["prompt_token_ids"] == ids
        assert rest["choices"][0]["token_ids"][:5] == plain_greedy(models, ids, 5)


def stream(client: httpx.Client, route: str, **body: Any) -> list[Any]:
    with client.stream("POST", route, json=body | {"stream": True}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_stream_adds_up_to_the_whole_response(client: httpx.Client, post: Post) -> None:
    body = {
        "prompt": [prompt_text(question(70)), prompt_text(question(71))],
        "max_tokens": 60,
        "n": 2,
        "seed": 1,
        "logprobs": 1,
        "stop": ["left: ", "boxed{"],
        "return_token_ids": True,
    }
    whole = post("/v1/completions", **body)
    chunks = stream(client, "/v1/completions", **body, stream_options={"include_usage": True})
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    deltas = [chunk["choices"][0] for chunk in chunks[:-1]]
    for choice in whole["choices"]:
        mine = [delta for delta in deltas if delta["index"] == choice["index"]]
        assert "".join(delta["text"] for delta in mine) == choice["text"]
        assert [token for delta in mine for token in delta["token_ids"]] == choice["token_ids"]
        for name in ("tokens", "text_offset"):
            assert [entry for delta in mine for entry in delta["logprobs"][name]] == choice["logprobs"][name]
        assert [delta["finish_reason"] for delta in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]
        assert mine[-1]["stop_reason"] == choice["stop_reason"]
        assert len(mine) == len(choice["token_ids"]) + 1


def test_a_stream_sends_the_text_in_order_and_never_takes_text_back() -> None:
    """With byte tokens, characters come in parts. Text that may become a stop string is held back until it is clear."""
    detokenizer = byte_detokenizer(("=→", "never"))
    for text, stopped in (("a=→b", "a"), ("é→ nev=é", "é→ nev=é"), ("=", "=")):
        transcript, sent = Transcript(detokenizer), ""
        for token in detokenizer.tokenizer(text)["input_ids"]:
            sent += transcript.add(token)
            assert stopped.startswith(sent)
        rest, ending = transcript.end()
        assert sent + rest == ending.text == stopped


def byte_detokenizer(strings: tuple[str, ...]) -> Detokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(tokenizer_models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)
    return Detokenizer(tokenizer, StopTable(tokenizer, len(alphabet)).pieces, StopRule(strings), include_stop=False)


def test_a_streamed_chat_adds_up_to_its_message(client: httpx.Client, post: Post) -> None:
    body = {"messages": [{"role": "user", "content": question(72).question}], "temperature": 0}
    (choice,) = post("/v1/chat/completions", **body)["choices"]
    chunks = stream(client, "/v1/chat/completions", **body)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == choice["message"]["content"]


@pytest.mark.parametrize("kept", [0, 1, 25, 60])
def test_process_rewards_do_not_depend_on_the_size_of_the_cache(models: Models, kept: int) -> None:
    assert models.scorer is not None
    whole, small = (StepScorer(models.scorer.reward, "reward", WORLD.separator, size) for size in (4096, kept))
    rng = np.random.default_rng(1)
    for seed in (81, 82, 81):
        _, steps = WORLD.demonstration(rng, 3)
        ids = encode(models, prompt_text(question(seed)))
        texts = [(*ids, *encode(models, WORLD.separator.join(steps[: count + 1]))) for count in range(len(steps))]
        for batch in (texts, texts[::-1], texts[1:]):
            for expected, scores in zip(whole.score(batch), small.score(batch), strict=True):
                np.testing.assert_allclose(expected.rows, scores.rows, atol=1e-9)
    assert small.prefixes.kept_tokens <= kept


async def test_process_rewards_are_the_local_reward_models_and_cost_new_tokens_only(
    models: Models, client: httpx.Client, post: Post
) -> None:
    assert models.scorer is not None
    reward, tokenizer = models.scorer.reward, models.scorer.reward.tokenizer
    problem = question(80)
    _, steps = WORLD.demonstration(np.random.default_rng(0), 3)
    texts = [step + WORLD.separator for step in steps[:-1]] + [steps[-1] + tokenizer.eos_token]
    session = LocalReward(reward.model, tokenizer, rows=2).open(problem, 0)
    rewards, path = list[float](), Path((0,))
    for text in texts:
        ended = text.endswith(tokenizer.eos_token)
        plain = text.removesuffix(tokenizer.eos_token)
        path = path.grown(Step(plain, 1, Stop.END if ended else Stop.STEP))
        (score,) = await session.score([path])
        assert not isinstance(score, Failure)
        rewards.append(float(score))
        path = path.copy(0)

    ids = encode(models, prompt_text(problem))
    for count, text in enumerate(texts, start=1):
        new = encode(models, text)
        ids, before = ids + new, info(client)["reward"]["read_tokens"]
        reply = post("/pooling", model="countdown-reward", input=ids)
        (data,) = reply["data"]
        assert [right for _, right in data["data"]] == pytest.approx(rewards[:count], abs=1e-9)
        assert [sum(row) for row in data["data"]] == pytest.approx([1.0] * count)
        if count > 1:
            assert info(client)["reward"]["read_tokens"] - before == len(new)
            assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] == len(ids) - len(new)
    with torch.no_grad():
        logits = reward.model(input_ids=torch.tensor([ids])).logits[0]
    places = [
        place
        for place, token in enumerate(ids)
        if token in (*encode(models, WORLD.separator), *models.policy.end_tokens)
    ]
    np.testing.assert_allclose(data["data"], torch.softmax(logits[:, :2], -1)[places], atol=1e-9)

    whole = prompt_text(problem) + "".join(texts)
    cut = whole[: whole.index(steps[1]) + 3]
    several = post("/pooling", input=[whole, cut])["data"]
    assert several[0]["data"] == data["data"]
    with torch.no_grad():
        logits = reward.model(input_ids=torch.tensor([encode(models, cut)])).logits[0]
    np.testing.assert_allclose(several[1]["data"][-1], torch.softmax(logits[:, :2], -1)[-1], atol=1e-9)
    assert len(several[1]["data"]) == 2


def test_hidden_embeddings_are_the_backbones_last_state(models: Models, post: Post) -> None:
    texts = [prompt_text(question(90)), "1 + 2 = 3"]
    reply = post("/v1/embeddings", input=texts, model="countdown-policy-hidden")
    for text, entry in zip(texts, reply["data"], strict=True):
        with torch.no_grad():
            ids = torch.tensor([encode(models, text)])
            state = models.policy.model.model(input_ids=ids).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(entry["embedding"], state / np.linalg.norm(state), atol=1e-9)
    coded = post("/v1/embeddings", input=texts[0], encoding_format="base64")["data"][0]["embedding"]
    floats = np.frombuffer(base64.b64decode(coded), dtype="<f4")
    np.testing.assert_allclose(floats, reply["data"][0]["embedding"], atol=1e-6)
    again = post("/v1/embeddings", input=[encode(models, text) for text in texts])["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] == again["prompt_tokens"]


def test_text_becomes_tokens_and_text_again(models: Models, post: Post) -> None:
    problem = question(91)
    text = prompt_text(problem)
    reply = post("/tokenize", prompt=text, return_token_strs=True)
    assert reply["tokens"] == encode(models, text)
    assert reply["count"] == len(reply["token_strs"]) == len(reply["tokens"])
    assert reply["max_model_len"] == models.policy.context
    assert post("/tokenize", messages=[{"role": "user", "content": problem.question}])["tokens"] == reply["tokens"]
    assert post("/detokenize", tokens=reply["tokens"])["prompt"] == text


def test_the_served_models_are_listed(models: Models, client: httpx.Client) -> None:
    cards = client.get("/v1/models").json()["data"]
    names = {"countdown-policy": "generate", "countdown-reward": "token_classify", "countdown-policy-hidden": "embed"}
    assert {card["id"]: card["task"] for card in cards} == names
    assert all(card["owned_by"] == "rollwise" for card in cards)
    assert {card["max_model_len"] for card in cards} == {models.policy.context}
    assert client.get("/v1/models/countdown-policy").json() == cards[0]
    assert client.get("/health").status_code == HTTPStatus.OK
    assert client.get("/version").json()["server"] == "rollwise"


class Counter:
    """Counts the policy's forward passes; waits at a gate before each."""

    def __init__(self, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
        backbone = models.policy.model.model
        self.calls, self.gate, self.forward = 0, threading.Event(), backbone.forward
        self.gate.set()
        monkeypatch.setattr(backbone, "forward", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        assert self.gate.wait(PATIENCE)
        return self.forward(*arguments, **options)


async def test_requests_of_many_clients_share_the_rows(
    models: Models, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(models, monkeypatch)
    bodies = [
        {"prompt": prompt_text(question(100 + number % 5)), "max_tokens": 12 + number % 3, "seed": number}
        | {"temperature": 0.5 * (number % 4), "stop": [WORLD.separator, " = "][: number % 3], "logprobs": number % 2}
        for number in range(32)
    ]
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:

        async def ask(body: Any) -> Any:
            reply = await client.post("/v1/completions", json=body)
            assert reply.status_code == HTTPStatus.OK, reply.text
            return reply.json()

        together = await asyncio.gather(*map(ask, bodies))
        shared, counter.calls = counter.calls, 0
        alone = [await ask(body) for body in bodies[::3]]
    choices = [[reply["choices"][0] for reply in replies] for replies in (together[::3], alone)]
    assert [choice["text"] for choice in choices[0]] == [choice["text"] for choice in choices[1]]
    for shared_choice, single_choice in zip(*choices, strict=True):
        logprobs = [choice["logprobs"]["token_logprobs"] for choice in (shared_choice, single_choice)]
        assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-9)
    assert shared < counter.calls


def settled(client: httpx.Client) -> bool:
    """Whether the server becomes idle within PATIENCE seconds."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        state = info(client)["policy"]
        if state["running"] == state["waiting"] == 0:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_hangs_up_gives_its_rows_back(
    models: Models, client: httpx.Client, url: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settled(client)
    counter = Counter(models, monkeypatch)
    body = {"prompt": prompt_text(question(110)), "n": 1000, "max_tokens": 300, "temperature": 1.0, "stream": streamed}
    with httpx.Client(base_url=url, timeout=PATIENCE if streamed else 0.4) as impatient:
        if streamed:
            with impatient.stream("POST", "/v1/completions", json=body) as reply:
                assert next(reply.iter_lines())
        else:
            while not counter.calls:  # a busy machine may not have begun within 0.4 s
                with pytest.raises(httpx.TimeoutException):
                    impatient.post("/v1/completions", json=body)
    assert settled(client)
    assert 0 < counter.calls < 1000 / ROWS * 5


def test_an_error_in_the_model_reaches_the_client_and_does_not_end_the_server(
    models: Models, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    body = {"prompt": prompt_text(question(120)), "max_tokens": 4, "temperature": 0}
    with monkeypatch.context() as patch:
        patch.setattr(models.policy.model.model, "forward", broken)
        reply = client.post("/v1/completions", json=body)
        streamed = client.post("/v1/completions", json=body | {"stream": True}).text
    assert reply.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "out of memory" in reply.json()["error"]["message"]
    assert "out of memory" in streamed
    assert streamed.endswith("data: [DONE]\n\n")
    assert client.post("/v1/completions", json=body).status_code == HTTPStatus.OK


SAY = {"prompt": "<|user|>", "max_tokens": 1}
CHAT = {"messages": [{"role": "user", "content": "Use"}], "max_tokens": 1}
WRONG: list[tuple[str, Any, int, str]] = [
    ("/v1/completions", SAY | {"colour": "red"}, 400, "'colour' is not a field"),
    ("/v1/completions", SAY | {"echo": True}, 400, "'echo'"),
    ("/v1/completions", SAY | {"top_k": 3}, 400, "'top_k': leave it out, or send -1"),
    ("/v1/completions", SAY | {"repetition_penalty": 1.1}, 400, "'repetition_penalty'"),
    ("/v1/completions", SAY | {"temperature": -1}, 400, "temperature"),
    ("/v1/completions", SAY | {"top_p": 0}, 400, "top_p"),
    ("/v1/completions", SAY | {"n": 0}, 400, "n: "),
    ("/v1/completions", SAY | {"stop": ["a", ""]}, 400, "stop string"),
    ("/v1/completions", SAY | {"stream_options": {}}, 400, "stream_options"),
    ("/v1/completions", {"max_tokens": 1}, 400, "'prompt' is missing"),
    ("/v1/completions", SAY | {"prompt": []}, 400, "1 to 1024"),
    ("/v1/completions", SAY | {"prompt": ""}, 400, "no tokens"),
    ("/v1/completions", SAY | {"prompt": [3, 10**6]}, 400, "the token 1000000"),
    ("/v1/completions", SAY | {"prompt": [[1]] * 5, "n": 1000}, 400, "4096 at a time"),
    ("/v1/completions", SAY | {"max_tokens": 10**6}, 400, "send 'max_tokens': "),
    ("/v1/completions", SAY | {"prompt": [3] * 10**5}, 400, "send a shorter prompt"),
    ("/v1/completions", SAY | {"model": "gpt"}, 404, "this server has: countdown-policy"),
    ("/v1/completions", SAY | {"model": "countdown-reward"}, 400, "send 'model': 'countdown-policy'"),
    ("/v1/chat/completions", CHAT | {"continue_final_message": True}, 400, "add_generation_prompt"),
    ("/v1/chat/completions", CHAT | {"top_logprobs": 2}, 400, "needs 'logprobs': true"),
    ("/v1/chat/completions", CHAT | {"messages": []}, 400, "messages"),
    ("/pooling", {"input": "a", "task": "embed"}, 400, "task"),
    ("/pooling", {"input": [3] * 10**5}, 400, "cut it"),
    ("/v1/embeddings", {"input": [3] * 10**5}, 400, "cut it"),
    ("/tokenize", {}, 400, "either 'prompt' or 'messages'"),
    ("/v1/nothing", {}, 404, "/v1/completions"),
]


@pytest.mark.parametrize(("route", "body", "status", "words"), WRONG)
def test_the_reply_to_a_wrong_request_says_what_to_do(
    client: httpx.Client, route: str, body: Any, status: int, words: str
) -> None:
    reply = client.post(route, json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, status)
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_body_that_is_not_json_is_refused(client: httpx.Client) -> None:
    for content in ('{"prompt": ', "[]", ""):
        reply = client.post("/v1/completions", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == HTTPStatus.BAD_REQUEST
        assert "JSON" in reply.json()["error"]["message"]


def test_values_that_change_nothing_are_accepted(post: Post) -> None:
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0}
    post("/v1/completions", **SAY, **neutral, echo=False, best_of=1, logit_bias=None, user="me", ignore_eos=False)


def test_a_server_with_a_key_requires_it(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLWISE_API_KEY", "sesame")
    with running(models) as address, httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for given in ({}, {"authorization": "Bearer open"}):
            reply = client.post("/v1/completions", json=SAY, headers=given)
            assert reply.status_code == HTTPStatus.UNAUTHORIZED
            assert "sesame" not in reply.text
        reply = client.post("/v1/completions", json=SAY, headers={"authorization": "Bearer sesame"})
        assert reply.status_code == HTTPStatus.OK
        assert client.get("/health").status_code == HTTPStatus.OK


def test_without_the_extra_the_command_names_it() -> None:
    code = "sys.modules['uvicorn'] = None; from rollwise.cli import main; sys.argv[1:] = ['serve-model']; main()"
    run = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "rollwise: a server needs an extra: pip install 'rollwise[serve]'\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy", "demonstrator"], "no model that can be served"),
        (["--reward", "dial(0.2)"], "no model that can be served"),
        (["--policy", "nowhere"], "no policy is called 'nowhere'"),
        (["--embedder", "nothing", "--reward", "none"], "hidden, minilm or none"),
        (["--dtype", "int8"], "dtype: Input should be 'float32', 'bfloat16' or 'float16'"),
        (["--host", "203.0.113.1"], "cannot listen at 203.0.113.1:0"),
    ],
)
def test_a_part_that_cannot_be_served_is_refused_at_the_start(options: list[str], words: str) -> None:
    run = CliRunner().invoke(build_app(), ["serve-model", "--port", "0", *options])
    assert isinstance(run.exception, InputError)
    assert words in str(run.exception)


def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "rollwise", "serve-model", "--port", "0", "--reward", "none", "--rows", "4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as run:
        assert run.stdout is not None
        found = re.search(r"serving at (http\S+)", run.stdout.readline())
        assert found is not None
        body = SAY | {"prompt": prompt_text(question(0))}
        with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=PATIENCE) as client:
            assert client.post(f"{found[1]}/v1/completions", json=body).status_code == HTTPStatus.OK
            missing = client.post(f"{found[1]}/pooling", json={"input": "a"})
        assert missing.status_code == HTTPStatus.NOT_FOUND
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read()
        assert run.wait(PATIENCE) == 0
    assert "curl" in rest
    assert "Traceback" not in rest


def test_a_served_reward_knows_that_our_own_server_keeps_prefixes(url: str) -> None:
    assert ServedReward(FAMILIES["chat"], url).remarks == ()
