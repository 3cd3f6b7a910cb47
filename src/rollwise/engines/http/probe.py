"""What a server is and can do, asked before a search: a few requests of a few tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import Sampling
from rollwise.engines.http import templates
from rollwise.engines.http import transformers_serve as serve
from rollwise.engines.http.asker import Asker
from rollwise.engines.http.client import LostError, PassingError
from rollwise.engines.http.replies import BrokenReplyError, as_choice
from rollwise.engines.http.servers import TOP, Address, Server, completion_body
from rollwise.errors import EngineError, InputError

_OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "me": "llama-cpp-python",
    "rollwise": "rollwise",
}
_QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
_GREEDY = Sampling(temperature=0)
_LONG = "Count: " + " ".join(map(str, range(1, 60)))


def probe(address: Address, tokenizer: str | None = None, thorough: bool = False) -> Server:
    """What is at an address. `thorough` also tries seeds, several completions a request, and the prefix cache.

    Raises InputError where nothing is there that completes text.
    """
    asker = Asker(address)
    try:
        server = _identified(asker, tokenizer)
        server = _with_template(asker, server)
        prompt = _probe_prompt(asker, server)
        server = _with_completion(asker, server, prompt)
        return _tried(asker, server, prompt) if thorough else server
    except (EngineError, BrokenReplyError) as error:
        raise InputError(f"{address.url} cannot be searched with: {error}") from None
    finally:
        asker.close()


def _identified(asker: Asker, tokenizer: str | None) -> Server:
    """Kind, model, version and context, as the server names them."""
    listed = _listed(asker)
    url, wanted = asker.address.url, asker.address.model
    if not any(one.get("owned_by") in _OWNERS for one in listed) and serve.is_there(asker):
        return serve.identified(asker, listed, tokenizer)
    if not listed and wanted is None:
        raise InputError(
            f"{url} lists no model under /v1/models: give an OpenAI-compatible server, or its model as #NAME"
        )
    names = [str(one["id"]) for one in listed]
    if wanted is not None and names and wanted not in names:
        raise InputError(f"{url} serves no model {wanted!r}; it serves: {', '.join(names[:8])}")
    entry = next((one for one in listed if one["id"] == wanted), model_card(listed, "generate"))
    kind = _OWNERS.get(str(entry.get("owned_by")), "")
    model = wanted or str(entry["id"])
    context, version = entry.get("max_model_len"), None
    if kind in ("vllm", "rollwise", ""):
        version = (asker.get("/version") or {}).get("version")
        kind = kind or ("vllm" if version else "")
    if kind == "llamacpp":
        settings = asker.get("/props") or {}
        context = (settings.get("default_generation_settings") or {}).get("n_ctx")
        version = settings.get("build_info")
    meta = entry.get("meta") or {}
    return Server(
        url,
        kind or "openai",
        model,
        version=None if version is None else str(version),
        context=context if isinstance(context, int) else None,
        parameters=int(meta.get("n_params") or 0),
        tokenizer=tokenizer or _own_tokenizer(asker, kind),
    )


def _listed(asker: Asker) -> list[Mapping[str, Any]]:
    """The models that a server lists. `transformers serve` fails at it where no model lies in its cache."""
    try:
        models = asker.get("/v1/models", tries=3)
    except PassingError:
        models = None if serve.is_there(asker) else asker.get("/v1/models")
    return [one for one in (models or {}).get("data") or [] if isinstance(one, dict) and one.get("id")]


def model_card(listed: Sequence[Mapping[str, Any]], task: str) -> Mapping[str, Any]:
    """The first model listed that is for a task, as far as the server says what its models are for."""
    return next((one for one in listed if one.get("task") in (None, task)), {"id": ""})


def _own_tokenizer(asker: Asker, kind: str) -> str | None:
    """The folder of SGLang's tokenizer, where it lies on this machine too: SGLang renders no chat for others."""
    if kind != "sglang":
        return None
    told = asker.get("/model_info") or asker.get("/get_model_info") or {}
    folder = told.get("tokenizer_path") or told.get("model_path")
    if isinstance(folder, str) and FilePath(folder).is_dir():
        with contextlib.suppress(ImportError, InputError):
            templates.load_tokenizer(folder)
            return folder
    return None


