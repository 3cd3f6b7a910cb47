"""The service on loopback: official clients, streams, clients that hang up, and requests of every kind."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

import httpx
import openai
import pytest
from serving import HARD, QUESTION, chat, events_of, serving, until, upstream

import rollwise
from rollwise.core import (
    Failure,
    FloatArray,
    Judgement,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    RewardModel,
    RewardSession,
    Sampling,
    Step,
    Stop,
    Usage,
)
from rollwise.openai_format import RequestError
from rollwise.service import Route, Service, Settings, replay_search, search_page, search_record
from rollwise.service.asked import target_of

Running = tuple[str, Service]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("service")) as (url, service):
        yield url, service


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running[0]}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(client: openai.OpenAI, question: str = QUESTION, model: str = "game", **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=model, messages=messages, **fields)


def test_the_reply_is_the_searchs_own_and_usage_counts_all_rollouts(client: openai.OpenAI, running: Running) -> None:
    reply = ask(client, HARD, extra_body={"rollwise": {"budget": 6, "seed": 3}})
    found = reply.rollwise
    digest = hashlib.sha256(
        json.dumps(["game", [{"role": "user", "content": HARD}], None], sort_keys=True).encode()
    ).hexdigest()
    problem = Problem(digest, "Use 18, 1, 13, 22, 7, each once, with + − × ÷ to make 132.", "132", "countdown")
    alone = rollwise.solve(problem, "dora", 6, seed=3)
    assert (found["answer"], found["support"]) == (alone.answer, pytest.approx(alone.support, abs=1e-6))
    assert reply.choices[0].message.content == (
        alone.text or max(alone.finished, key=lambda path: path.rewards[-1]).text
    )
    record = search_record(running[1].writer.store, found["id"])
    grown = [event for event in record["events"] if event["event"] == "grown"]
    assert reply.usage.completion_tokens == sum(event["tokens"] for event in grown)
    assert reply.usage.completion_tokens == alone.ledger.usage["policy"].generated
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.rollwise["policy"]["generated"] == reply.usage.completion_tokens
    assert (found["budget"], found["seed"], found["strategy"], found["spent"]) == (6, 3, "dora", 6)


def test_a_search_can_be_asked_for_by_model_header_and_field(client: openai.OpenAI) -> None:
    by_model = ask(client, model="rebase-3/game").rollwise
    assert (by_model["strategy"], by_model["budget"], by_model["stage"]) == ("rebase", 3, "pinned")
    by_header = ask(client, model="rebase-3/game", extra_headers={"x-rollwise-budget": "2"}).rollwise
    assert by_header["budget"] == 2
    by_field = ask(
        client, extra_headers={"x-rollwise-budget": "2"}, extra_body={"rollwise": {"budget": 5, "vote": "majority"}}
    ).rollwise
    assert (by_field["budget"], by_field["vote"]) == (5, "majority")


@pytest.mark.parametrize("header", ["x-rollwise-stop-early", "x-rollwise-stop_early"])
def test_a_header_says_when_to_stop_early(header: str) -> None:
    settings = Settings(routes={"game": Route()})
    assert target_of(settings, chat(), {header: "never"}).fields.stop_early == "never"
    with pytest.raises(RequestError, match="sometimes"):
        target_of(settings, chat(), {header: "sometimes"})


def test_a_stream_tells_progress_then_the_same_text_then_usage(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    told = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks if chunk.choices]
    assert sum(text is not None for text in told) == whole.rollwise["rounds"]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].rollwise["answer"] == whole.rollwise["answer"]


def test_text_completions_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="game", prompt=QUESTION, n=2)
    streamed = ["", ""]
    for chunk in client.completions.create(model="game", prompt=QUESTION, n=2, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in whole.choices]
    seeds = [choice.rollwise["seed"] for choice in whole.choices]  # type: ignore[attr-defined]
    assert seeds == [0, 1]


async def test_many_at_once_get_their_own_answers(running: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{running[0]}/v1", api_key="none", max_retries=0, timeout=60) as client:

        async def one(seed: int) -> Any:
            messages: Any = [{"role": "user", "content": QUESTION}]
            return await client.chat.completions.create(model="game", messages=messages, seed=seed)

        replies = await asyncio.gather(*(one(seed) for seed in range(16)))
    assert [reply.rollwise["seed"] for reply in replies] == list(range(16))
    assert len({reply.rollwise["id"] for reply in replies}) == 16


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_search(running: Running, stream: bool) -> None:
    url, service = running
    before = search_page(service.writer.store, filters={"outcome": "cancelled"})[1]
    body = json.dumps(chat(HARD, stream=stream, rollwise={"budget": 512})).encode()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: service.admission.running)
    until(lambda: search_page(service.writer.store, filters={"outcome": "cancelled"})[1] > before)
    assert search_page(service.writer.store, filters={"outcome": "cancelled"})[1] == before + 1
    assert service.admission.running == 0


def test_a_stop_string_ends_the_text_and_max_tokens_cuts_it(client: openai.OpenAI) -> None:
    stopped = ask(client, stop="left").choices[0]
    assert "left" not in stopped.message.content
    assert stopped.finish_reason == "stop"
    cut = ask(client, HARD, max_tokens=5).choices[0]
    assert cut.finish_reason == "length"
    assert len(cut.message.content) < 40


class Slow(Policy):
    """Path i ends after one step, 0.2 · i seconds after its start."""

    parameters = 0

    def open(self, problem: Problem, sampling: Sampling) -> "SlowSession":
        return SlowSession()


class SlowSession(PolicySession):
    room = 100

    def __init__(self) -> None:
        self.usage = Usage()

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        return [step async for _, step in self.as_grown(paths)]

    async def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None]:
        for path in paths:
            await asyncio.sleep(0.2)
            yield path, Step(f"\\boxed{{3 + 4 × {path.key[0]}}}", 5, Stop.END)

    def hidden(self, key: PathKey) -> FloatArray:
        raise NotImplementedError

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class Fixed(RewardModel, RewardSession):
    """Gives every path .5, a path at a time."""

    parameters, at_once, usage = 0, 1, Usage()

    def open(self, problem: Problem, seed: int) -> "Fixed":
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Judgement | Failure]:
        return [0.5] * len(paths)

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_deadline_answers_with_the_paths_that_finished(tmp_path: FilePath) -> None:
    slow = Route(policy=Slow(), reward=Fixed(), strategy="temperature", budget=50, stop_early="never", vote="majority")
    with serving(tmp_path, routes={"slow": slow}) as (url, service), httpx.Client(base_url=url, timeout=60) as http:
        reply = http.post("/v1/chat/completions", json=chat(rollwise={"deadline": 3.0})).json()
        found = reply["rollwise"]
        assert found["outcome"] == "deadline"
        assert 1 <= found["spent"] < 20
        assert found["saved"] == 0
        assert reply["choices"][0]["message"]["content"] == "\\boxed{3 + 4 × 0}"
        assert replay_search(search_record(service.writer.store, found["id"])) == []
        late = http.post("/v1/chat/completions", json=chat(rollwise={"deadline": 0.01}))
        assert (late.status_code, late.json()["error"]["type"]) == (504, "InternalServerError")


REFUSED: list[tuple[Any, int, str | None]] = [
    (b"", 400, None),
    (b"{", 400, None),
    (b"[1]", 400, None),
    (b'"x"', 400, None),
    (b"\xff\xfe", 400, None),
    (b'{"messages": NaN}', 400, None),
    (b"[" * 100_000, 400, None),
    (b'{"messages":' + b'{"a":' * 50_000, 400, None),
    (b'{"messages":[{"role":"user","content":"\\ud800"}]}', 400, None),
    (b'{"model":"\\ud800"}', 400, None),
    (b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}', 400, None),
    ('{"messages":[{"role":"user","content":"\\ud800"}]}'.encode("utf-16-le"), 400, None),
    ({}, 400, "messages"),
    ({"messages": []}, 400, "messages"),
    ({"messages": None}, 400, "messages"),
    ({"messages": "hi"}, 400, "messages"),
    ({"messages": [1]}, 400, "messages[0]"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": 3}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages"),
    (chat("What is love?"), 400, "messages"),
    (chat("\0"), 400, "messages"),
    (chat(model="other"), 404, "model"),
    (chat(model="evil-3/game"), 404, "model"),
    (chat(model="dora-0/game"), 404, "model"),
    (chat(model=7), 400, "model"),
    (chat(model="x" * 5000), 404, "model"),
    (chat(n=0), 400, "n"),
    (chat(n=10**6), 400, "n"),
    (chat(n=1.5), 400, "n"),
    (chat(temperature=-1), 400, "temperature"),
    (chat(temperature="hot"), 400, "temperature"),
    (chat(top_p=0), 400, "top_p"),
    (chat(top_p=2), 400, "top_p"),
    (chat(seed=-1), 400, "seed"),
    (chat(seed="x"), 400, "seed"),
    (chat(max_tokens=0), 400, "max_tokens"),
    (chat(max_completion_tokens=-5), 400, "max_completion_tokens"),
    (chat(stop=[""]), 400, "stop"),
    (chat(stop=7), 400, "stop"),
    (chat(stream="maybe"), 400, "stream"),
    (chat(stream_options={"include_usage": True}), 400, "stream_options"),
    (chat(logprobs=True), 400, "logprobs"),
    (chat(top_logprobs=3), 400, "top_logprobs"),
    (chat(logit_bias={"1": 5}), 400, "logit_bias"),
    (chat(presence_penalty=1), 400, "presence_penalty"),
    (chat(return_token_ids=True), 400, "return_token_ids"),
    (chat(tools=[{"type": "function"}]), 400, "tools"),
    (chat(response_format={"type": "json_object"}), 400, "response_format"),
    (chat(unknown=1), 400, "unknown"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "messages[0].content"),
    (chat(rollwise=3), 400, "rollwise"),
    (chat(rollwise={"budget": 0}), 400, "rollwise.budget"),
    (chat(rollwise={"budget": "6"}), 400, "rollwise.budget"),
    (chat(rollwise={"budget": 10**9}), 400, "rollwise.budget"),
    (chat(rollwise={"deadline": 0}), 400, "rollwise.deadline"),
    (chat(rollwise={"deadline": -3}), 400, "rollwise.deadline"),
    (chat(rollwise={"strategy": "own.py:function"}), 400, "rollwise.strategy"),
    (chat(rollwise={"vote": "coin"}), 400, "rollwise.vote"),
    (chat(rollwise={"stop_early": "sometimes"}), 400, "rollwise.stop_early"),
    (chat(rollwise={"policy": "http://evil"}), 400, "rollwise.policy"),
    (chat(rollwise={"search": False}), 400, "rollwise.search"),
]


@pytest.mark.parametrize(("body", "status", "field"), REFUSED)
def test_a_wrong_request_is_refused_by_its_field(http: httpx.Client, body: Any, status: int, field: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = http.post("/v1/chat/completions", content=content)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["param"] == field
    assert error["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/completions", {"prompt": [1, 2]}, 400, "prompt"),
        ("/v1/completions", {"prompt": ["a", "b"]}, 400, "prompt"),
        ("/v1/completions", {"prompt": ""}, 400, "prompt"),
        ("/v1/completions", {}, 400, "prompt"),
        ("/v1/completions", {"prompt": QUESTION, "echo": True}, 400, "echo"),
        ("/v1/completions", {"prompt": QUESTION, "logprobs": 2}, 400, "logprobs"),
        ("/v1/feedback", {"id": "x", "right": True}, 404, "id"),
        ("/v1/feedback", {"id": "x"}, 400, "right"),
        ("/v1/feedback", {"id": 3, "right": True}, 400, "id"),
        ("/v1/feedback", {"right": True}, 400, "id"),
        ("/v1/embeddings", {"input": "x"}, 404, None),
    ],
)
def test_wrong_requests_of_other_routes(
    http: httpx.Client, path: str, body: Any, status: int, field: str | None
) -> None:
    reply = http.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, field), reply.text


def test_a_wrong_header_is_refused(http: httpx.Client) -> None:
    reply = http.post("/v1/chat/completions", json=chat(), headers={"x-rollwise-budget": "many"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "rollwise.budget")


def test_other_methods_and_long_bodies_are_refused(http: httpx.Client, running: Running) -> None:
    assert http.get("/v1/chat/completions").status_code == 405
    most = running[1].settings.body_bytes
    assert http.post("/v1/chat/completions", content=b" " * (most + 1)).status_code == 413

    def parts() -> Iterator[bytes]:
        for _ in range(most // 65536 + 2):
            yield b" " * 65536

    assert http.post("/v1/chat/completions", content=parts()).status_code == 413


def test_models_health_metrics_and_description(http: httpx.Client, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["game"]
    assert client.models.retrieve("game").owned_by == "rollwise-service"
    health = http.get("/health").json()
    assert health["status"] == "ok"
    ask(client)
    text = http.get("/metrics").text
    assert 'rollwise_searches_total{outcome="answered",route="game",rule="search",stage="full",strategy="dora"}' in text
    described = http.get("/openapi.json").json()
    references = {part.split('"')[0] for part in json.dumps(described).split("#/components/schemas/")[1:]}
    assert references <= set(described["components"]["schemas"])


def test_feedback_compares_with_a_gold_answer(client: openai.OpenAI, http: httpx.Client) -> None:
    found = ask(client).rollwise
    for body, right in [({"gold": found["answer"]}, True), ({"gold": "18"}, False), ({"right": False}, False)]:
        assert http.post("/v1/feedback", json={"id": found["id"]} | body).json()["right"] is right


def test_keys_are_checked_and_limits_hold(tmp_path: FilePath, capfd: pytest.CaptureFixture[str]) -> None:
    key = "s3cret-key"
    keys = {"ann": hashlib.sha256(key.encode()).hexdigest()}
    with (
        serving(tmp_path, keys=keys, searches=1, queue=0, log=True) as (url, service),
        httpx.Client(base_url=url) as http,
    ):
        for headers in ({}, {"authorization": f"Bearer {key}x"}, {"authorization": key}, {"authorization": "Bearer"}):
            assert http.post("/v1/chat/completions", json=chat(), headers=headers).status_code == 401
        assert http.get("/metrics").status_code == 401
        known = {"authorization": f"Bearer {key}"}
        first = http.post("/v1/chat/completions", json=chat(), headers=known, timeout=60)
        assert first.status_code == 200, first.text
        assert search_record(service.writer.store, first.json()["rollwise"]["id"])["client"] == "ann"

        def post(_: int) -> httpx.Response:
            body = chat(HARD, rollwise={"budget": 32})
            return httpx.post(f"{url}/v1/chat/completions", json=body, headers=known, timeout=60)

        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(post, range(4)))
        statuses = sorted(reply.status_code for reply in replies)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status_code == 429)
        service.admission.draining = True
        refused = http.post("/v1/chat/completions", json=chat(), headers=known)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert http.get("/health").json()["status"] == "draining"
    told = capfd.readouterr()
    assert '"event": "search"' in told.err
    assert key not in told.err + told.out
    assert QUESTION not in told.err


def test_what_is_not_searched_goes_to_the_upstream_unchanged(tmp_path: FilePath) -> None:
    with upstream() as behind:
        routes = {"game": {"rules": ["forward", "dora"], "budget": 4, "upstream": behind.url, "model": "tiny"}}
        with serving(tmp_path, routes=routes) as (url, _), httpx.Client(base_url=url, timeout=60) as http:
            raw = b'{ "model":"tiny",  "messages": [{"role":"user","content":"Hi\\u00e9"}], "logprobs": true }'
            reply = http.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"})
            assert reply.content == behind.reply
            assert behind.got[-1][:2] == ("/v1/chat/completions", raw)
            assert reply.headers["x-rollwise"] == "forwarded; rule"
            assert reply.headers["x-rollwise-stage"] == "off"
            tools = http.post("/v1/chat/completions", json=chat(model="dora-4/game", tools=[{"type": "function"}]))
            assert tools.json()["rollwise"] == {"forwarded": True, "reason": "tools"}
            assert json.loads(behind.got[-1][1])["model"] == "tiny"
            pinned = http.post("/v1/chat/completions", json=chat(model="dora-4/game")).json()
            assert pinned["rollwise"]["strategy"] == "dora"
            assert len(behind.got) == 2
        with serving(tmp_path, routes=routes | {"game": routes["game"] | {"upstream": "http://127.0.0.1:9"}}) as (
            url,
            _,
        ):
            reply = httpx.post(f"{url}/v1/chat/completions", json=chat())
            assert reply.status_code == 502
            until(lambda: httpx.get(f"{url}/health").status_code == 503)
            health = httpx.get(f"{url}/health")
            assert "http://127.0.0.1:9" in health.json()["routes"]["game"]["down"][0]


def test_events_of_a_stream_are_whole(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/chat/completions", json=chat(stream=True, n=2)) as reply:
        events = events_of(reply.iter_lines())
    ends = [event["choices"][0] for event in events if event["choices"][0].get("finish_reason")]
    assert [end["index"] for end in ends] == [0, 1]
