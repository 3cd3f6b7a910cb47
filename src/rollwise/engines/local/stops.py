"""When sampled tokens are over: stop strings and stop tokens, told apart by the last token where that is enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.core import BoolArray, IntArray

Kinds = NDArray[np.uint8]

GOES_ON, MAY_CLOSE, ENDS = 0, 1, 2
_BROKEN = "\ufffd"


@dataclass(frozen=True, slots=True)
class StopRule:
    """What ends a row: a token that completes one of the `strings`, or one of the `tokens` itself.

    `without` are tokens that are no text, such as special ones that a reader never sees.
    """

    strings: tuple[str, ...] = ()
    tokens: frozenset[int] = frozenset()
    without: frozenset[int] = field(default=frozenset(), repr=False)


class StopTable:
    """Rules by the row: slot → what each token (vocabulary,) means at the end of a row: it goes on, it may close a
    stop string, which only the text can tell, or it ends.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.pieces = _pieces(tokenizer, vocabulary)
        self._decode = tokenizer.decode
        self._holding: dict[str, BoolArray] = {}
        self._slots: dict[StopRule, int] = {}
        self._kinds = np.zeros((0, vocabulary), dtype=np.uint8)

    def slot(self, rule: StopRule, busy: Collection[int]) -> int:
        """The slot of a rule; a new rule may take one that is not busy."""
        if rule not in self._slots:
            if len(self._slots) >= max(64, 2 * len(busy)):
                self._slots = {one: place for one, place in self._slots.items() if place in busy}
            taken = set(self._slots.values())
            free = next(place for place in range(len(taken) + 1) if place not in taken)
            if free >= len(self._kinds):
                self._kinds = np.pad(self._kinds, ((0, free + 1 - len(self._kinds)), (0, 0)))
            self._kinds[free] = self._row(rule)
            self._slots[rule] = free
        return self._slots[rule]

    def kinds(self, slots: IntArray, tokens: IntArray) -> Kinds:
        """GOES_ON, MAY_CLOSE or ENDS (rows,) of each row's last token, by the row's rule."""
        return self._kinds[slots, tokens]

    def closes(self, rule: StopRule, tokens: Sequence[int]) -> bool:
        """Whether the last token completes a stop string, looking back no further than one can begin."""
        text, longest = "", max(map(len, rule.strings), default=0)
        enough = len(self.pieces[tokens[-1]]) + longest - 1
        for place in range(len(tokens) - 1, -1, -1):
            token = tokens[place]
            text = (self.pieces[token] if token not in rule.without else "") + text
            if len(text) >= enough and _BROKEN not in text:
                break
        if _BROKEN in text:
            text = self._decode([token for token in tokens if token not in rule.without])[-max(enough, 1) :]
        return any(string in text for string in rule.strings)

    def _row(self, rule: StopRule) -> Kinds:
        row = np.full(len(self.pieces), GOES_ON, dtype=np.uint8)
        for string in rule.strings:
            row[self._with(string[-1])] = MAY_CLOSE
            if not string[-1].isascii():
                row[self._with(_BROKEN)] = MAY_CLOSE
        row[[token for token in rule.tokens if token < len(row)]] = ENDS
        return row

    def _with(self, character: str) -> BoolArray:
        """Which tokens (vocabulary,) hold a character."""
        if character not in self._holding:
            self._holding[character] = np.array([character in piece for piece in self.pieces], dtype=np.bool_)
        return self._holding[character]


def first_stop(text: str, strings: Iterable[str]) -> tuple[int, str] | None:
    """Where the first stop string of a text begins, and which it is; of those that begin there the first given."""
    found = [(place, string) for string in strings if (place := text.find(string)) >= 0]
    return min(found, key=lambda each: each[0], default=None)


def _pieces(tokenizer: Any, vocabulary: int) -> list[str]:
    """The text that each token adds to a text: some tokenizers drop the blank of a token that comes first."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = tokenizer.decode(anchor)
    pieces = []
    for token in range(vocabulary):
        text = tokenizer.decode([*anchor, token])
        pieces.append(text[len(before) :] if text.startswith(before) else tokenizer.decode([token]))
    return pieces
