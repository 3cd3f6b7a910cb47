"""A proxy in front of an HTTP server that simulates a faulty connection, to test how a client copes with it."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from rollwise.errors import InputError
from rollwise.numerics import keyed_generator

FAULTS = ("drop", "delay", "truncate", "500", "garbage")
"""The faults of an exchange: no reply; a late reply; a reply cut off after two thirds; status 500; a reply that is not
JSON. A request that is dropped, or answered with 500 or garbage, never reaches the server.
"""

MANNERS = ("eos_name", "no_reason", "line_separator", "list", "error", "number", "null", "html")
"""Odd manners of servers, as further faults. The first three leave the meaning of a reply as it is: the text's end is
called "eos"; a stream ends with [DONE] and no finish reason; the JSON holds Unicode's own line ends, unescaped. The
others answer 200 in another shape: a list of models, an error, a number, null, HTML. Such a request never reaches the
server.
"""
_WRONG_SHAPES = {
    "list": b'[{"id": "model"}]',
    "error": b'{"error": {"message": "a fault"}}',
    "number": b"7",
    "null": b"null",
    "html": b"<html><body>Welcome</body></html>",
}


class FaultsProxy(socketserver.ThreadingTCPServer):
    """A proxy at a free port of this machine that breaks a `share` of the exchanges with the server at `target`.

    Each exchange breaks or passes independently, keyed by `seed` and its number, so a request may break again when it
    is retried. The `kinds` of faults take turns; a delayed reply is `delay` seconds late. The proxy closes every
    connection after one exchange, so every request can break. `outcomes` lists each exchange: "passed", or its fault.
    `share` and `kinds` may be changed while the proxy runs. It reads requests with a Content-Length only, not chunked
    requests. Raises InputError for a target that is not `http://host:port`.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(
        self, target: str, share: float, seed: int = 0, kinds: Sequence[str] = FAULTS, delay: float = 0.2
    ) -> None:
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(f"give the address of the proxy's server as http://host:port, not {target!r}")
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.target = parts.hostname, parts.port or 80
        self.share, self.seed, self.kinds, self.delay = share, seed, tuple(kinds), delay
        self.outcomes: list[str] = []
        self._broken = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address of the proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str | None:
        """The fault of the next exchange; None if it passes."""
        with self._lock:
            drawn = float(keyed_generator("fault", self.seed, len(self.outcomes)).random())
            fault = None
            if drawn < self.share:
                fault = self.kinds[self._broken % len(self.kinds)]
                self._broken += 1
            self.outcomes.append(fault or "passed")
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that closed its connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Exchange(socketserver.BaseRequestHandler):
    server: FaultsProxy

    def handle(self) -> None:
        request = _message(self.request)
        if not request:
            return
        fault = self.server.next_fault()
        if fault == "drop":
            return
        if fault == "delay":
            time.sleep(self.server.delay)
        if fault == "500":
            reply = _reply(b"500 Internal Server Error", b'{"error": {"message": "a fault"}}')
        elif fault == "garbage":
            reply = _reply(b"200 OK", b'{"choices": [{"te')
        elif fault in _WRONG_SHAPES:
            reply = _reply(b"200 OK", _WRONG_SHAPES[fault])
        elif fault in MANNERS:
            reply = _rewritten(self._forwarded(request), fault)
        else:
            reply = self._forwarded(request)
        self.request.sendall(reply[: len(reply) * 2 // 3] if fault == "truncate" else reply)

    def _forwarded(self, request: bytes) -> bytes:
        parts = []
        with socket.create_connection(self.server.target) as onward:
            onward.sendall(request)
            while part := onward.recv(65536):
                parts.append(part)
        return b"".join(parts)


def _reply(status: bytes, body: bytes) -> bytes:
    size = str(len(body)).encode()
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: " + size + b"\r\nConnection: close\r\n\r\n" + body


def _rewritten(reply: bytes, manner: str) -> bytes:
    """A reply with its JSON, or the JSON of each of its events, in one of the manners that keep its meaning."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
        body = _joined_chunks(body)
    streams = b"text/event-stream" in head.lower()
    if streams:
        lines = body.decode().split("\n")
        changed = "\n".join(
            "data: " + _in_manner(line[6:], manner, True) if line[:6] == "data: " else line for line in lines
        )
    else:
        changed = _in_manner(body.decode(), manner, False)
    kept = [line for line in head.split(b"\r\n") if not re.match(rb"(transfer-encoding|content-length):", line.lower())]
    content = changed.encode()
    return b"\r\n".join([*kept, b"Content-Length: " + str(len(content)).encode(), b"", content])


def _in_manner(text: str, manner: str, streams: bool) -> str:
    """JSON in a manner; any other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict):
        return text
    if manner == "line_separator":
        value["note"] = "a\u2028b\u2029c\u0085d"
    for choice in value.get("choices") or []:
        if (
            manner == "eos_name"
            and choice.get("finish_reason") == "stop"
            and not isinstance(choice.get("stop_reason"), str)
        ):
            choice["finish_reason"] = "eos"
        elif manner == "no_reason" and streams:
            choice["finish_reason"] = None
    return json.dumps(value, ensure_ascii=False)


def _joined_chunks(body: bytes) -> bytes:
    """The content of a body that was sent in chunks."""
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        content += rest[:length]
        body = rest[length + 2 :] if length else b""
    return content


def _message(connection: socket.socket) -> bytes:
    """One HTTP request with its body, changed to close the connection; empty if the request breaks off."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        if not (part := connection.recv(65536)):
            return b""
        body += part
    head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE)
    return head + b"\r\nConnection: close\r\n\r\n" + body


@contextmanager
def faulty(target: str, share: float, seed: int = 0, **settings: Any) -> Iterator[FaultsProxy]:
    """A context with a running FaultsProxy; `settings` are its other arguments."""
    proxy = FaultsProxy(target, share, seed, **settings)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True, name="faults-proxy").start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
