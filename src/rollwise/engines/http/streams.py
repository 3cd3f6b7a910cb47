"""Streamed completions: the events of a stream joined to the reply that the server would have sent as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollwise.engines import StepRule
from rollwise.engines.http.shapes import BrokenReplyError, checked, error_in


class EmptyStreamError(BrokenReplyError):
    """A stream that ended before its first event."""


class Stream:
    """A streamed completion of OpenAI's interface, read until the step ends.

    `feed` takes the data of one event and returns whether to stop reading. `body` is then the reply as a whole. A step
    has at most `limit` tokens, if a limit is given.
    """

    def __init__(self, rule: StepRule, limit: int | None = None) -> None:
        self.rule, self.limit = rule, limit
        self.text = ""
        self.pieces = 0
        self.reason: str | None = None
        self.ids: list[int] = []
        self.logprobs: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": []}
        self.usage: dict[str, Any] | None = None
        self._begun = False

    def feed(self, event: Any) -> bool:
        """Add an event; True if nothing more is to be read. Raises BrokenReplyError for an event that is no piece of a
        reply.
        """
        event = _checked_event("a piece of a completion", event)
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or []:
            self._add(choice)
        return self.reason is not None

    def finish(self) -> bool:
        """Close the stream at its event `[DONE]`; True, since nothing more is to be read.

        Some servers send no finish reason. The text has then ended, or was cut if it has as many tokens as the limit.
        """
        if self.reason is None and self._begun:
            cut = self.limit is not None and self._tokens >= self.limit
            self.reason = "length" if cut else "stop"
        return True

    @property
    def _tokens(self) -> int:
        return len(self.ids) or len(self.logprobs["tokens"]) or self.pieces

    @property
    def _step_ended(self) -> bool:
        return any(end in self.text for end in self.rule.ends)

    def _add(self, choice: Mapping[str, Any]) -> None:
        self._begun = True
        text = str(choice.get("text") or "")
        self.text += text
        self.pieces += bool(text)
        self.ids += choice.get("token_ids") or []
        for name, values in self.logprobs.items():
            values += (choice.get("logprobs") or {}).get(name) or []
        self.reason = "stop" if self._step_ended else choice.get("finish_reason") or self.reason

    @property
    def body(self) -> dict[str, Any]:
        """The reply. Raises BrokenReplyError if the stream ended before the completion did."""
        if self.reason is None:
            raise BrokenReplyError("the stream ended before the completion did")
        choice = {
            "text": self.text,
            "finish_reason": self.reason,
            "token_ids": self.ids or None,
            "logprobs": self.logprobs if self.logprobs["tokens"] else None,
        }
        usage = {} if self._step_ended else self.usage or {}  # a step that was cut here has fewer tokens
        return {"choices": [choice], "usage": usage, "pieces": self._tokens}


class NativeStream:
    """A streamed completion of llama.cpp's own route.

    rollwise streams because a whole reply leaves out the log-probabilities of as many tokens as its stop string has.
    If several tokens make one character, no stream contains all of them; `tokens` is then empty.
    """

    def __init__(self) -> None:
        self.text = ""
        self.ids: list[int] = []
        self.probabilities: list[Any] = []
        self.last: dict[str, Any] | None = None

    def feed(self, event: Any) -> bool:
        """Add an event; True if nothing more is to be read. Raises BrokenReplyError for an event that is no piece of a
        reply.
        """
        event = _checked_event("a piece of llama.cpp's completion", event)
        self.text += str(event.get("content") or "")
        self.ids += event.get("tokens") or []
        self.probabilities += event.get("completion_probabilities") or []
        if event.get("stop"):
            self.last = event
        return self.last is not None

    def finish(self) -> bool:
        """Stop reading at the event `[DONE]`. The last event of this route always states why the completion ended."""
        return True

    @property
    def body(self) -> dict[str, Any]:
        """The reply. Raises BrokenReplyError if the stream ended before the completion did."""
        if self.last is None:
            raise BrokenReplyError("the stream ended before the completion did")
        complete = len(self.ids) == self.last.get("tokens_predicted")
        joined = {
            "content": self.text,
            "tokens": self.ids if complete else [],
            "completion_probabilities": self.probabilities,
        }
        return self.last | joined


def _checked_event(shape: str, event: Any) -> dict[str, Any]:
    if isinstance(event, dict) and event.get("error"):
        raise BrokenReplyError(f"the server streamed an error: {error_in(event)}")
    return checked(shape, event)