def _with_template(asker: Asker, server: Server) -> Server:
    """How a chat becomes a prompt, and whether the model thinks first."""
    server = replace(server, encodes=_encodes(asker, server))
    if server.tokenizer is not None:
        plain = templates.local_prompt(server.tokenizer, _QUESTION, quiet=False)
        quiet = templates.local_prompt(server.tokenizer, _QUESTION, quiet=True)
        return replace(server, template="tokenizer", thinking=_thinking(asker, server, plain, quiet))
    for route in templates.ROUTES:
        plain_or_none = _rendered(asker, server, route, quiet=False)
        if plain_or_none is not None:
            quiet_or_none = _rendered(asker, server, route, quiet=True)
            thinking = _thinking(asker, server, plain_or_none, quiet_or_none)
            return replace(server, template=route, thinking=thinking)
    return server


def _encodes(asker: Asker, server: Server) -> bool:
    with contextlib.suppress(EngineError, InputError, AttributeError):
        reply = asker.post(*templates.encode_request(server.native, server.model, "1 + 1 = 2", whole=False))
        templates.read_ids(reply.get("tokens"))
        return True
    return False


def _rendered(asker: Asker, server: Server, route: str, quiet: bool) -> templates.Prompt | None:
    if (route == "apply-template") != server.native or (route == "chat" and server.kind == "rollwise"):
        return None
    with contextlib.suppress(EngineError):
        return templates.read_prompt(route, asker.post(*templates.chat_request(route, server.model, _QUESTION, quiet)))
    return None


def _thinking(asker: Asker, server: Server, plain: templates.Prompt, quiet: templates.Prompt | None) -> str | None:
    """Whether the template can tell the model not to think, or opens a thought by itself; None where unknown."""
    if quiet is not None and quiet != plain:
        return "off"
    text = plain if isinstance(plain, str) else None
    if text is None:
        with contextlib.suppress(EngineError, InputError, AttributeError, KeyError):
            body = {"model": server.model, "tokens": list(plain)}
            text = str(asker.post("/detokenize", body)["prompt"])
    return None if text is None else "forced" if templates.opens_thought(text) else "none"


def _probe_prompt(asker: Asker, server: Server) -> templates.Prompt:
    quiet = server.thinking == "off"
    if server.tokenizer is not None:
        return templates.local_ids(server.tokenizer, templates.local_prompt(server.tokenizer, _QUESTION, quiet))
    if server.template == "plain":
        prompt: templates.Prompt = templates.plain_prompt(_QUESTION)
    else:
        route = server.template
        prompt = templates.read_prompt(
            route, asker.post(*templates.chat_request(route, server.model, _QUESTION, quiet))
        )
    if isinstance(prompt, str) and server.encodes:
        reply = asker.post(*templates.encode_request(server.native, server.model, prompt, whole=True))
        return templates.read_ids(reply.get("tokens"))
    return prompt


def _probe_text(server: Server) -> str:
    """The prompt for a server that takes no ids."""
    if server.tokenizer is None:
        return templates.plain_prompt(_QUESTION)
    text = templates.local_prompt(server.tokenizer, _QUESTION, server.thinking == "off")
    return templates.unopened(server.tokenizer, text)


def _with_completion(asker: Asker, server: Server, prompt: templates.Prompt) -> Server:
    """What a completion of two tokens shows: fields taken, ids in and out, log-probabilities, how ends are told."""
    guess = replace(server, stopping="told", kind="vllm" if server.kind == "openai" else server.kind)
    body = completion_body(guess, prompt, serve.FIRST if server.kind == "transformers" else _GREEDY, 2, 1)
    takes_ids = not isinstance(prompt, str)
    try:
        reply, refused = _taken(asker, server.route, body)
    except (LostError, PassingError):
        if not takes_ids:
            raise
        takes_ids, body["prompt"] = False, _probe_text(server)
        reply, refused = _taken(asker, server.route, body)
    choice = as_choice(reply, server.native)
    shown = choice.get("logprobs") or {}
    tops = [len(one or {}) for one in shown.get("top_logprobs") or []]
    stop_key = next((one for one in ("stop_reason", "matched_stop") if one in choice), None)
    usage = reply.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    known = server.kind != "openai"
    kind = server.kind if known else {"stop_reason": "vllm", "matched_stop": "sglang"}.get(stop_key or "", "openai")
    if kind == "openai" and "top_k" in refused:  # transformers serve is the strict one
        return _with_completion(asker, replace(server, kind="transformers"), body["prompt"])
    untold = not takes_ids and server.template in ("tokenize", "chat")  # they tell ids, and ids are of no use here
    found = replace(
        server,
        kind=kind,
        template="plain" if untold else server.template,
        takes_ids=takes_ids,
        gives_ids=bool(choice.get("token_ids")),
        logprobs=min(max(tops, default=0), TOP) if shown.get("token_logprobs") else None,
        stop_key=stop_key,
        stopping="told" if stop_key else "cut",
        counts=bool(usage.get("completion_tokens") or reply.get("tokens_predicted")),
        cached="cached_tokens" in details or "cache_n" in (reply.get("timings") or {}),
        refused=frozenset(refused),
    )
    if not stop_key:
        with contextlib.suppress(EngineError):  # a server that fails at stop strings is sent none
            found = _with_seen_stop(asker, found, body["prompt"])
    return serve.tempered(asker, found, body["prompt"]) if kind == "transformers" else found


