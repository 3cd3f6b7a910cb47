"""Addresses to listen at, and a server in a thread of this process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rollwise.errors import InputError

if TYPE_CHECKING:
    import uvicorn


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free port. Raises InputError if it cannot listen there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}; give another --host or --port") from error


@contextlib.contextmanager
def running_app(server: uvicorn.Server, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL of a server that runs in a thread of this process until the context ends."""
    with listen(host, port) as listener:
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="rollwise-server", daemon=True
        )
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
