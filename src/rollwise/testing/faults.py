"""A line that breaks: a proxy before an HTTP server, to see what a client makes of replies that are lost, late, cut
off, errors or garbage.
"""

from __future__ import annotations

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
"""What may become of an exchange: no reply; a late one; one cut off after two thirds; status 500; no JSON. A request
that is dropped, or answered by 500 or garbage, never reaches the server.
"""


class FaultsProxy(socketserver.ThreadingTCPServer):
    """A proxy at a free port of this machine that breaks a `share` of the exchanges with the server at `target`.

    Whether the n-th exchange is struck is drawn by `seed` and n, each by itself, so a request may be struck again when
    it is tried again; the kinds of faults take turns. Every connection is closed after one exchange, so that each
    request can be hit. `done` says of each exchange what became of it: "passed", or the fault. `share` and `kinds` may
    be changed while it runs. Raises InputError for a target that is not `http://host:port`.

    Requests have to say their Content-Length; chunked ones are not read.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(
        self, target: str, share: float, seed: int = 0, kinds: Sequence[str] = FAULTS, delay: float = 0.2
    ) -> None:
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(f"the proxy stands before a server at http://host:port, not {target!r}")
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.target = parts.hostname, parts.port or 80
        self.share, self.seed, self.kinds, self.delay = share, seed, tuple(kinds), delay
        self.done: list[str] = []
        self._struck = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self) -> str | None:
        """The fault of the next exchange, None where it passes."""
        with self._lock:
            drawn = float(keyed_generator("fault", self.seed, len(self.done)).random())
            fault = None
            if drawn < self.share:
                fault = self.kinds[self._struck % len(self.kinds)]
                self._struck += 1
            self.done.append(fault or "passed")
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the proxy's."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Exchange(socketserver.BaseRequestHandler):
    server: FaultsProxy

    def handle(self) -> None:
        request = _message(self.request)
        if not request:
            return
        fault = self.server.fault()
        if fault == "drop":
            return
        if fault == "delay":
            time.sleep(self.server.delay)
        if fault == "500":
            reply = _reply(b"500 Internal Server Error", b'{"error": {"message": "a fault"}}')
        elif fault == "garbage":
            reply = _reply(b"200 OK", b'{"choices": [{"te')
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


def _message(connection: socket.socket) -> bytes:
    """One HTTP request with its body, which asks for the connection to be closed; nothing where it breaks off."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    told = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    while told and len(body) < int(told[1]):
        if not (part := connection.recv(65536)):
            return b""
        body += part
    head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE)
    return head + b"\r\nConnection: close\r\n\r\n" + body


@contextmanager
def faulty(target: str, share: float, seed: int = 0, **settings: Any) -> Iterator[FaultsProxy]:
    """A FaultsProxy that runs in a thread of its own, for as long as the context lasts."""
    proxy = FaultsProxy(target, share, seed, **settings)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True, name="faults-proxy").start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
