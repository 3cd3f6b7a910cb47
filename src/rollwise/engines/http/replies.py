"""What a server's reply says: how the step ended, its text and ids, its tokens, its log-probabilities. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.core import Step, Stop
from rollwise.engines import StepRule
from rollwise.engines.http.servers import Server
from rollwise.errors import EngineError

_FLOOR = -100.0  # servers write a probability of 0 in their own ways: -inf, -9999, null


class BrokenReplyError(EngineError):
    """A reply that is not what was asked for: cut off, garbage, or broken off by the server."""


class EmptyStreamError(BrokenReplyError):
    """A stream that ended before its first event."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A step, and what the server read for it: tokens read anew and from its cache, None where it does not say.

    `counted` says whether the server told how many tokens it generated.
    """

    step: Step
    counted: bool
    prefilled: int | None = None
    cached: int | None = None


def ending(choice: Mapping[str, Any], stop_key: str | None, ends: Sequence[str]) -> tuple[Stop, str]:
    """How a choice ended, and its text with the stop string that ended it, whether the server trims it or not.

    "length" is a cut. "stop" is a step's end where the field `stop_key` names one of the strings `ends`, or, without
    such a field, where the text keeps one; else it is the end of the text: None, or a number, which is a stop token's.
    Raises BrokenReplyError for any other reason.
    """
    reason, text = choice.get("finish_reason"), str(choice.get("text") or "")
    if reason == "length":
        return Stop.LENGTH, text
    if reason != "stop":
        raise BrokenReplyError(f"the server broke the completion off: {reason or 'no reason told'}")
    if stop_key is None:
        kept = any(end in text for end in ends)
        return (Stop.STEP if kept else Stop.END), text
    matched = choice.get(stop_key)
    if isinstance(matched, str) and matched in ends:
        return Stop.STEP, text if matched in text else text + matched
    return Stop.END, text


def with_stop(text: str, generated: str, ends: Sequence[str]) -> str:
    """A text with the stop string that the server left out of it, where the tokens that were `generated` hold one. They
    may lack characters of which no token holds a whole one.
    """
    if generated.startswith(text):
        return generated
    return text + next((end for end in ends if end in generated), "")


def as_choice(reply: Any, native: bool) -> dict[str, Any]:
    """The first choice of a reply, in the shape of OpenAI's completions as vLLM extends them.

    Of llama.cpp's own route, `stop_type` eos, limit or word is told apart. Raises BrokenReplyError where there is none.
    """
    if not isinstance(reply, dict):
        raise BrokenReplyError(f"the server replied {repr(reply)[:80]}")
    if native:
        return _native_choice(reply)
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BrokenReplyError(f"the server replied without a choice: {repr(reply)[:80]}")
    return dict(choices[0])


def _native_choice(reply: dict[str, Any]) -> dict[str, Any]:
    if "content" not in reply:
        raise BrokenReplyError(f"the server replied without content: {repr(reply)[:80]}")
    kind = reply.get("stop_type")
    if reply.get("truncated") and kind != "limit":  # at a limit, the context was full
        raise BrokenReplyError("the server cut the prompt to fit its context; start it with a larger -c")
    reason = {"eos": "stop", "word": "stop", "limit": "length"}.get(str(kind))
    shown = reply.get("completion_probabilities") or []
    logprobs = {
        "tokens": [one.get("token", "") for one in shown],
        "token_logprobs": [one.get("logprob") for one in shown],
        "top_logprobs": [
            {str(top.get("id")): top.get("logprob") for top in one.get("top_logprobs") or []} for one in shown
        ],
    }
    return {
        "text": reply["content"],
        "finish_reason": reason,
        "stop_reason": reply.get("stopping_word") if kind == "word" else None,
        "token_ids": reply.get("tokens") or None,
        "logprobs": logprobs if shown else None,
    }


class NativeStream:
    """The pieces of a completion by llama.cpp's own route, joined as they come.

    It is streamed since a whole reply leaves out the log-probabilities of as many tokens as its stop string has. No
    stream tells all tokens where several make one character: `tokens` are then none.
    """

    def __init__(self) -> None:
        self.text = ""
        self.ids: list[int] = []
        self.shown: list[Any] = []
        self.last: dict[str, Any] | None = None

    def feed(self, event: Any) -> bool:
        """Whether there is nothing more to read. Raises BrokenReplyError for an event that is no piece of a reply."""
        if not isinstance(event, dict) or "error" in event:
            raise BrokenReplyError(f"the server streamed {repr(event)[:120]}")
        self.text += str(event.get("content") or "")
        self.ids += event.get("tokens") or []
        self.shown += event.get("completion_probabilities") or []
        if event.get("stop"):
            self.last = event
        return self.last is not None

    @property
    def body(self) -> dict[str, Any]:
        """The reply. Raises BrokenReplyError where the stream ended before the text did."""
        if self.last is None:
            raise BrokenReplyError("the stream ended before the completion did")
        whole = len(self.ids) == self.last.get("tokens_predicted")
        told = {"content": self.text, "tokens": self.ids if whole else [], "completion_probabilities": self.shown}
        return self.last | told


def certainty(top_logprobs: Sequence[Mapping[str, float | None] | None], most: int) -> float:
    """The mean over tokens of -1/k Σ_j log(k p_j) over the k likeliest tokens, k ≤ `most`; not a number where fewer
    than two are told. It is KL(uniform ‖ p) where k is the whole vocabulary, and at or above 0 since Σ p ≤ 1.
    """
    values = []
    for told in top_logprobs:
        likeliest = sorted((_logprob(one) for one in (told or {}).values()), reverse=True)[:most]
        if len(likeliest) < 2:
            continue
        values.append(-math.fsum(likeliest) / len(likeliest) - math.log(len(likeliest)))
    return max(0.0, math.fsum(values) / len(values)) if values else math.nan


def _logprob(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else _FLOOR
    return max(number, _FLOOR) if not math.isnan(number) else _FLOOR


def read_reply(server: Server, body: Any, rule: StepRule, limit: int, top: int) -> Reply:
    """What came of a request for one step of at most `limit` tokens. Raises BrokenReplyError where it says nothing."""
    choice = as_choice(body, server.native)
    shown = choice.get("logprobs") or {}
    logprobs = [_logprob(one) for one in shown.get("token_logprobs") or []]
    pieces = [str(one) for one in shown.get("tokens") or []]
    if server.stopping == "shown":
        choice["text"] = with_stop(str(choice.get("text") or ""), "".join(pieces), rule.ends)
    stop, text = ending(choice, server.stop_key, rule.ends)
    ids = tuple(choice.get("token_ids") or ())
    prefilled, cached, generated = usage_of(server, body)
    counted = generated is not None or bool(ids or logprobs)
    tokens = generated or len(ids) or len(logprobs) or body.get("pieces") or int(bool(text))
    if stop is Stop.STEP and "".join(pieces).startswith(text):
        text = "".join(pieces)  # a token may go on after the string that ends the step, and the ids hold it
    if stop is Stop.END:
        ids = ids[:-1] if len(pieces) == len(ids) and "".join(pieces[:-1]) == text else ()
    if stop is Stop.LENGTH and rule.tokens is not None and limit == rule.tokens:
        stop = Stop.STEP
    sure = certainty(shown.get("top_logprobs") or [], top)
    total = math.fsum(logprobs) if logprobs else math.nan
    return Reply(Step(text, tokens, stop, total, ids, sure), counted, prefilled, cached)


def usage_of(server: Server, body: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Tokens read anew, read from the cache, and generated; None where not told."""
    if server.native:
        timings = body.get("timings") or {}
        prompt, cached = _count(body.get("tokens_evaluated")), _count(timings.get("cache_n"))
        generated = _count(body.get("tokens_predicted"))
    else:
        usage = body.get("usage") or {}
        prompt, generated = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        cached = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens"))
    return (None if prompt is None else max(0, prompt - (cached or 0))), cached, generated


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Stream:
    """The pieces of a streamed completion, joined as they come, until a step's end shows.

    `feed` takes one event's data and says whether to stop reading; `body` is then what a whole reply would have been.
    """

    def __init__(self, rule: StepRule) -> None:
        self.rule = rule
        self.text = ""
        self.pieces = 0
        self.reason: str | None = None
        self.ids: list[int] = []
        self.logprobs: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": []}
        self.usage: dict[str, Any] | None = None

    def feed(self, event: Any) -> bool:
        """Whether there is nothing more to read. Raises BrokenReplyError for an event that is no piece of a reply."""
        if not isinstance(event, dict) or "error" in event:
            raise BrokenReplyError(f"the server streamed {repr(event)[:120]}")
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or []:
            self._take(choice)
        return self.reason is not None

    def _take(self, choice: Mapping[str, Any]) -> None:
        text = str(choice.get("text") or "")
        self.text += text
        self.pieces += bool(text)
        self.ids += choice.get("token_ids") or []
        for name, values in self.logprobs.items():
            values += (choice.get("logprobs") or {}).get(name) or []
        if any(end in self.text for end in self.rule.ends):
            self.reason = "stop"
        else:
            self.reason = choice.get("finish_reason") or self.reason

    @property
    def body(self) -> dict[str, Any]:
        """The reply. Raises BrokenReplyError where the stream ended before the text did."""
        if self.reason is None:
            raise BrokenReplyError("the stream ended before the completion did")
        tokens = self.logprobs["tokens"]
        count = len(self.ids) or len(tokens) or self.pieces
        usage = self.usage if self.usage and not any(end in self.text for end in self.rule.ends) else None
        choice = {
            "text": self.text,
            "finish_reason": self.reason,
            "token_ids": self.ids or None,
            "logprobs": self.logprobs if tokens else None,
        }
        return {"choices": [choice], "usage": usage or {}, "pieces": count}
