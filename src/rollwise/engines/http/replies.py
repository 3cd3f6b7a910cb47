"""Reading a server's reply: why the step ended, its text and ids, its tokens and its log-probabilities. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollwise.core import Step, Stop
from rollwise.engines import StepRule
from rollwise.engines.http.servers import Server
from rollwise.engines.http.shapes import BrokenReplyError, checked, possible

_FLOOR = -100.0  # the logarithm of a probability of 0, which servers write as -inf, -9999 or null
_ENDS_OF_TEXT = frozenset({"eos", "eos_token", "end_turn"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A step and the tokens that the server read for it: anew and from its cache, None if the server does not say.

    `counted` says whether the reply shows how many tokens were generated.
    """

    step: Step
    counted: bool
    prefilled: int | None = None
    cached: int | None = None


def ending(choice: Mapping[str, Any], stop_key: str | None, ends: Sequence[str]) -> tuple[Stop, str]:
    """Why a choice ended, and its text including the stop string that ended it, even if the server trims it.

    The finish reason decides. "length" is a cut. "stop" ends the step if the field `stop_key` names one of the strings
    `ends`, or, without such a field, if the text contains one of them. Otherwise "stop" ends the text; the field is
    then None or the id of a stop token. "eos", "eos_token" and "end_turn" end the text.
    Raises BrokenReplyError for any other reason.
    """
    reason, text = choice.get("finish_reason"), str(choice.get("text") or "")
    if reason == "length":
        return Stop.LENGTH, text
    if reason in _ENDS_OF_TEXT:
        return Stop.END, text
    if reason != "stop":
        raise BrokenReplyError(f"the server broke the completion off: {reason or 'no reason given'}")
    if stop_key is None:
        return (Stop.STEP if any(end in text for end in ends) else Stop.END), text
    matched = choice.get(stop_key)
    if isinstance(matched, str) and matched in ends:
        return Stop.STEP, text if matched in text else text + matched
    return Stop.END, text


def with_stop(text: str, generated: str, ends: Sequence[str]) -> str:
    """A text including the stop string that the server trimmed, if the `generated` tokens contain one of `ends`.

    The tokens may lack characters that are split over several tokens, so the text itself is kept.
    """
    if generated.startswith(text):
        return generated
    return text + next((end for end in ends if end in generated), "")


def as_choice(reply: Any, native: bool) -> dict[str, Any]:
    """The first choice of a reply, in the shape of OpenAI's completions as vLLM extends them.

    `native` marks a reply of llama.cpp's own route, whose `stop_type` is eos, limit or word. Raises BrokenReplyError
    if the reply has no choice.
    """
    if native:
        return _native_choice(checked("llama.cpp's completion", reply))
    return dict(checked("a completion", reply)["choices"][0])


def _native_choice(reply: dict[str, Any]) -> dict[str, Any]:
    stop_type = reply.get("stop_type")
    if reply.get("truncated") and stop_type != "limit":  # with "limit" the context was full and the text was cut
        raise BrokenReplyError("the server cut the prompt to fit its context; start it with a larger -c")
    places = reply.get("completion_probabilities") or []
    return {
        "text": reply["content"],
        "finish_reason": {"eos": "stop", "word": "stop", "limit": "length"}.get(str(stop_type)),
        "stop_reason": reply.get("stopping_word") if stop_type == "word" else None,
        "token_ids": reply.get("tokens") or None,
        "logprobs": _native_logprobs(places) if places else None,
    }


