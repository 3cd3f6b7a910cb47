"""Serving the dashboard on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rollwise.errors import InputError

_LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free port. Raises InputError if it cannot listen there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}; give another --host or --port") from error


def serve(app: FastAPI, listener: socket.socket, host: str) -> None:
    """Serve the dashboard until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        _server(app, host).run(sockets=[listener])


@contextlib.contextmanager
def running(app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL of a dashboard that runs in a thread of this process until the context ends."""
    with listen(host, port) as listener:
        server = _server(app, host)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _server(app: FastAPI, host: str) -> uvicorn.Server:
    """The server. At a local address it answers only requests that name this machine, so that no page of another site
    can read it by pointing a name of its own here.
    """
    if host in _LOCAL:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
