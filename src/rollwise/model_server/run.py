"""Loading the models that a user chose, and running the server."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from contextlib import AbstractContextManager
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
from rollwise.model_server.models import Models
from rollwise.model_server.step_scores import StepScorer
from rollwise.openai_format import running_app
from rollwise.registry import find_world, model_folder
from rollwise.rewards import LocalReward

API_KEY_VARIABLE = "ROLLWISE_API_KEY"
"""The environment variable with the key that clients have to send."""


@dataclass(frozen=True)
class Choice:
    """What to serve: a policy, a reward model and an embedder, by name or folder. "none" leaves out the reward model or
    the embedder. The policy and the reward model each keep up to `cache_tokens` tokens of what they read.
    """

    policy: str = "trained"
    reward: str = "trained"
    embedder: str = "hidden"
    world: str = "countdown"
    rows: int = 128
    dtype: str | None = None
    cache_tokens: int = 32768


def load_models(choice: Choice) -> Models:
    """The models of a choice. Raises InputError if a model does not exist or cannot be served."""
    separator = find_world(choice.world).separator
    folder = _folder(choice.policy, choice.world, "policy")
    name = _name(folder, choice.world)
    policy = LocalPolicy.load(folder, separator, choice.dtype, choice.rows)
    prefixes = Prefixes(choice.cache_tokens)
    scorer = None if choice.reward == "none" else _scorer(choice, separator)
    return Models(name, policy, prefixes, scorer, _embedder(choice, policy, prefixes, name), int(time.time()))


def _scorer(choice: Choice, separator: str) -> StepScorer:
    folder = _folder(choice.reward, choice.world, "reward")
    reward = LocalReward.load(folder, choice.dtype, rows=1)
    return StepScorer(reward, _name(folder, choice.world), separator, choice.cache_tokens, min(choice.rows, 32))


def _embedder(choice: Choice, policy: LocalPolicy, prefixes: Prefixes, policy_name: str) -> Embedder | None:
    match choice.embedder:
        case "none":
            return None
        case "hidden":
            return HiddenEmbedder(policy, prefixes, f"{policy_name}-hidden")
        case "minilm":
            return MiniLMEmbedder()
    raise InputError(f"no embedder is called {choice.embedder!r}: give hidden, minilm or none")


def _folder(given: str, world: str, part: str) -> FilePath:
    """The folder of a model. Raises InputError for a part without a folder, such as a demonstrator or a dial."""
    if given == "demonstrator" or "(" in given or given in ("dial", "worth"):
        raise InputError(f"{given!r} is no model that can be served: give trained, or the folder of a {part} model")
    return model_folder(given, world, part)


def _name(folder: FilePath, world: str) -> str:
    """The name of a model for clients: the last name of its folder, after the world's name for a bundled model."""
    folder = folder.resolve()
    return f"{world}-{folder.name}" if folder.parent.name == world else folder.name


def serve(models: Models, listener: socket.socket) -> None:
    """Serve until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        _server(models).run(sockets=[listener])


def running(models: Models, host: str = "127.0.0.1", port: int = 0) -> AbstractContextManager[str]:
    """The URL of a server that runs in a thread of this process until the context ends."""
    return running_app(_server(models), host, port)


def _server(models: Models) -> uvicorn.Server:
    """The server. It asks clients for the key in API_KEY_VARIABLE, if the variable is set."""
    app = build_app(models, os.environ.get(API_KEY_VARIABLE) or None)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