def _taken(asker: Asker, path: str, body: dict[str, Any]) -> tuple[Any, set[str]]:
    """A reply, and the fields that had to be left out for it. Raises LostError where it is refused for more.

    llama-cpp-python refuses by the status 500.
    """
    refused: set[str] = set()
    needed = {"prompt", "model", "max_tokens", "n_predict", "temperature"}
    while True:
        try:
            return asker.post(path, {name: value for name, value in body.items() if name not in refused}), refused
        except (LostError, PassingError) as error:
            optional = [name for name in body if name not in needed | refused]
            named = [name for name in optional if name in str(error)]
            if isinstance(error, PassingError) and not named:
                raise
            if not optional or (isinstance(body["prompt"], list) and "prompt" in str(error) and not named):
                raise
            refused |= set(named) if named else set(optional)


def _with_seen_stop(asker: Asker, server: Server, prompt: Any) -> Server:
    """Whether the text keeps its stop string, or the log-probabilities show it: what the server said greedily before is
    stopped within, and compared.
    """
    asked = replace(server, stopping="kept")
    free = as_choice(asker.post(server.route, completion_body(asked, prompt, _GREEDY, 8, 1)), False)
    text = str(free.get("text") or "")
    end = text[2:4]
    if len(end) < 2 or end in text[:3]:
        return server
    body = completion_body(asked, prompt, _GREEDY, 8, 1, [end])
    choice = as_choice(asker.post(server.route, body, tries=1), False)
    stopped = str(choice.get("text") or "")
    if stopped.startswith(text[:2] + end) and len(stopped) < len(text):
        return asked
    shown = "".join(map(str, (choice.get("logprobs") or {}).get("tokens") or []))
    if stopped == text[:2] and shown.startswith(text[:2] + end) and len(shown) < len(text):
        return replace(server, stopping="shown")
    return server


def _tried(asker: Asker, server: Server, prompt: templates.Prompt) -> Server:
    """Seeds, several completions a request, and the prefix cache, by trying."""

    def complete(limit: int, seed: int, **fields: Any) -> Any:
        shown = prompt if server.takes_ids or isinstance(prompt, str) else _probe_text(server)
        asked = replace(server, stopping="told")
        body = completion_body(asked, shown, Sampling(temperature=1.0), limit, seed) | fields
        return asker.post(server.route, body)

    texts = [str(as_choice(complete(12, seed), server.native).get("text")) for seed in (1, 1, 2, 3)]
    seed = False if texts[0] != texts[1] else True if len(set(texts)) > 1 else None
    several: bool | None = None
    if not server.native:
        with contextlib.suppress(EngineError):
            several = len(complete(1, 1, n=2).get("choices") or []) == 2
    caching = None
    if server.cached:
        most = min(400, (server.context or 400) - 16)  # caches keep whole blocks, of up to 256 tokens
        long = (list(prompt) * most)[:most] if server.takes_ids else _LONG
        with contextlib.suppress(EngineError):
            *_, reply = (complete(1, 1, prompt=long) for _ in range(2))
            details = (reply.get("usage") or {}).get("prompt_tokens_details") or {}
            caching = bool(details.get("cached_tokens", (reply.get("timings") or {}).get("cache_n")))
    return replace(server, seed=seed, n=several, prefix_cache=caching)
