"""Evaluates arithmetic on whole numbers exactly."""

from __future__ import annotations

import re
from fractions import Fraction

from rollwise.errors import InputError

LONGEST_EXPRESSION = 500
DEEPEST = 100
"""How deeply brackets may be nested."""

_ARITHMETIC = re.compile(r"[\d\s()+*/-]*", re.ASCII)
_TOKEN = re.compile(r"\d+|[()+*/-]", re.ASCII)
_SPELLINGS = (("−", "-"), ("×", "*"), ("÷", "/"), (r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"))


def evaluate(expression: str) -> tuple[Fraction, tuple[int, ...]]:
    """The exact value of an expression, and the sorted numbers that it uses.

    Reads + − × ÷, also in their ASCII and LaTeX spellings. Raises InputError if the text is anything but arithmetic on
    whole numbers, or longer than LONGEST_EXPRESSION characters.
    """
    plain = expression
    for spelled, sign in _SPELLINGS:
        plain = plain.replace(spelled, sign)
    if len(plain) > LONGEST_EXPRESSION or not _ARITHMETIC.fullmatch(plain):
        raise InputError(
            f"this is not arithmetic on whole numbers: {expression[:80]!r}; use digits, + − × ÷ and brackets"
        )
    reader = _Reader(_TOKEN.findall(plain))
    try:
        value = reader.sum()
        reader.finish()
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"this expression cannot be evaluated: {expression[:80]!r}; check its operators, brackets and divisions"
        ) from error
    return value, tuple(sorted(reader.used))


class _Reader:
    """Reads tokens from left to right, with one method per level of the grammar. Raises ValueError if they do not fit.

    It does not use `ast.parse`, which in CPython 3.11 may raise SystemError while another thread compiles.
    """

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.depth = tokens, 0, 0
        self.used: list[int] = []

    @property
    def next(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self) -> str:
        token = self.next
        if token is None:
            raise ValueError("the expression ends too early")
        self.place += 1
        return token

    def sum(self) -> Fraction:
        value = self.product()
        while self.next in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.operand()
        while self.next in ("*", "/"):
            value = value * self.operand() if self.take() == "*" else value / self.operand()
        return value

    def operand(self) -> Fraction:
        token = self.take()
        if token.isdigit():
            self.used.append(int(token))
            return Fraction(self.used[-1])
        if token != "(" or self.depth == DEEPEST:
            raise ValueError(f"expected a number or an opening bracket, not {token}")
        self.depth += 1
        value = self.sum()
        if self.take() != ")":
            raise ValueError("a bracket is not closed")
        self.depth -= 1
        return value

    def finish(self) -> None:
        if self.next is not None:
            raise ValueError(f"the expression goes on after its end, at {self.next}")
