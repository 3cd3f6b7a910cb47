"""The probe of a server before a search: a few requests of a few tokens that show its features."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rollwise.core import Sampling
from rollwise.engines.http import templates
from rollwise.engines.http.exchange import LostError, TransientError
from rollwise.engines.http.identity import identify
from rollwise.engines.http.replies import as_choice, usage_of
from rollwise.engines.http.servers import TOP, Address, Server, completion_body
from rollwise.engines.http.shapes import BrokenReplyError, checked, token_ids
from rollwise.engines.http.sync_client import SyncClient
from rollwise.engines.http.transformers_serve import FIRST_SAMPLING, with_temperature_source
from rollwise.errors import EngineError, InputError

_QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_turn>")
"""A marker of a turn in a chat template."""
_GREEDY = Sampling(temperature=0)
_LONG_PROMPT = "Count: " + " ".join(map(str, range(1, 60)))
_NEEDED_FIELDS = {"prompt", "model", "max_tokens", "n_predict", "temperature"}
"""The fields of a completion that no server may refuse."""


def probe(address: Address, tokenizer: str | None = None, thorough: bool = False) -> Server:
    """The server at an address with its features.

    `tokenizer` is a folder whose chat template and tokens are used. A `thorough` probe also tests seeds, several
    completions in a request, and the prefix cache. Raises InputError if nothing there completes text.
    """
    client = SyncClient(address)
    try:
        server = _with_foreign_markers(client, _with_template(client, identify(client, tokenizer)))
        prompt = _probe_prompt(client, server)
        server = _with_completion(client, server, prompt)
        return _with_tests(client, server, prompt) if thorough else server
    except (EngineError, BrokenReplyError) as error:
        raise InputError(f"{address.url} cannot be used for a search: {error}") from None
    finally:
        client.close()


def _with_template(client: SyncClient, server: Server) -> Server:
    """The server with the way a chat becomes a prompt, and whether the model thinks first."""
    server = replace(server, encodes=_encodes(client, server))
    if server.tokenizer is not None:
        plain = templates.local_prompt(server.tokenizer, _QUESTION, quiet=False)
        quiet = templates.local_prompt(server.tokenizer, _QUESTION, quiet=True)
        return replace(server, template="tokenizer", thinking=_thinking(client, server, plain, quiet))
    for route in templates.ROUTES:
        rendered = _rendered(client, server, route, quiet=False)
        if rendered is not None:
            thinking = _thinking(client, server, rendered, _rendered(client, server, route, quiet=True))
            return replace(server, template=route, thinking=thinking)
    return server


def _with_foreign_markers(client: SyncClient, server: Server) -> Server:
    """The server with the markers of its chat template that are no single tokens of its model, such as <|im_start|>.

    A model that was trained on chats has a token for each marker. llama.cpp applies ChatML to a model without a
    template, which is then a base model.
    """
    text = _rendered_text(client, server)
    markers = dict.fromkeys(_MARKER.findall(text))
    foreign = tuple(marker for marker in markers if len(_marker_ids(client, server, marker)) > 1)
    return replace(server, foreign_markers=foreign)


def _rendered_text(client: SyncClient, server: Server) -> str:
    """The probe's question in the chat template, as text; empty if it is not known."""
    if server.tokenizer is not None:
        return templates.local_prompt(server.tokenizer, _QUESTION, quiet=False)
    prompt = None if server.template == "plain" else _rendered(client, server, server.template, quiet=False)
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    return _decoded(client, server, prompt) or ""


def _decoded(client: SyncClient, server: Server, ids: Sequence[int]) -> str | None:
    """The text of some ids; None if the server has no route for it."""
    with contextlib.suppress(EngineError, InputError):
        text: str = checked("a prompt", client.post("/detokenize", {"model": server.model, "tokens": list(ids)}))[
            "prompt"
        ]
        return text
    return None


def _marker_ids(client: SyncClient, server: Server, marker: str) -> tuple[int, ...]:
    """The ids of a marker; none if they are not known."""
    if server.tokenizer is not None:
        return templates.local_ids(server.tokenizer, marker)
    if server.encodes:
        with contextlib.suppress(EngineError, InputError):
            return token_ids(client.post(*templates.encode_request(server.native, server.model, marker, whole=False)))
    return ()


