"""`transformers serve`: which model it holds and whose temperature it takes, which it tells in no reply."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import Sampling
from rollwise.engines.http import templates
from rollwise.engines.http.asker import Asker
from rollwise.engines.http.client import LostError
from rollwise.engines.http.replies import as_choice
from rollwise.engines.http.servers import Server, completion_body
from rollwise.errors import EngineError, InputError

FIRST = Sampling(temperature=1.0)
"""The first completion asked for: with --continuous-batching its temperature is that of all that follow."""
_ROUTES = {"/load_model", "/reset", "/v1/completions"}
_PINNED = re.compile(r"pinned to '(.+)'; requested")


def is_there(asker: Asker) -> bool:
    """Whether the server's own description of its routes is that of `transformers serve`."""
    with contextlib.suppress(EngineError, AttributeError, TypeError):
        return set(asker.get("/openapi.json", tries=3)["paths"]) >= _ROUTES
    return False


def identified(asker: Asker, listed: Sequence[Mapping[str, Any]], tokenizer: str | None) -> Server:
    """The server and its model: the one asked for, the one that it was started with, or the first in its cache, which
    is all that it lists. A model in a folder that lies here too brings its tokenizer. Raises InputError where none is
    known.
    """
    model = asker.address.model or _pinned(asker) or next((str(one["id"]) for one in listed), None)
    if model is None:
        raise InputError(
            f"{asker.address.url} names no model: start `transformers serve` with one, or give the name or folder of "
            f"one as {asker.address.url}#NAME"
        )
    if tokenizer is None and FilePath(model).is_dir():
        with contextlib.suppress(ImportError, InputError):
            templates.load_tokenizer(model)
            tokenizer = model
    return Server(asker.address.url, "transformers", model, tokenizer=tokenizer)


def _pinned(asker: Asker) -> str | None:
    """The model that the server was started with, which it tells to whoever asks for another."""
    try:
        asker.post("/v1/completions", {"model": "", "prompt": "", "max_tokens": 1}, tries=1)
    except LostError as error:
        told = _PINNED.search(str(error))
        return told[1] if told else None
    except EngineError:  # it was started with none, and fails at loading one without a name
        return None
    return None


def tempered(asker: Asker, server: Server, prompt: Any) -> Server:
    """Whose temperature holds: hot texts of two seeds are alike where all are the likeliest, and cold ones differ where
    an earlier request's temperature holds.
    """

    def text(temperature: float, seed: int) -> str:
        asked = replace(server, stopping="told")
        body = completion_body(asked, prompt, Sampling(temperature=temperature), 8, seed)
        return str(as_choice(asker.post(server.route, body), False).get("text"))

    if text(2.0, 1) == text(2.0, 2):
        return replace(server, tempering="greedy")
    return replace(server, tempering="asked" if text(0.0, 1) == text(0.0, 2) else "first")
