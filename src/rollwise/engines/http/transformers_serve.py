"""A server that runs `transformers serve`: its model and the temperature it samples with, which no reply states."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import Sampling
from rollwise.engines.http import templates
from rollwise.engines.http.exchange import LostError
from rollwise.engines.http.replies import as_choice
from rollwise.engines.http.servers import Server, completion_body
from rollwise.engines.http.shapes import possible
from rollwise.engines.http.sync_client import SyncClient
from rollwise.errors import EngineError, InputError

FIRST_SAMPLING = Sampling(temperature=1.0)
"""The sampling of the probe's first completion. With --continuous-batching all later ones get its temperature."""
_ROUTES = {"/load_model", "/reset", "/v1/completions"}
_PINNED = re.compile(r"pinned to '(.+)'; requested")


def runs_transformers_serve(client: SyncClient) -> bool:
    """Whether the server's description of its routes is that of `transformers serve`."""
    with contextlib.suppress(EngineError):
        described = possible("facts about the server", client.get("/openapi.json", tries=3))
        return set(described.get("paths") or ()) >= _ROUTES
    return False


def identify_transformers_serve(
    client: SyncClient, listed: Sequence[Mapping[str, Any]], tokenizer: str | None
) -> Server:
    """The server with its model: the requested one, the one it was started with, or the first in its download cache.

    `listed` are the models of that cache. If the model is a folder on this machine, its tokenizer is used unless
    `tokenizer` names another. Raises InputError if no model is known.
    """
    url = client.address.url
    model = client.address.model or _started_with(client) or next((str(card["id"]) for card in listed), None)
    if model is None:
        raise InputError(
            f"{url} names no model: start `transformers serve` with one, or give the name or folder of one as "
            f"{url}#NAME"
        )
    if tokenizer is None and FilePath(model).is_dir():
        with contextlib.suppress(ImportError, InputError):
            templates.load_tokenizer(model)
            tokenizer = model
    return Server(url, "transformers", model, tokenizer=tokenizer)


def _started_with(client: SyncClient) -> str | None:
    """The model that the server was started with: its refusal of any other model names it."""
    try:
        client.post("/v1/completions", {"model": "", "prompt": "", "max_tokens": 1}, tries=1)
    except LostError as error:
        match = _PINNED.search(str(error))
        return match[1] if match else None
    except EngineError:  # it was started without a model, and fails to load one without a name
        return None
    return None


def with_temperature_source(client: SyncClient, server: Server, prompt: Any) -> Server:
    """The server with the temperature that it samples with, found by four completions.

    If two seeds give the same text at a high temperature, it always returns the likeliest text. If two seeds give
    different texts at temperature 0, the temperature of an earlier request applies.
    """

    def complete(temperature: float, seed: int) -> str:
        whole = replace(server, stopping="field")  # so that the request asks for no stream
        body = completion_body(whole, prompt, Sampling(temperature=temperature), 8, seed)
        return str(as_choice(client.post(server.route, body), False).get("text"))

    if complete(2.0, 1) == complete(2.0, 2):
        return replace(server, temperature_source="greedy")
    repeats = complete(0.0, 1) == complete(0.0, 2)
    return replace(server, temperature_source="request" if repeats else "first_request")
