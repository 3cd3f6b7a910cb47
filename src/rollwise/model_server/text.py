"""From sampled tokens to text: where it stops, why, and what of it may be shown while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.engines.local import Decoder, StopRule, first_stop


@dataclass(frozen=True)
class Ending:
    """A completion's text, and why it ended: "stop" or "length", and for a stop the string or the token, or None for
    the tokenizer's own end of text.
    """

    text: str
    finish_reason: str
    stop_reason: str | int | None


@dataclass(frozen=True)
class Reader:
    """Turns the tokens of one request into text; `include` leaves the stop string or token in the text."""

    tokenizer: Any
    pieces: Sequence[str]
    rule: StopRule
    include: bool

    @classmethod
    def of(cls, decoder: Decoder, strings: tuple[str, ...], asked: Sequence[int], include: bool, skip: bool) -> Reader:
        """The reader of a request to a decoder; `skip` leaves special tokens out of the text."""
        rule = StopRule(strings, decoder.ends | set(asked), special_tokens(decoder.tokenizer) if skip else frozenset())
        return cls(decoder.tokenizer, decoder.stops.pieces, rule, include)

    def text(self, tokens: Sequence[int]) -> str:
        """The text that tokens are."""
        return self.tokenizer.decode([token for token in tokens if token not in self.rule.without])

    def ending(self, tokens: Sequence[int]) -> Ending:
        """The text of a completion that is over, and why it is."""
        ended = bool(tokens) and tokens[-1] in self.rule.tokens
        text = self.text(tokens if self.include or not ended else tokens[:-1])
        stopped = first_stop(text, self.rule.strings)
        if stopped is not None:
            place, string = stopped
            return Ending(text[: place + len(string) * self.include], "stop", string)
        if ended:
            return Ending(text, "stop", None if tokens[-1] == self.tokenizer.eos_token_id else tokens[-1])
        return Ending(text, "length", None)


class Transcript:
    """What a stream has said of one completion so far. What may yet turn out to be a stop string is held back."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.tokens, self.sent = reader, list[int](), 0
        self.hold = max(map(len, reader.rule.strings), default=1) - 1
        self._text, self._broken = "", list[int]()

    def add(self, token: int) -> str:
        """The text that can be said now that there is one more token."""
        self.tokens.append(token)
        if token in self.reader.rule.tokens or token in self.reader.rule.without:
            return ""
        self._grow(token)
        stopped = first_stop(self._text, self.reader.rule.strings)
        sure = stopped[0] if stopped else max(0, len(self._text) - self.hold)
        said, self.sent = self._text[self.sent : sure], max(self.sent, sure)
        return said

    def _grow(self, token: int) -> None:
        """One more token's text; tokens that hold parts of a character wait until it is whole."""
        piece = self.reader.pieces[token]
        if self._broken or not self._text or "\ufffd" in piece:
            self._broken.append(token)
            piece = self.reader.text(self._broken)
        if not piece.endswith("\ufffd"):
            self._text += piece
            self._broken = []

    def end(self) -> tuple[str, Ending]:
        """The rest of the text, and why it ended."""
        ending = self.reader.ending(self.tokens)
        return ending.text[self.sent :], ending


def special_tokens(tokenizer: Any) -> frozenset[int]:
    """The tokens that stand for no text: those of roles, padding, ends."""
    added = {token for token, each in tokenizer.added_tokens_decoder.items() if each.special}
    return frozenset(added | set(tokenizer.all_special_ids))
