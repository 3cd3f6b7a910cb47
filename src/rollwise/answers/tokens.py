"""Splits a tidied answer into tokens: numbers, letters, LaTeX commands, signs and names."""

from __future__ import annotations

import re

from rollwise.answers.spelling import SHORT_WORDS
from rollwise.answers.wording import words_of

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\w.]))?)"
    r"|\\(?P<text>text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|mathbb|mathcal)\s*\{(?P<inside>[^{}]*)\}"
    r"|(?P<environment>\\(?:begin|end)\s*\{[a-z]+\*?\}(?:\{[clr|]*\})?)|(?P<command>\\[a-zA-Z]+)|(?P<escaped>\\[{}|\\])|(?P<letters>[a-zA-Z]+)|(?P<sign>[-+*/^_!(){}\[\],;|<>=&':]))"
)
FUNCTIONS = words_of(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt abs floor ceil "
    "factorial gcd lcm max min"
)
SAME_FUNCTIONS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}
CONSTANTS = {"pi": "pi", "infty": "infinity", "infinity": "infinity", "inf": "infinity", "oo": "infinity"}
LETTERS = words_of(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
GLUED = sorted(["pi", *FUNCTIONS, *LETTERS], key=len, reverse=True)


class UnreadableError(ValueError):
    """The text is no answer that this reader knows to the end."""


def tokens_of(text: str) -> list[str]:
    """The tokens of a tidied text. Raises UnreadableError at words and at unknown characters."""
    tokens: list[str] = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise UnreadableError(f"cannot read {text[place : place + 20]!r}")
        place = match.end()
        kind = match.lastgroup
        if kind == "inside":
            tokens.extend(_text_tokens(match.group("inside").strip(), match.group("text")))
        elif kind == "letters":
            tokens.extend(_letter_tokens(match.group("letters"), text))
        else:
            assert kind is not None
            tokens.append(match.group(kind))
    return tokens


def _text_tokens(inside: str, command: str) -> list[str]:
    r"""The tokens of \text{…}: a letter, a number or a name counts as it stands; words are unreadable."""
    if inside == "degrees":
        return [r"\degree"]
    if command in ("mathbb", "mathcal"):
        return [f"name:{command} {inside}"]
    if re.search(r"[a-zA-Z]{2,}", re.sub(r"\\[a-zA-Z]+", "", inside)) and not re.fullmatch(r"[A-Z]{2,4}", inside):
        raise UnreadableError(f"{inside!r} is text")
    return tokens_of(inside)


def _letter_tokens(letters: str, text: str) -> list[str]:
    """Letters as a constant, a function, the name of a thing, or a product of variables."""
    plain = SAME_FUNCTIONS.get(letters, letters)
    lowered = plain.lower()
    if plain in FUNCTIONS or lowered in CONSTANTS:
        return ["\\" + (plain if plain in FUNCTIONS else lowered)]
    if plain in LETTERS:
        return ["\\" + plain]
    if letters.isupper() and 2 <= len(letters) <= 4 and text.strip() != letters:
        return [f"name:{letters}"]
    alone = text.strip() == letters
    for constant in ("pi", "sqrt"):
        if not alone and letters.endswith(constant) and len(letters) <= len(constant) + 2:
            return [*letters.removesuffix(constant), "\\" + constant]
    if (
        len(letters) > (2 if alone else 3)
        or letters.lower() in SHORT_WORDS
        or (alone and len(letters) > 1 and letters.isupper())
    ):
        raise UnreadableError(f"{letters!r} is a word")
    return list(letters)
