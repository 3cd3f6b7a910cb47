"""From names to models that are served, and the server's process."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from rollwise.errors import InputError, MissingExtraError

try:
    import fastapi as _  # noqa: F401
    import uvicorn
except ImportError as error:
    raise MissingExtraError("a server", "serve") from error

from rollwise.engines.local import LocalPolicy, Prefixes
from rollwise.model_server.app import build_app
from rollwise.model_server.embedding import Embedder, HiddenEmbedder, MiniLMEmbedder
from rollwise.model_server.judging import Judge
from rollwise.model_server.models import Models
from rollwise.registry import find_world, model_folder
from rollwise.rewards import LocalReward

KEY = "ROLLWISE_API_KEY"


@dataclass(frozen=True)
class Choice:
    """What to serve: a policy, a reward model and an embedder by name or folder; "none" leaves one out. `cache_tokens`
    are kept of the policy's and of the reward model's reading each.
    """

    policy: str = "trained"
    reward: str = "trained"
    embedder: str = "hidden"
    world: str = "countdown"
    rows: int = 128
    dtype: str | None = None
    cache_tokens: int = 32768


def load_models(choice: Choice) -> Models:
    """The models of a choice. Raises InputError where one is not there."""
    separator = find_world(choice.world).separator
    folder = _folder(choice.policy, choice.world, "policy")
    policy = LocalPolicy.load(folder, separator, choice.dtype, choice.rows)
    prefixes = Prefixes(choice.cache_tokens)
    name, judge = _name(folder, choice.world), None
    if choice.reward != "none":
        folder = _folder(choice.reward, choice.world, "reward")
        reward = LocalReward.load(folder, choice.dtype, rows=1)
        judge = Judge(reward, _name(folder, choice.world), separator, choice.cache_tokens, min(choice.rows, 32))
    return Models(name, policy, prefixes, judge, _embedder(choice, policy, prefixes, name), int(time.time()))


def _embedder(choice: Choice, policy: LocalPolicy, prefixes: Prefixes, name: str) -> Embedder | None:
    match choice.embedder:
        case "none":
            return None
        case "hidden":
            return HiddenEmbedder(policy, prefixes, f"{name}-hidden")
        case "minilm":
            return MiniLMEmbedder()
    raise InputError(f"no embedder is called {choice.embedder!r}: give hidden, minilm or none")


def _folder(given: str, world: str, part: str) -> FilePath:
    """The folder of a model. Raises InputError for what has none, such as a demonstrator or a dial."""
    if given == "demonstrator" or "(" in given or given in ("dial", "worth"):
        raise InputError(f"{given!r} is no model that can be served: give trained, or the folder of a {part} model")
    return model_folder(given, world, part)


def _name(folder: FilePath, world: str) -> str:
    """What clients call a model: a bundled one by its world, another by its folder's last name."""
    folder = folder.resolve()
    return f"{world}-{folder.name}" if folder.parent.name == world else folder.name


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free one. Raises InputError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = f"nothing can listen at {host}:{port}: {error.strerror}"
        raise InputError(f"{why}; give another --host or --port") from error


def serve(models: Models, at: socket.socket) -> None:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        _server(models).run(sockets=[at])


@contextlib.contextmanager
def running(models: Models, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The address of a server in a thread of this process, for as long as the context lasts."""
    with listen(host, port) as at:
        server = _server(models)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, name="rollwise-server", daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://{host}:{at.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _server(models: Models) -> uvicorn.Server:
    """A server that asks clients for the key in ROLLWISE_API_KEY, if it is set."""
    app = build_app(models, os.environ.get(KEY) or None)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
