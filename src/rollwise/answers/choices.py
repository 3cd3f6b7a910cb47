"""Reads the letter of a multiple choice, A to E, from an answer or from prose."""

from __future__ import annotations

import re

from rollwise.answers.extraction import last_boxed
from rollwise.answers.spelling import tidy, unwrapped

_BARE = re.compile(r"[(\[]?\s*([A-Ea-e])\s*[)\]]?\s*[.):]?")
_LABEL = re.compile(r"[(\[]?([A-E])(?:[)\]][.:]?|[.:])\s")
_END = r"(?=\s*(?:[.,;:!?)\]*\"'$]|$|\n|because\b|since\b|as\b|which\b|is\b))"
_STATED = re.compile(
    r"\b(?:answer|option|choice)\b(?:[^.\n]{0,40}?(?:\bis\b|\bbe\b|:|=))?[\s:*\"'$]*(?:option|choice)?\s*"
    rf"(?:[(\[]([A-E])[)\]]|([A-E]){_END})",
    re.IGNORECASE,
)
_LONGEST = 2000
"""A longer text is read from its end."""
_BRACKETED = re.compile(r"\(([A-E])\)")


def letter_of(text: str) -> str | None:
    """The letter, A to E, that an answer or a text chooses; None if it chooses none.

    It is the whole answer, the label before an answer, the last letter that the text states as its answer, or the only
    letter that stands in brackets.
    """
    boxed = last_boxed(text)
    plain = " ".join(unwrapped(tidy(text[-_LONGEST:] if boxed is None else boxed)).split())
    if (match := _BARE.fullmatch(plain)) or (match := _LABEL.match(plain + " ")):
        return match[1].upper()
    stated = [match[1] or match[2] for match in _STATED.finditer(plain)]
    letters = [letter for letter in stated if letter.isupper()]
    if letters:
        return str(letters[-1])
    bracketed = set(_BRACKETED.findall(plain))
    return bracketed.pop() if len(bracketed) == 1 else None
