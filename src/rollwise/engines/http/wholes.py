"""Whole rollouts: one reply that goes on to the end of a solution, cut into the steps that a step rule would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.core import Step, Stop
from rollwise.engines import StepRule
from rollwise.engines.http.replies import as_choice, step_of, usage_of
from rollwise.engines.http.servers import TOP, Server
from rollwise.engines.http.shapes import BrokenReplyError

_LISTS = ("tokens", "token_logprobs", "top_logprobs")


@dataclass(frozen=True, slots=True)
class Whole:
    """The steps of a reply, and the tokens that the server generated, read anew and read from its cache."""

    steps: list[Step]
    generated: int
    prefilled: int | None = None
    cached: int | None = None


def can_grow_whole(server: Server) -> bool:
    """Whether a reply that no end of a step stopped shows where its steps end: by the text and id of every token."""
    lists_tokens = server.gives_ids and server.logprobs is not None
    return server.kind in ("vllm", "rollwise") and server.stopping == "field" and lists_tokens


def read_whole(server: Server, body: Any, rule: StepRule, limit: int, before: str = "") -> Whole:
    """The steps of a reply that goes on after the text `before`, each of at most `limit` tokens.

    Each is what a request for it alone would have given. Raises BrokenReplyError if the reply lists no tokens.
    """
    choice = as_choice(body, server.native)
    listed, ids = choice.get("logprobs") or {}, choice.get("token_ids") or []
    pieces: list[str] = listed.get("tokens") or []
    if not ids or len(pieces) != len(ids):
        raise BrokenReplyError("the server replied without the tokens of its text")
    text, steps, start, place = str(choice.get("text") or ""), list[Step](), 0, 0
    for end, stop in _cuts(pieces, rule, limit):
        span, after = slice(start, end), _text_end(text, place, "".join(pieces[start:end]), stop)
        ending: dict[Any, Any] = {"finish_reason": "length" if stop is None else "stop", server.stop_key: stop}
        if end == len(pieces):
            after, ending = len(text), choice
        part = {"text": text[place:after], "token_ids": ids[span]}
        logprobs = {name: (listed.get(name) or [])[span] for name in _LISTS}
        most = min(limit, end - start) if end == len(pieces) else limit
        steps.append(step_of(server, {**ending, **part, "logprobs": logprobs}, rule, most, TOP))
        start, place = end, after
    prefilled, cached, generated = usage_of(server, body)
    return Whole(_closed(steps, rule, before), generated or len(ids), prefilled, cached)


def _cuts(pieces: Sequence[str], rule: StepRule, limit: int) -> Iterator[tuple[int, str | None]]:
    """The places after the last token of each step, with the string that ended it; None for a cut, and at the end."""
    start, step, piece = 0, "", ""
    for end, token in enumerate(pieces[:-1], 1):
        step, piece = step + token, piece + token
        stop = next((stop for stop in rule.ends if stop in piece), None)
        if stop is not None and not rule.is_whole(step):
            stop, piece = None, ""
        if stop is not None or end - start >= limit:
            yield end, stop
            start, step, piece = end, "", ""
    yield len(pieces), None


def _text_end(text: str, start: int, tokens: str, stop: str | None) -> int:
    """Where in a text the step from `start` ends whose tokens are `tokens`.

    If a character is split over several tokens, these show it in another form. A step that the string `stop` ended then
    ends where the text contains that string, any other at most a few characters beside the cut.
    """
    if stop is None or text.startswith(tokens, start):
        return min(len(text), start + len(tokens))
    place = start
    for _ in range(tokens.count(stop)):
        place = text.find(stop, place) + len(stop)
    return min(len(text), place + len(tokens) - tokens.rfind(stop) - len(stop))


def _closed(steps: Sequence[Step], rule: StepRule, before: str) -> list[Step]:
    """The steps up to the first in which a string ends the whole text."""
    found = list[Step]()
    for step in steps:
        found.append(rule.closed(before, step))
        if found[-1].stop is Stop.END:
            break
        before += step.text
    return found
