"""The service before a policy on another server: prompts keep their turns, and a hang-up reaches the server."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
from served import QUESTION, TEXTS, Emulator, decode, emulated
from serving import chat, serving, until

from rollwise.engines.http import Patience
from rollwise.errors import InputError
from rollwise.registry import find_policy
from rollwise.worlds import FreeText

INSTRUCTION = FreeText().parse(QUESTION).instruction or ""


@pytest.fixture(scope="module")
def policy() -> Iterator[Emulator]:
    with emulated("vllm") as server:
        yield server


@pytest.fixture(scope="module")
def url(policy: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    route = {"policy": policy.url, "budget": 4, "strategy": "rebase", "concurrency": 8}
    with serving(tmp_path_factory.mktemp("served"), routes={"math": route}) as (address, _):
        assert post(address, **chat(QUESTION)).status_code == 200  # the policy is probed before
        yield address


def post(url: str, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, timeout=60)


def prompts(policy: Emulator) -> list[str]:
    return [decode(body["prompt"]) for body in policy.bodies("/v1/completions") if not isinstance(body["prompt"], str)]


def test_system_messages_and_earlier_turns_are_in_the_prompt(url: str, policy: Emulator) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]
    policy.log.clear()
    reply = post(url, messages=[*turns, *chat(QUESTION)["messages"]])
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] in TEXTS
    start = f"<system>Be brief.\n\n{INSTRUCTION}<user>Hello<assistant>Hi<user>{QUESTION}<answer>"
    assert prompts(policy)
    assert all(prompt.startswith(start) for prompt in prompts(policy))


def test_a_prompt_goes_as_it_is(url: str, policy: Emulator) -> None:
    policy.log.clear()
    reply = post(url, "/v1/completions", prompt=f"{QUESTION}\n")
    assert reply.status_code == 200, reply.text
    sent = [body["prompt"] for body in policy.bodies("/v1/completions")]
    texts = [each if isinstance(each, str) else decode(each) for each in sent]
    assert any(text == f"{QUESTION}\n" for text in texts)
    assert not any(INSTRUCTION in text for text in texts)
    assert reply.json()["choices"][0]["text"]


def test_usage_is_what_the_server_counted(url: str, policy: Emulator) -> None:
    policy.log.clear()
    usage = post(url, **chat(QUESTION)).json()["usage"]
    asked = prompts(policy)
    assert usage["prompt_tokens"] == sum(map(len, asked))
    assert usage["prompt_tokens_details"]["cached_tokens"] == sum(16 * (len(prompt) // 16) for prompt in asked)


def test_a_client_that_hangs_up_ends_the_requests_upstream(tmp_path: FilePath) -> None:
    with emulated("vllm", seconds=1.0) as slow:
        route = {"policy": slow.url, "budget": 8, "strategy": "temperature", "concurrency": 2}
        with serving(tmp_path, routes={"math": route}) as (url, service):
            until(lambda: ("math", "search", (), False) in service.engines._kept)
            slow.log.clear()
            host, port = url.removeprefix("http://").split(":")
            body = json.dumps(chat(QUESTION, stream=True)).encode()
            with socket.create_connection((host, int(port))) as connection:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                until(lambda: slow.bodies("/v1/completions"))
            until(lambda: service.admission.running == 0)
            time.sleep(2.5)  # a search that went on would ask for two texts a second
            assert len(slow.bodies("/v1/completions")) <= 4


def test_a_policy_that_is_away_is_told_and_found_again(tmp_path: FilePath) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and never listens, so that nobody answers there
        route = {"policy": f"http://127.0.0.1:{held.getsockname()[1]}", "budget": 2}
        with serving(tmp_path, routes={"math": route}) as (url, _):
            reply = post(url, **chat(QUESTION))
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1
            assert httpx.get(f"{url}/health").json()["routes"]["math"]["up"] is False
            assert httpx.get(f"{url}/live").status_code == 200


def test_a_server_that_is_gone_is_told_at_once(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated("vllm") as server:
        route = {"policy": server.url, "budget": 2, "strategy": "temperature"}
        with serving(tmp_path, routes={"math": route}, probe=0.1) as (url, _):
            assert post(url, **chat(QUESTION)).status_code == 200
            server.shutdown()
            server.server_close()
            until(lambda: httpx.get(f"{url}/health").status_code == 503)
            monkeypatch.setattr(Patience, "wait", lambda *_: 3600.0)  # whoever tries again does not answer in time
            reply = post(url, **chat(QUESTION))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert f"nothing listens at the policy {server.url}" in reply.json()["error"]["message"]


def test_an_address_without_its_scheme_is_told_so() -> None:
    with pytest.raises(InputError, match=r"give http://127\.0\.0\.1:8000"):
        find_policy("127.0.0.1:8000", "text")
