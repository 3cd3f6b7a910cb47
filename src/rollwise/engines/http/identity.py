"""Which server answers at an address: its kind, its model, and where the model's tokenizer is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from rollwise.engines.http import templates
from rollwise.engines.http.exchange import MovedError, TransientError, wants_a_key
from rollwise.engines.http.keys import GIVE_A_KEY
from rollwise.engines.http.servers import Server
from rollwise.engines.http.shapes import listed_cards, possible
from rollwise.engines.http.sync_client import SyncClient
from rollwise.engines.http.transformers_serve import identify_transformers_serve, runs_transformers_serve
from rollwise.errors import InputError

_KINDS_BY_OWNER = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "me": "llama-cpp-python",
    "rollwise": "rollwise",
}
"""The field `owned_by` of a listed model → the kind of the server."""


def identify(client: SyncClient, tokenizer: str | None) -> Server:
    """The server with its kind, model, version and context, as far as its routes show them.

    Raises InputError if it serves no model, or not the one that the address names.
    """
    listed = listed_models(client)
    if not any(card.get("owned_by") in _KINDS_BY_OWNER for card in listed) and runs_transformers_serve(client):
        return identify_transformers_serve(client, listed, tokenizer)
    card = _chosen_model(client, listed)
    kind = _KINDS_BY_OWNER.get(str(card.get("owned_by")), "")
    context, version = card.get("max_model_len"), None
    if kind in ("vllm", "rollwise", ""):
        version = possible("facts about the server", client.get("/version")).get("version")
        kind = kind or ("vllm" if version else "")
    if kind == "llamacpp":
        settings = possible("facts about the server", client.get("/props"))
        context = (settings.get("default_generation_settings") or {}).get("n_ctx")
        version = settings.get("build_info")
    return Server(
        client.address.url,
        kind or "openai",
        client.address.model or str(card["id"]),
        version=None if version is None else str(version),
        context=context,
        parameters=int((card.get("meta") or {}).get("n_params") or 0),
        tokenizer=tokenizer or _sglang_tokenizer(client, kind),
    )


def listed_models(client: SyncClient) -> Sequence[Mapping[str, Any]]:
    """The models that a server lists. The list of `transformers serve` fails if its download cache is empty."""
    try:
        models = client.get("/v1/models", tries=3)
    except TransientError:
        models = None if runs_transformers_serve(client) else client.get("/v1/models")
    return listed_cards(models)


def model_for(task: str, listed: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first listed model for a task: `generate`, `embed` or `token_classify`. A model without a task fits any."""
    return next((card for card in listed if card.get("task") in (None, task)), {"id": ""})


def _chosen_model(client: SyncClient, listed: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The listed model that the address names, else the first one that generates text."""
    url, wanted = client.address.url, client.address.model
    if not listed and wanted is None:
        raise _without_list(client)
    names = [str(card["id"]) for card in listed]
    if wanted is not None and names and wanted not in names:
        raise InputError(f"{url} serves no model {wanted!r}; it serves: {', '.join(names[:8])}")
    return next((card for card in listed if card["id"] == wanted), model_for("generate", listed))


def _without_list(client: SyncClient) -> InputError:
    """What to say of a server that lists no model: why, if it tells, and what to do about it."""
    url, reason = client.address.url, client.refusal("/v1/models")
    advice = "give an OpenAI-compatible server, or its model as #NAME"
    if reason is None:
        return InputError(f"{url} lists no model under /v1/models: {advice}")
    if wants_a_key(reason):
        advice = GIVE_A_KEY
    elif isinstance(reason, MovedError):
        advice = "give that address"
    return InputError(f"{url} does not list its models: {reason}; {advice}")


def _sglang_tokenizer(client: SyncClient, kind: str) -> str | None:
    """The folder of SGLang's tokenizer, if it is on this machine too. SGLang has no route that renders a chat."""
    if kind != "sglang":
        return None
    info = possible("facts about the server", client.get("/model_info") or client.get("/get_model_info"))
    folder = info.get("tokenizer_path") or info.get("model_path")
    if isinstance(folder, str) and FilePath(folder).is_dir():
        with contextlib.suppress(ImportError, InputError):
            templates.load_tokenizer(folder)
            return folder
    return None
