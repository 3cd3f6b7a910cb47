"""A service on loopback for tests, and servers to put behind it."""

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rollwise.service import Settings, make_service
from rollwise.service.run import server_of

QUESTION = "Use 3, 4, 5 to make 17"
HARD = "Use 18, 1, 13, 22, 7 to make 132"


def chat(question: str = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]} | fields


@contextmanager
def serving(folder: Path, **fields: Any) -> Iterator[tuple[str, Any]]:
    """The URL of a service with these settings, and the service."""
    from rollwise.openai_format import running_app

    given: dict[str, Any] = {
        "routes": {"game": {"budget": 4, "strategy": "dora"}},
        "store": folder / "store.db",
        "keep_text": True,
    }
    service = make_service(Settings(**(given | {"probe": 0.2} | fields)))
    with running_app(server_of(service)) as url:
        yield url, service
    service.writer.close()
    service.writer.store.close()


def until(true: Callable[..., Any], seconds: float = 120.0) -> None:
    """Wait until something is true. A busy machine may take long; a test fails only if it never comes."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.02)


class Upstream(ThreadingHTTPServer):
    """A chat server that keeps the bytes of every request and always says the same."""

    daemon_threads = True
    reply = b'{"id":"x", "choices": [{"index":0,"message":{"role":"assistant","content":"hello"}}] }\n'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, bytes, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._say(b"{}")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, raw, dict(self.headers)))
        self._say(self.server.reply)

    def _say(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def events_of(lines: Iterator[str]) -> list[Any]:
    """The data of server-sent events, without the last `[DONE]`."""
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(each) for each in data[:-1]]


@functools.cache
def python_with(package: str) -> str:
    """An interpreter that has a package; the test is skipped if there is none."""
    for python in (sys.executable, *filter(None, os.environ.get("ROLLWISE_CLIENTS", "").split(os.pathsep))):
        if subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"{package} is not installed")
