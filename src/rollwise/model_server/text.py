"""From sampled tokens to text: where the text stops and why, and how much of it a stream may send already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.engines.local import Decoder, StopRule, first_stop

_REPLACEMENT = "\ufffd"
"""What a tokenizer decodes part of a character to."""


@dataclass(frozen=True)
class Ending:
    """A completion's text, and why it ended.

    `finish_reason` is "stop" or "length". `stop_reason` is the string or the token that stopped it; None at the length
    limit and for the tokenizer's own end of text.
    """

    text: str
    finish_reason: str
    stop_reason: str | int | None


@dataclass(frozen=True)
class Detokenizer:
    """Turns the tokens of one request into text. `include_stop` leaves the stop string or token in the text."""

    tokenizer: Any
    pieces: Sequence[str]
    stop_rule: StopRule
    include_stop: bool

    @classmethod
    def of(
        cls, decoder: Decoder, strings: tuple[str, ...], tokens: Sequence[int], include_stop: bool, skip_special: bool
    ) -> Detokenizer:
        """The detokenizer of a request that stops at these strings and tokens. `skip_special` leaves special tokens
        out of the text.
        """
        textless = special_tokens(decoder.tokenizer) if skip_special else frozenset()
        stop_rule = StopRule(strings, decoder.end_tokens | set(tokens), textless)
        return cls(decoder.tokenizer, decoder.stops.pieces, stop_rule, include_stop)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return self.tokenizer.decode([token for token in tokens if token not in self.stop_rule.textless])

    def ending(self, tokens: Sequence[int]) -> Ending:
        """The text of a finished completion, and why it ended."""
        at_stop_token = bool(tokens) and tokens[-1] in self.stop_rule.tokens
        text = self.text(tokens[:-1] if at_stop_token and not self.include_stop else tokens)
        match = first_stop(text, self.stop_rule.strings)
        if match is not None:
            place, string = match
            end = place + len(string) if self.include_stop else place
            return Ending(text[:end], "stop", string)
        if at_stop_token:
            return Ending(text, "stop", None if tokens[-1] == self.tokenizer.eos_token_id else tokens[-1])
        return Ending(text, "length", None)


class Transcript:
    """The text of one completion that a stream has sent so far. It holds back text that may become a stop string."""

    def __init__(self, detokenizer: Detokenizer) -> None:
        self.detokenizer, self.tokens, self.sent = detokenizer, list[int](), 0
        self.held_back = max(map(len, detokenizer.stop_rule.strings), default=1) - 1
        self._text, self._incomplete = "", list[int]()

    def add(self, token: int) -> str:
        """Add a token; return the text that may be sent now."""
        rule = self.detokenizer.stop_rule
        self.tokens.append(token)
        if token in rule.tokens or token in rule.textless:
            return ""
        self._append(token)
        match = first_stop(self._text, rule.strings)
        end = match[0] if match else max(0, len(self._text) - self.held_back)
        text, self.sent = self._text[self.sent : end], max(self.sent, end)
        return text

    def _append(self, token: int) -> None:
        """Append a token's text. Tokens that hold parts of a character wait until the character is complete."""
        piece = self.detokenizer.pieces[token]
        if self._incomplete or not self._text or _REPLACEMENT in piece:
            self._incomplete.append(token)
            piece = self.detokenizer.text(self._incomplete)
        if not piece.endswith(_REPLACEMENT):
            self._text += piece
            self._incomplete = []

    def end(self) -> tuple[str, Ending]:
        """The rest of the text, and why the completion ended."""
        ending = self.detokenizer.ending(self.tokens)
        return ending.text[self.sent :], ending


def special_tokens(tokenizer: Any) -> frozenset[int]:
    """The tokens that stand for no text: roles, padding, ends."""
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return frozenset(added | set(tokenizer.all_special_ids))
