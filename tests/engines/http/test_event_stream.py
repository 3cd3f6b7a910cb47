"""Streamed replies in every form that servers send them, over a loopback connection."""

import asyncio
import json
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from served import FAST, PROBLEM, emulated
from walking import extended

from rollwise.core import Failure, Path, Step, Stop
from rollwise.engines import step_rule
from rollwise.engines.http.client import Fleet
from rollwise.engines.http.exchange import LostError, TransientError
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.replies import read_reply
from rollwise.engines.http.servers import Address, Server
from rollwise.engines.http.shapes import BrokenReplyError
from rollwise.engines.http.streams import EmptyStreamError, Stream

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
RULE = step_rule("separator")
STREAMED = Server("http://a", "openai", "m", stopping="streamed")


class RawReply(socketserver.BaseRequestHandler):
    """Replies with parts of raw bytes, each in a network packet of its own."""

    def handle(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += self.request.recv(65536)
        for part in self.server.parts:  # type: ignore[attr-defined]
            self.request.sendall(part)
            time.sleep(0.02)


@contextmanager
def replying(parts: Sequence[bytes]) -> Iterator[str]:
    """The URL of a server that sends these parts."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RawReply) as server:
        server.parts = parts  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def streamed(parts: Sequence[bytes], limit: int | None = None) -> Any:
    """The reply as a whole that the client joins from these parts."""
    with replying(parts) as url:
        fleet = Fleet([Address(url)])
        fleet.enter()
        try:
            return await fleet.stream(fleet.endpoints[0], "/", {}, Stream(RULE, limit), 9.0)
        finally:
            await fleet.leave()


def event(text: str, reason: str | None = None, indent: int | None = None) -> str:
    """The data of an event with a piece of text, with its characters as they are rather than escaped."""
    return json.dumps({"choices": [{"text": text, "finish_reason": reason}]}, ensure_ascii=False, indent=indent)


def sent(*data: str, end: str = "\n\n", field: str = "data: ") -> bytes:
    return "".join(f"{field}{each}{end}" for each in data).encode()


def in_bytes(content: bytes) -> list[bytes]:
    return [content[place : place + 1] for place in range(len(content))]


FIRST, LAST = event("2 × 3 = "), event("6", "stop")
PRETTY = "data: " + event("2 × 3 = ", indent=1).replace("\n", "\ndata: ") + "\n\n"
FORMS = {
    "line feeds": [sent(FIRST, LAST, "[DONE]")],
    "carriage returns": [sent(FIRST, LAST, "[DONE]", end="\r\r")],
    "both": [sent(FIRST, LAST, "[DONE]", end="\r\n\r\n")],
    "both, split between them": [sent(FIRST, end="\r"), b"\n\r", b"\n" + sent(LAST, end="\r\n\r"), b"\n"],
    "one event over several data lines": [PRETTY.encode() + sent(LAST)],
    "comments and empty events": [b": ping\n\n\n\nid: 7\n\ndata:\n\n" + sent(FIRST) + b": ping\n\n" + sent(LAST)],
    "other fields": [b"event: delta\nid: 1\nretry: 10\n" + sent(FIRST) + b"event: delta\n" + sent(LAST)],
    "a byte order mark": [b"\xef\xbb\xbf" + sent(FIRST, LAST)],
    "a byte order mark in pieces": [b"\xef", b"\xbb\xbfda", b"ta: " + sent(FIRST, LAST)[6:]],
    "no space after the colon": [sent(FIRST, LAST, "[DONE]", field="data:")],
    "no blank line at the end": [sent(FIRST) + b"data: " + LAST.encode()],
    "no blank line after a line end": [sent(FIRST) + b"data: " + LAST.encode() + b"\n"],
    "no content type": [b"".join(in_bytes(sent(FIRST, LAST)))],
    "a line in two packets": [sent(FIRST)[:20], sent(FIRST)[20:] + sent(LAST)],
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_event_stream_is_read(form: str) -> None:
    head = HEAD.replace(b"Content-Type: text/event-stream\r\n", b"") if form == "no content type" else HEAD
    reply = await streamed([head, *FORMS[form]])
    assert reply["choices"][0]["text"] == "2 × 3 = 6"
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "√", "🙂"])
async def test_a_piece_of_text_is_never_split_at_a_unicode_line_end_or_inside_a_character(character: str) -> None:
    content = sent(event(f"a{character}b"), event(f"{character}c", "stop"), "[DONE]")
    place = content.index(character.encode()) + 1
    for parts in ([content], [content[:place], content[place:]]):
        reply = await streamed([HEAD, *parts])
        assert reply["choices"][0]["text"] == f"a{character}b{character}c"


async def test_events_in_single_bytes_are_read() -> None:
    reply = await streamed([HEAD, *in_bytes(sent(event("a\u2028√", "stop"), end="\r\n\r\n"))])
    assert reply["choices"][0]["text"] == "a\u2028√"


@pytest.mark.parametrize("last", [[], ["[DONE]"]])
async def test_a_stream_that_ends_at_once_or_without_an_end_is_broken(last: list[str]) -> None:
    with pytest.raises(BrokenReplyError):
        await streamed([HEAD, sent(*last)])
    with pytest.raises(BrokenReplyError, match="before the completion did"):
        await streamed([HEAD, sent(FIRST)])


async def test_an_empty_stream_is_distinguished_and_garbled_data_is_broken() -> None:
    with pytest.raises(EmptyStreamError):
        await streamed([HEAD])
    with pytest.raises(BrokenReplyError, match="no JSON"):
        await streamed([HEAD, sent(FIRST, '{"choices": [{"te')])


async def test_a_stream_that_is_done_without_a_finish_reason_has_ended_or_was_cut() -> None:
    parts = [HEAD, sent(event("do"), event("ne"), "[DONE]")]
    ended = read_reply(STREAMED, await streamed(parts, limit=8), RULE, 8, 5).step
    assert (ended.text, ended.stop, ended.tokens) == ("done", Stop.END, 2)
    cut = read_reply(STREAMED, await streamed(parts, limit=2), RULE, 2, 5).step
    assert (cut.text, cut.stop, cut.tokens) == ("done", Stop.LENGTH, 2)


@pytest.mark.parametrize("reason", ["eos", "eos_token", "end_turn"])
async def test_other_names_for_the_end_of_the_text_are_known(reason: str) -> None:
    reply = await streamed([HEAD, sent(event("done", reason), "[DONE]")])
    step = read_reply(STREAMED, reply, RULE, 8, 5).step
    assert (step.text, step.stop) == ("done", Stop.END)


async def test_a_streamed_refusal_has_its_wait_and_its_message() -> None:
    with pytest.raises(TransientError, match="429: slow down") as busy:
        await streamed([b'HTTP/1.1 429 Busy\r\nConnection: close\r\nRetry-After: 7\r\n\r\n{"error": "slow down"}'])
    assert busy.value.wait == 7
    with pytest.raises(LostError, match="400: no such model") as refused:
        await streamed([b'HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{"detail": "no such model"}'])
    assert refused.value.refused


def test_a_streamed_request_waits_as_long_as_the_server_asks_for() -> None:
    with emulated("openai") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        server.failures = [(503, {"Retry-After": "0.3"})]
        began = time.monotonic()
        (step,) = asyncio.run(extended(policy, [Path((0,))], PROBLEM))
    assert isinstance(step, Step)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("ends", [{"reason": "eos_token"}, {"reason": None}], ids=["eos_token", "no reason"])
def test_an_unusual_end_of_a_stream_costs_no_rollout(ends: dict[str, Any]) -> None:
    with emulated("openai", says=lambda *_: ("The answer is 4.", True), ends=ends) as server:
        steps = asyncio.run(extended(HttpPolicy(server.url, patience=FAST), [Path((0,))], PROBLEM))
    assert not [step for step in steps if isinstance(step, Failure)]
    assert [(step.text, step.stop) for step in steps if isinstance(step, Step)] == [("The answer is 4.", Stop.END)]
