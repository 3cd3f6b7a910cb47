"""A server's features, and the request for a completion that its kind accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from rollwise.core import Sampling
from rollwise.engines import StepRule
from rollwise.errors import InputError

Stopping = Literal["field", "text", "logprobs", "streamed"]
"""How rollwise detects the end of a step.

- "field": a field of the reply names the stop string that ended it.
- "text": the text keeps the stop string.
- "logprobs": the text leaves the stop string out, and the tokens among the log-probabilities contain it.
- "streamed": the replies do not distinguish a stop string from the end of the text, so rollwise streams the reply and
  cuts it at the end of the step.
"""

TemperatureSource = Literal["request", "greedy", "first_request"]
"""Which temperature a server samples with: that of each request; none, since every reply is the likeliest text; or that
of the first request that the server ever received.
"""

TOP = 5
"""How many of the likeliest tokens a request asks for: the most that every server returns."""


@dataclass(frozen=True)
class Server:
    """A server and its features, as the probe found them. None means that a feature is not known."""

    url: str
    kind: str
    """vllm, sglang, llamacpp, llama-cpp-python, transformers, rollwise or openai (any other)."""
    model: str
    version: str | None = None
    context: int | None = None
    """Tokens that the model can read."""
    parameters: int = 0
    """Parameters of the model; 0 if the server does not say."""
    takes_ids: bool = False
    """Whether it accepts a prompt of token ids."""
    gives_ids: bool = False
    """Whether its replies contain the token ids."""
    stopping: Stopping = "streamed"
    stop_key: str | None = None
    """The field of a choice that names the stop string."""
    n: bool | None = None
    """Whether one request can ask for several completions."""
    logprobs: int | None = None
    """The likeliest tokens that a reply lists at each place; 0 if it lists the sampled token only, None if none."""
    seed: bool | None = None
    """Whether it honours seeds."""
    counts: bool = False
    """Whether its replies count the generated tokens."""
    cached: bool | None = None
    """Whether its replies count the prompt tokens read from the cache."""
    prefix_cache: bool | None = None
    """Whether a repeated prompt was read from the cache."""
    template: str = "plain"
    """How a chat becomes a prompt: one of `templates.ROUTES`, "tokenizer" (of a folder on this machine) or "plain"."""
    foreign_markers: tuple[str, ...] = ()
    """The markers of turns in the template that are no single tokens of the model."""
    thinking: str | None = None
    """What the template makes of thoughts: "none", "off" (it accepts enable_thinking) or "forced" (it opens one)."""
    tokenizer: str | None = None
    """The folder of the model's tokenizer on this machine."""
    encodes: bool = False
    """Whether it has a route that turns text into ids."""
    refused: frozenset[str] = frozenset()
    """The optional fields of a request that it refuses."""
    temperature_source: TemperatureSource | None = None
    """Tested only for `transformers serve`."""

    @property
    def one_at_a_time(self) -> bool:
        """Whether rollwise sends the requests one after the other.

        llama-cpp-python holds one lock, and a new request may interrupt a stream. `transformers serve` completes one
        text after the other with a generator that each request seeds again.
        """
        batches = self.temperature_source == "first_request"  # it runs with --continuous-batching
        return self.kind == "llama-cpp-python" or (self.kind == "transformers" and not batches)

    @property
    def native(self) -> bool:
        """Whether rollwise uses a route of this kind's own that says more: llama.cpp's /completion."""
        return self.kind == "llamacpp"

    def streams(self, sampling: Sampling) -> bool:
        """Whether rollwise streams a completion and cuts it at the end of the step.

        It does if replies do not show that end, or show it only by log-probabilities that no part of the search reads:
        for each token with log-probabilities llama-cpp-python sorts its whole vocabulary.
        """
        return self.stopping == "streamed" or (self.stopping == "logprobs" and not sampling.certainty)

    @property
    def route(self) -> str:
        """The path of the route that completes a prompt."""
        return "/completion" if self.native else "/v1/completions"

    @property
    def by_ids(self) -> bool:
        """Whether prompts go as token ids. Then no text is tokenized twice, and steps join exactly."""
        knows_prompt = self.encodes or self.template in ("tokenize", "chat", "tokenizer")
        knows_steps = self.gives_ids or self.encodes or self.tokenizer is not None
        return self.takes_ids and knows_prompt and knows_steps


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a server, and the name of the model to use if the server has several."""

    url: str
    model: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


def is_url(given: object) -> bool:
    """Whether a value is a string that starts like the URL of a server."""
    return isinstance(given, str) and given.startswith(("http://", "https://"))


def addresses(text: str) -> list[Address]:
    """The servers in `URL` or `URL,URL`, each with or without `/v1`; `URL#NAME` picks a model.

    Raises InputError if a part is no such URL, if it contains a password or a query, or if a server is given twice.
    """
    found = [_address(part.strip()) for part in text.split(",") if part.strip()]
    if len({address.url for address in found}) < len(found):
        raise InputError("the same server is given twice; give each server once")
    return found


def _address(text: str) -> Address:
    try:
        pieces = urlsplit(text)
        usable = is_url(text) and bool(pieces.hostname) and (pieces.port is None or pieces.port > 0)
    except ValueError:  # a port that is no number, or half a bracket
        usable = False
    if "@" in text.partition("#")[0] or (usable and pieces.query):
        host = urlsplit(text).hostname if usable else "a server"
        raise InputError(f"give the key of {host} as ROLLWISE_API_KEY in the environment, not in its URL")
    if not usable or not all("!" <= character <= "~" for character in pieces.netloc + pieces.path):
        raise InputError(f"give a server as http://host:port, not {text!r}")
    path = pieces.path.rstrip("/")
    route = next((route for route in _FULL_ROUTES if path.endswith(route)), "")
    base = f"{pieces.scheme}://{pieces.netloc}{path.removesuffix(route).removesuffix('/v1')}"
    if route:
        raise InputError(f"{pieces.scheme}://{pieces.netloc}{path} is one route of a server: give its base, {base}")
    return Address(base, pieces.fragment or None)


_FULL_ROUTES = tuple(
    f"{start}/{name}"
    for start in ("/v1", "")
    for name in ("chat/completions", "completions", "completion", "models", "embeddings", "pooling", "tokenize")
)
"""The ends of a URL that names a route of a server rather than the server."""


# Without these fields a server samples with defaults of its own or of the model's generation_config.json. A server of
# the kind openai has no such defaults. `transformers serve` reads them from JSON inside a field.
_NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {
        **{"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "xtc_probability": 0.0, "mirostat": 0},
        "samplers": ["temperature", "top_p"],  # by default it applies top_p before the temperature
    },
    "llama-cpp-python": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}
_NEUTRAL_CONFIG: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "no_repeat_ngram_size": 0}
_PENALTIES = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
_REPLY_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"include_stop_str_in_output": True, "return_token_ids": True, "add_special_tokens": False},
    "sglang": {"no_stop_trim": True, "return_token_ids": True},
    "rollwise": {"include_stop_str_in_output": True, "return_token_ids": True, "add_special_tokens": False},
    "llamacpp": {"return_tokens": True, "cache_prompt": True},
}
_FEWEST_LOGPROBS: Mapping[str, int | None] = {"vllm": 0, "rollwise": 0, "llama-cpp-python": None}
"""The likeliest tokens to ask for if nothing reads them; None asks for no log-probabilities. Other kinds: 1."""


def completion_body(
    server: Server,
    prompt: str | Sequence[int],
    sampling: Sampling,
    limit: int,
    seed: int,
    ends: Sequence[str] = (),
) -> dict[str, Any]:
    """The request for one completion of at most `limit` tokens that stops at one of the strings `ends`.

    It contains every sampling parameter that the kind of server accepts, so that no default of the server or the model
    applies. If rollwise cuts the reply itself, the request asks for a stream and contains no stop strings. It asks for
    the likeliest tokens only if `sampling.certainty` says that a part of the search reads them.
    """
    top = TOP if sampling.certainty else _FEWEST_LOGPROBS.get(server.kind, 1)
    body: dict[str, Any] = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
    body |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}
    body |= {**_NEUTRAL.get(server.kind, {}), **_REPLY_FIELDS.get(server.kind, {})}
    if server.kind == "transformers":  # without do_sample it returns the likeliest text at every temperature
        body["generation_config"] = json.dumps({"do_sample": sampling.temperature > 0, **_NEUTRAL_CONFIG})
    if server.kind != "rollwise":
        body |= _PENALTIES
    if server.native:
        body |= {"n_predict": limit, "n_probs": top}
    else:
        body |= {"model": server.model, "max_tokens": limit} | ({} if top is None else {"logprobs": top})
    if server.streams(sampling):
        body["stream"] = True
    elif ends:
        body["stop"] = list(ends)
    return {name: value for name, value in body.items() if name not in server.refused}


_WRONG_TEMPERATURE: Mapping[str, str] = {
    "greedy": "the server returns the likeliest text at every temperature, so all rollouts of a question are equal; "
    'restart it without --continuous-batching, or set "do_sample": true in the generation_config.json of its model',
    "first_request": "the server samples every request with the temperature and top_p of the first request that it "
    "ever received, and seeds do not hold among concurrent requests; restart it without --continuous-batching to "
    "choose the temperature",
}


def weaknesses(server: Server, rule: StepRule) -> list[str]:
    """A sentence for each feature that a search would use and this server lacks; empty if it lacks none."""
    found = [*_prompt_weaknesses(server), *_reply_weaknesses(server)]
    if server.seed is False:
        found.append("the server does not honour seeds, so a search does not repeat exactly")
    if wrong_temperature := _WRONG_TEMPERATURE.get(server.temperature_source or ""):
        found.append(wrong_temperature)
    if server.one_at_a_time:
        found.append("this server completes one text at a time, so rollwise sends one request after the other")
    if server.kind == "transformers" and "generation_config" in server.refused:
        found.append("top_k and the penalties of the model's generation_config.json stay in force")
    if server.kind == "sglang":
        found.append("log-probabilities may be those after the temperature (SGLang's default)")
    if server.thinking == "forced":
        found.append(
            f"this model thinks before it answers and its template cannot stop it; the step rule is {rule.name}"
        )
    return found


def _prompt_weaknesses(server: Server) -> list[str]:
    found = []
    if server.template == "plain":
        found.append("the server gives no chat template, so questions go as plain text; give --tokenizer FOLDER")
    if server.foreign_markers:
        found.append(
            f"the chat template writes {', '.join(server.foreign_markers)}, which the model has no token for: it is "
            "probably a base model (llama.cpp applies ChatML to a model without a template); --template none, or "
            "examples with --shots FILE, suit it better"
        )
    if not server.by_ids:
        found.append("prompts go as text, which is tokenized anew at every step, so steps may join inexactly")
    return found


def _reply_weaknesses(server: Server) -> list[str]:
    found = []
    if server.stopping == "streamed":
        found.append(
            "replies do not distinguish a stop string from the end of the text, so they are streamed and cut here"
        )
        if not server.by_ids and server.tokenizer is None:
            found.append("a streamed reply counts no prompt tokens, so the ledger counts no tokens as read")
        if server.logprobs is None:
            found.append("the ledger counts a streamed piece as one token")
    elif not server.counts:
        found.append("the server counts no tokens; the ledger counts those with ids or log-probabilities in a reply")
    elif not server.cached:
        found.append("the server does not count cached tokens, so the ledger counts every prompt token as read")
    if server.logprobs is None:
        found.append("the server gives no log-probabilities, so a search needs a reward model: name it with --reward")
    return found