def _native_logprobs(places: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """llama.cpp's probabilities at each place, in OpenAI's shape."""
    return {
        "tokens": [place.get("token", "") for place in places],
        "token_logprobs": [place.get("logprob") for place in places],
        "top_logprobs": [
            {str(top.get("id")): top.get("logprob") for top in place.get("top_logprobs") or []} for place in places
        ],
    }


def certainty(top_logprobs: Sequence[Mapping[str, float | None] | None], most: int) -> float:
    """The mean over tokens of -1/k Σ_j log(k p_j) over the k likeliest tokens, k ≤ `most`.

    NaN if no token lists at least two. If k is the whole vocabulary, this is KL(uniform ‖ p). It is at least 0 because
    Σ p ≤ 1.
    """
    values = []
    for logprobs in top_logprobs:
        likeliest = sorted((_logprob(value) for value in (logprobs or {}).values()), reverse=True)[:most]
        if len(likeliest) < 2:
            continue
        values.append(-math.fsum(likeliest) / len(likeliest) - math.log(len(likeliest)))
    return max(0.0, math.fsum(values) / len(values)) if values else math.nan


def _logprob(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else _FLOOR
    return min(max(number, _FLOOR), 0.0) if not math.isnan(number) else _FLOOR


def read_reply(server: Server, body: Any, rule: StepRule, limit: int, top: int) -> Reply:
    """The reply to a request for one step of at most `limit` tokens.

    The certainty reads the `top` likeliest tokens. Raises BrokenReplyError if the reply holds no step.
    """
    choice = as_choice(body, server.native)
    prefilled, cached, generated = usage_of(server, body)
    step = step_of(server, choice, rule, limit, top, generated or 0)
    listed = choice.get("logprobs") or {}
    counted = generated is not None or bool(choice.get("token_ids") or listed.get("token_logprobs"))
    if not step.tokens:
        step = replace(step, tokens=possible("counts", body).get("pieces") or int(bool(step.text)))
    return Reply(step, counted, prefilled, cached)


def step_of(server: Server, choice: Mapping[str, Any], rule: StepRule, limit: int, top: int, tokens: int = 0) -> Step:
    """The step of a choice, asked for with at most `limit` tokens.

    It has `tokens` tokens, or as many as the choice lists if that is 0. Raises BrokenReplyError if the choice holds no
    step.
    """
    listed = choice.get("logprobs") or {}
    logprobs = [_logprob(value) for value in listed.get("token_logprobs") or []]
    pieces = [str(token) for token in listed.get("tokens") or []]
    if server.stopping == "logprobs":
        choice = {**choice, "text": with_stop(str(choice.get("text") or ""), "".join(pieces), rule.ends)}
    stop, text = ending(choice, server.stop_key, rule.ends)
    ids = tuple(choice.get("token_ids") or ())
    tokens = tokens or len(ids) or len(logprobs)
    if stop is Stop.STEP and "".join(pieces).startswith(text):
        text = "".join(pieces)  # the last token may go on after the string that ends the step, and the ids contain it
    if stop is Stop.END:
        ids = _without_end_token(ids, pieces, text)
    if stop is Stop.LENGTH and rule.tokens is not None and limit == rule.tokens:
        stop = Stop.STEP
    total = math.fsum(logprobs) if logprobs else math.nan
    return Step(text, tokens, stop, total, ids, certainty(listed.get("top_logprobs") or [], top))


def _without_end_token(ids: tuple[int, ...], pieces: Sequence[str], text: str) -> tuple[int, ...]:
    """The ids of an ended text without its end-of-text token; none if the pieces do not show that the last id is it."""
    shows_end = len(pieces) == len(ids) and "".join(pieces[:-1]) == text
    return ids[:-1] if shows_end else ()


def usage_of(server: Server, body: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """The tokens read anew, read from the cache, and generated; None for a count that the reply lacks."""
    counts = possible("counts", body)
    if server.native:
        prompt, generated = counts.get("tokens_evaluated"), counts.get("tokens_predicted")
        cached = (counts.get("timings") or {}).get("cache_n")
    else:
        usage = counts.get("usage") or {}
        prompt, generated = usage.get("prompt_tokens"), usage.get("completion_tokens")
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return (None if prompt is None else max(0, prompt - (cached or 0))), cached, generated
