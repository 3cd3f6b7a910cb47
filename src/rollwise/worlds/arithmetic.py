"""The exact value of an arithmetic expression, and the numbers that it uses."""

from __future__ import annotations

import ast
import operator
import re
import threading
from fractions import Fraction

from rollwise.errors import InputError

LONGEST_EXPRESSION = 500
_ARITHMETIC = re.compile(r"[\d\s()+*/-]*", re.ASCII)
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_SPELLINGS = (("−", "-"), ("×", "*"), ("÷", "/"), (r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"))
_PARSING = threading.Lock()  # in CPython 3.11 ast.parse may raise SystemError where two threads are in it at once


def evaluate(expression: str) -> tuple[Fraction, tuple[int, ...]]:
    """The exact value of an expression and the sorted numbers it uses.

    Reads + − × ÷ in their ASCII and LaTeX spellings too. Raises InputError for anything but arithmetic on whole
    numbers.
    """
    plain = expression
    for spelled, sign in _SPELLINGS:
        plain = plain.replace(spelled, sign)
    if len(plain) > LONGEST_EXPRESSION or not _ARITHMETIC.fullmatch(plain):
        raise InputError(f"not an arithmetic expression of whole numbers: {expression[:80]!r}")
    used: list[int] = []

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise InputError(f"not an arithmetic expression of whole numbers: {expression[:80]!r}")

    try:
        with _PARSING:
            body = ast.parse(plain.strip(), mode="eval").body
        return value(body), tuple(sorted(used))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise InputError(f"cannot be evaluated: {expression[:80]!r}") from error
