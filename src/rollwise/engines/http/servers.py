"""What is known of a server, and how its kind is asked for a completion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from rollwise.core import Sampling
from rollwise.engines import StepRule
from rollwise.errors import InputError

Stopping = Literal["told", "kept", "shown", "cut"]
"""How a step's end is seen: the reply says which string ended it; the text keeps the string; the text leaves it out and
the tokens among the log-probabilities show it; or the reply is read as a stream and cut by the reader, since this
server's replies do not tell a stop string from the end of the text.
"""

Tempering = Literal["asked", "greedy", "first"]
"""Whose temperature holds: that of each request; none, since every reply is the likeliest text; or that of the first
request that the server ever had.
"""

TOP = 5
"""How many of the likeliest tokens are asked for: as many as every server gives."""


@dataclass(frozen=True)
class Server:
    """A server and what it can do, as a probe found it; None stands for what is not known.

    `stop_key` is the field of a choice that says which string ended it; `logprobs` counts the likeliest tokens that a
    reply names at each position, 0 where it names the sampled one only; `template` is how a chat becomes a prompt:
    "tokenize", "apply-template", "chat" (ids told by a chat completion), "tokenizer" (a folder here) or "plain";
    `thinking` is "none", "off" (the template takes enable_thinking) or "forced" (it opens a thought by itself);
    `encodes`: whether it has a route that turns text into ids; `refused` names fields that this server does not take;
    `tempering` says whose temperature holds, and is tried where a kind is known to differ.
    """

    url: str
    kind: str
    model: str
    version: str | None = None
    context: int | None = None
    parameters: int = 0
    takes_ids: bool = False
    gives_ids: bool = False
    stopping: Stopping = "cut"
    stop_key: str | None = None
    n: bool | None = None
    logprobs: int | None = None
    seed: bool | None = None
    counts: bool = False
    cached: bool | None = None
    prefix_cache: bool | None = None
    template: str = "plain"
    thinking: str | None = None
    tokenizer: str | None = None
    encodes: bool = False
    refused: frozenset[str] = frozenset()
    tempering: Tempering | None = None

    @property
    def one_at_a_time(self) -> bool:
        """Whether requests are best sent in turn: llama-cpp-python holds one lock, and a new request may interrupt a
        stream; transformers serve completes one text after the other, by one generator that each request seeds anew.
        """
        return self.kind == "llama-cpp-python" or (self.kind == "transformers" and self.tempering != "first")

    @property
    def native(self) -> bool:
        """Whether the kind has a route of its own that tells more: llama.cpp's /completion."""
        return self.kind == "llamacpp"

    def streams(self, sampling: Sampling) -> bool:
        """Whether a completion is streamed and cut here: where replies do not show a step's end, or only by
        log-probabilities that nobody asks for. Of llama-cpp-python they cost a sort of the vocabulary for each token.
        """
        return self.stopping == "cut" or (self.stopping == "shown" and not sampling.certainty)

    @property
    def route(self) -> str:
        """The path that completes."""
        return "/completion" if self.native else "/v1/completions"

    @property
    def by_ids(self) -> bool:
        """Whether prompts go as token ids: then no text is tokenised twice, and steps join exactly."""
        told = self.encodes or self.template in ("tokenize", "chat", "tokenizer")
        return self.takes_ids and told and (self.gives_ids or self.encodes or self.tokenizer is not None)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and which of its models is meant where it has several."""

    url: str
    model: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


def is_url(given: object) -> bool:
    """Whether something given as a part is the address of a server."""
    return isinstance(given, str) and given.startswith(("http://", "https://"))


def addresses(text: str) -> list[Address]:
    """The servers of `URL` or `URL,URL`, with or without /v1; `URL#name` picks a model. Raises InputError where one is
    no address, or carries a password.
    """
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        pieces = urlsplit(part)
        if not is_url(part) or not pieces.hostname:
            raise InputError(f"a server is given as http://host:port, not {part!r}")
        if pieces.username is not None or pieces.password is not None or pieces.query:
            raise InputError(
                f"give the key of {pieces.hostname} as ROLLWISE_API_KEY in the environment, not in its URL"
            )
        path = pieces.path.rstrip("/").removesuffix("/v1")
        found.append(Address(f"{pieces.scheme}://{pieces.netloc}{path}", pieces.fragment or None))
    if len({one.url for one in found}) < len(found):
        raise InputError("the same server is given twice; give each once")
    return found


# Fields that keep a server from sampling by defaults of its own (a model's generation_config.json, or llama.cpp's), by
# kind. An OpenAI server has no such defaults; transformers serve takes them in a text of JSON.
_NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {
        **{"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "xtc_probability": 0.0, "mirostat": 0},
        "samplers": ["temperature", "top_p"],  # its own order cuts by top_p what no temperature has changed yet
    },
    "llama-cpp-python": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}
_NEUTRAL_CONFIG: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "no_repeat_ngram_size": 0}
_PENALTIES = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
_KEPT: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"include_stop_str_in_output": True, "return_token_ids": True, "add_special_tokens": False},
    "sglang": {"no_stop_trim": True, "return_token_ids": True},
    "rollwise": {"include_stop_str_in_output": True, "return_token_ids": True, "add_special_tokens": False},
    "llamacpp": {"return_tokens": True, "cache_prompt": True},
}


def completion_body(
    server: Server,
    prompt: str | Sequence[int],
    sampling: Sampling,
    limit: int,
    seed: int,
    ends: Sequence[str] = (),
) -> dict[str, Any]:
    """The request for one completion of at most `limit` tokens, with every sampling parameter that the server's kind
    takes, so that no default of the server's or the model's own has a say. Where the reader cuts, the server is asked
    to stream and is given no stop strings. The likeliest tokens are asked for only where the sampling wants to know how
    certain the policy was; of llama-cpp-python no log-probabilities at all are then.
    """
    fewest = {"vllm": 0, "rollwise": 0, "llama-cpp-python": None}.get(server.kind, 1)
    top = TOP if sampling.certainty else fewest
    body: dict[str, Any] = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
    body |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}
    body |= {**_NEUTRAL.get(server.kind, {}), **_KEPT.get(server.kind, {})}
    if server.kind == "transformers":  # without do_sample it takes the likeliest token at every temperature
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


_TEMPERING: Mapping[str, Sequence[str]] = {
    "greedy": (
        "the server replies with the likeliest text whatever the temperature, so all rollouts of a question are one; "
        "restart it without --continuous-batching, or with "
        '"do_sample": true in the generation_config.json of its model',
    ),
    "first": (
        "the temperature and top_p of the first request that this server ever had hold for all that follow, and seeds "
        "do not hold among requests at once; restart it without --continuous-batching to choose them",
    ),
}


def weaknesses(server: Server, rule: StepRule) -> list[str]:
    """What this server cannot do that a search would like, in sentences; empty where it can do everything."""
    told = []
    if server.template == "plain":
        told.append(
            "no chat template is to be had from the server, so questions go as plain text; give --tokenizer FOLDER"
        )
    if not server.by_ids:
        told.append("prompts go as text, which is tokenised anew at every step, so steps may join inexactly")
    if server.stopping == "cut":
        told.append("replies do not tell a stop string from the end, so they are streamed and cut here")
    if server.stopping == "cut":
        if not server.by_ids and server.tokenizer is None:
            told.append("a streamed reply counts no prompt tokens, so the ledger holds none as read")
        if server.logprobs is None:
            told.append("the ledger counts a streamed piece as one token")
    elif not server.counts:
        told.append("the server counts no tokens; the ledger counts those whose ids or log-probabilities it gives")
    elif not server.cached:
        told.append("the server does not say what its prefix cache saved; the ledger counts all prompts as read")
    if server.logprobs is None:
        told.append("the server gives no log-probabilities, so it takes a reward model, named by --reward")
    if server.seed is False:
        told.append("the server does not honour seeds, so a search does not repeat exactly")
    told += _TEMPERING.get(server.tempering or "", ())
    if server.one_at_a_time:
        told.append("this server completes one text at a time, so requests go one after the other")
    if server.kind == "transformers" and "generation_config" in server.refused:
        told.append("top_k and penalties of the model's generation_config.json stay in force")
    if server.kind == "sglang":
        told.append("log-probabilities may be those after the temperature (SGLang's default)")
    if server.thinking == "forced":
        told.append(
            f"this model thinks before it answers and its template cannot stop it; the step rule is {rule.name}"
        )
    return told