def _encodes(client: SyncClient, server: Server) -> bool:
    """Whether the server has a route that turns text into ids."""
    with contextlib.suppress(EngineError, InputError):
        reply = client.post(*templates.encode_request(server.native, server.model, "1 + 1 = 2", whole=False))
        token_ids(reply)
        return True
    return False


def _rendered(client: SyncClient, server: Server, route: str, quiet: bool) -> templates.Prompt | None:
    """The probe's question as a prompt, rendered by a route; None if the server has no such route."""
    if (route == "apply-template") != server.native or (route == "chat" and server.kind == "rollwise"):
        return None
    with contextlib.suppress(EngineError):
        request = templates.chat_request(route, server.model, _QUESTION, quiet)
        return templates.read_prompt(route, client.post(*request))
    return None


def _thinking(
    client: SyncClient, server: Server, plain: templates.Prompt, quiet: templates.Prompt | None
) -> str | None:
    """The value of `Server.thinking`, from a prompt that was rendered with and without the switch; None if unknown."""
    if quiet is not None and quiet != plain:
        return "off"
    text = plain if isinstance(plain, str) else _decoded(client, server, plain)
    if text is None:
        return None
    return "forced" if templates.opens_thought(text) else "none"


def _probe_prompt(client: SyncClient, server: Server) -> templates.Prompt:
    """The probe's question as a prompt, as ids if they can be known."""
    quiet = server.thinking == "off"
    if server.tokenizer is not None:
        return templates.local_ids(server.tokenizer, templates.local_prompt(server.tokenizer, _QUESTION, quiet))
    if server.template == "plain":
        prompt: templates.Prompt = templates.plain_prompt(_QUESTION)
    else:
        request = templates.chat_request(server.template, server.model, _QUESTION, quiet)
        prompt = templates.read_prompt(server.template, client.post(*request))
    if isinstance(prompt, str) and server.encodes:
        reply = client.post(*templates.encode_request(server.native, server.model, prompt, whole=True))
        return token_ids(reply)
    return prompt


def _text_prompt(server: Server) -> str:
    """The probe's question as a prompt for a server that accepts no ids."""
    if server.tokenizer is None:
        return templates.plain_prompt(_QUESTION)
    text = templates.local_prompt(server.tokenizer, _QUESTION, server.thinking == "off")
    return templates.without_start_token(server.tokenizer, text)


def _with_completion(client: SyncClient, server: Server, prompt: templates.Prompt) -> Server:
    """The server with the features that a completion of two tokens shows."""
    guess = replace(server, stopping="field", kind="vllm" if server.kind == "openai" else server.kind)
    sampling = FIRST_SAMPLING if server.kind == "transformers" else _GREEDY
    body = completion_body(guess, prompt, sampling, 2, 1)
    takes_ids = not isinstance(prompt, str)
    try:
        reply, refused = _accepted(client, server.route, body)
    except (LostError, TransientError):
        if not takes_ids:
            raise
        takes_ids, body["prompt"] = False, _text_prompt(server)
        reply, refused = _accepted(client, server.route, body)
    found = _described(server, reply, refused, takes_ids)
    if found.kind == "openai" and "top_k" in refused:  # a server this strict is `transformers serve`
        return _with_completion(client, replace(server, kind="transformers"), body["prompt"])
    if not found.stop_key:
        with contextlib.suppress(EngineError):  # a server that fails at stop strings receives none
            found = _with_visible_stop(client, found, body["prompt"])
    return with_temperature_source(client, found, body["prompt"]) if found.kind == "transformers" else found


def _described(server: Server, reply: Any, refused: frozenset[str], takes_ids: bool) -> Server:
    """The server with the features that a reply shows: ids, log-probabilities, counts, and the field of stop strings.

    `refused` are the fields that the request had to leave out; `takes_ids` says whether its prompt was ids.
    """
    choice = as_choice(reply, server.native)
    logprobs = choice.get("logprobs") or {}
    _, cached, generated = usage_of(server, reply)
    stop_key = next((key for key in ("stop_reason", "matched_stop") if key in choice), None)
    kinds_by_key = {"stop_reason": "vllm", "matched_stop": "sglang"}
    useless_template = not takes_ids and server.template in ("tokenize", "chat")  # such a template renders ids only
    return replace(
        server,
        kind=kinds_by_key.get(stop_key or "", "openai") if server.kind == "openai" else server.kind,
        template="plain" if useless_template else server.template,
        takes_ids=takes_ids,
        gives_ids=bool(choice.get("token_ids")),
        logprobs=_most_listed(logprobs) if logprobs.get("token_logprobs") else None,
        stop_key=stop_key,
        stopping="field" if stop_key else "streamed",
        counts=bool(generated),
        cached=cached is not None,
        refused=refused,
    )


