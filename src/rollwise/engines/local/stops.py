"""Where sampled tokens stop: stop strings and stop tokens. Most last tokens decide without a look at the text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.core import BoolArray, IntArray

Effects = NDArray[np.uint8]

CONTINUES, MAY_COMPLETE, ENDS = 0, 1, 2
"""What the last token of a row does: the row continues, the token may complete a stop string, or the row ends."""

_REPLACEMENT = "\ufffd"
"""What a tokenizer decodes part of a character to."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """What ends a row: a token that completes one of the `strings`, or one of the `tokens`.

    The `textless` tokens add nothing to the text, as special tokens that no reader sees. `confirm` decides by the whole
    text of the row whether a stop string in it ends the row.
    """

    strings: tuple[str, ...] = ()
    tokens: frozenset[int] = frozenset()
    textless: frozenset[int] = field(default=frozenset(), repr=False)
    confirm: Callable[[str], bool] | None = None


class StopTable:
    """A table of stop rules: slot → the effect of each token (vocabulary,) at the end of a row.

    The effect MAY_COMPLETE means that only the text can decide: `completes` looks at it.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.pieces = _pieces(tokenizer, vocabulary)
        self._decode = tokenizer.decode
        self._containing: dict[str, BoolArray] = {}
        self._slots: dict[StopRule, int] = {}
        self._effects = np.zeros((0, vocabulary), dtype=np.uint8)

    def slot(self, rule: StopRule, busy: Collection[int]) -> int:
        """The slot of a rule. A full table gives a new rule the slot of an old rule, but never a `busy` slot."""
        if rule not in self._slots:
            if len(self._slots) >= max(64, 2 * len(busy)):
                self._slots = {kept: slot for kept, slot in self._slots.items() if slot in busy}
            taken = set(self._slots.values())
            free = next(slot for slot in range(len(taken) + 1) if slot not in taken)
            if free >= len(self._effects):
                self._effects = np.pad(self._effects, ((0, free + 1 - len(self._effects)), (0, 0)))
            self._effects[free] = self._effects_of(rule)
            self._slots[rule] = free
        return self._slots[rule]

    def effects(self, slots: IntArray, tokens: IntArray) -> Effects:
        """CONTINUES, MAY_COMPLETE or ENDS (rows,) for each row's last token under the row's rule."""
        return self._effects[slots, tokens]

    def completes(self, rule: StopRule, tokens: Sequence[int]) -> bool:
        """Whether the last token completes a stop string. Decodes no more tokens than a stop string can span."""
        text, longest = "", max(map(len, rule.strings), default=0)
        enough = len(self.pieces[tokens[-1]]) + longest - 1
        for token in reversed(tokens):
            text = ("" if token in rule.textless else self.pieces[token]) + text
            if len(text) >= enough and _REPLACEMENT not in text:
                break
        if _REPLACEMENT in text:  # tokens share a character: only the decoded whole shows it
            text = self._decode([token for token in tokens if token not in rule.textless])[-max(enough, 1) :]
        if not any(string in text for string in rule.strings):
            return False
        return rule.confirm is None or rule.confirm(self._decode([t for t in tokens if t not in rule.textless]))

    def _effects_of(self, rule: StopRule) -> Effects:
        effects = np.full(len(self.pieces), CONTINUES, dtype=np.uint8)
        for string in rule.strings:
            effects[self._pieces_with(string[-1])] = MAY_COMPLETE
            if not string[-1].isascii():
                effects[self._pieces_with(_REPLACEMENT)] = MAY_COMPLETE
        effects[[token for token in rule.tokens if token < len(effects)]] = ENDS
        return effects

    def _pieces_with(self, character: str) -> BoolArray:
        """Which tokens (vocabulary,) contain a character."""
        if character not in self._containing:
            self._containing[character] = np.array([character in piece for piece in self.pieces], dtype=np.bool_)
        return self._containing[character]


def first_stop(text: str, strings: Iterable[str]) -> tuple[int, str] | None:
    """The position of the first stop string in a text, and the string; None if the text contains none. If several
    begin at that position, the first in the order given.
    """
    matches = [(place, string) for string in strings if (place := text.find(string)) >= 0]
    return min(matches, key=lambda match: match[0], default=None)


def _pieces(tokenizer: Any, vocabulary: int) -> list[str]:
    """The text that each token adds to a text. Some tokenizers drop the blank of a text's first token, so each token
    is decoded after another.
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = tokenizer.decode(anchor)
    pieces = []
    for token in range(vocabulary):
        text = tokenizer.decode([*anchor, token])
        pieces.append(text[len(before) :] if text.startswith(before) else tokenizer.decode([token]))
    return pieces