def _most_listed(logprobs: Mapping[str, Any]) -> int:
    """The most tokens that are listed at one place, at most TOP."""
    return min(max((len(tops or {}) for tops in logprobs.get("top_logprobs") or []), default=0), TOP)


def _accepted(client: SyncClient, path: str, body: dict[str, Any]) -> tuple[Any, frozenset[str]]:
    """A reply to as much of a request as the server accepts, and the optional fields that it refuses.

    If the refusal names fields, these are left out, else all optional fields. llama-cpp-python refuses with the status
    500. Raises LostError or TransientError if the refusal has another cause.
    """
    refused: set[str] = set()
    while True:
        try:
            reply = client.post(path, {name: value for name, value in body.items() if name not in refused})
            return reply, frozenset(refused)
        except (LostError, TransientError) as error:
            optional = [name for name in body if name not in _NEEDED_FIELDS | refused]
            named = [name for name in optional if re.search(rf"(?<!\w){name}(?!\w)", str(error))]
            refuses_ids = isinstance(body["prompt"], list) and "prompt" in str(error)
            if not named and (isinstance(error, TransientError) or not optional or refuses_ids):
                raise
            refused |= set(named or optional)


def _with_visible_stop(client: SyncClient, server: Server, prompt: Any) -> Server:
    """The server with "text" or "logprobs" as `stopping` if a stop string is visible there.

    A greedy completion runs twice; the second time with the third and fourth of its characters as the stop string.
    """
    keeps_stop = replace(server, stopping="text")
    free = as_choice(client.post(server.route, completion_body(keeps_stop, prompt, _GREEDY, 8, 1)), False)
    text = str(free.get("text") or "")
    end = text[2:4]
    if len(end) < 2 or end in text[:3]:
        return server
    body = completion_body(keeps_stop, prompt, _GREEDY, 8, 1, [end])
    choice = as_choice(client.post(server.route, body, tries=1), False)
    stopped = str(choice.get("text") or "")
    if stopped.startswith(text[:2] + end) and len(stopped) < len(text):
        return keeps_stop
    tokens = "".join(map(str, (choice.get("logprobs") or {}).get("tokens") or []))
    if stopped == text[:2] and tokens.startswith(text[:2] + end) and len(tokens) < len(text):
        return replace(server, stopping="logprobs")
    return server


def _with_tests(client: SyncClient, server: Server, prompt: templates.Prompt) -> Server:
    """The server with the results of the tests of seeds, of several completions in a request, and of the cache."""

    def complete(limit: int, seed: int, **fields: Any) -> Any:
        usable = prompt if server.takes_ids or isinstance(prompt, str) else _text_prompt(server)
        whole = replace(server, stopping="field")  # so that the request asks for no stream
        body = completion_body(whole, usable, Sampling(temperature=1.0), limit, seed) | fields
        return client.post(server.route, body)

    texts = [str(as_choice(complete(12, seed), server.native).get("text")) for seed in (1, 1, 2, 3)]
    several: bool | None = None
    if not server.native:
        with contextlib.suppress(EngineError):
            several = len(checked("a completion", complete(1, 1, n=2))["choices"]) == 2
    prefix_cache: bool | None = None
    if server.cached:
        with contextlib.suppress(EngineError):
            *_, reply = (complete(1, 1, prompt=_long_prompt(server, prompt)) for _ in range(2))
            prefix_cache = bool(usage_of(server, reply)[1])
    return replace(server, seed=_honours_seeds(texts), n=several, prefix_cache=prefix_cache)


def _honours_seeds(texts: list[str]) -> bool | None:
    """Whether seeds hold, from four texts of which the first two have the same seed; None if all texts are equal."""
    if texts[0] != texts[1]:
        return False
    return True if len(set(texts)) > 1 else None


def _long_prompt(server: Server, prompt: templates.Prompt) -> list[int] | str:
    """A prompt long enough for a cache: caches hold whole blocks of up to 256 tokens."""
    if isinstance(prompt, str) or not server.takes_ids:
        return _LONG_PROMPT
    length = min(400, (server.context or 400) - 16)
    return (list(prompt) * length)[:length]
