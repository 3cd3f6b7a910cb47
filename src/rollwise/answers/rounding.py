"""Rounded decimals: whether a decimal stands for a value with more digits."""

from __future__ import annotations

from fractions import Fraction

from rollwise.answers.evaluation import exact
from rollwise.answers.notation import Node

FEWEST_DIGITS = 5
"""A rounded decimal with fewer significant digits does not stand for an exact value."""
FLOAT_DIGITS = 16
"""A decimal with at least as many significant digits comes from floating point; its last digits may be noise."""
FLOAT_NOISE = Fraction(1, 10**14)

RoundedNumber = tuple[Fraction, Fraction, int]
"""The value of a decimal, the value of 1 in its last place, and its number of significant digits."""


def decimal_of(node: Node) -> RoundedNumber | None:
    """A node as a decimal, also with a sign or a power of ten; None if it is anything else."""
    if node[0] == "number" and node[2] is not None:
        return node[1], Fraction(10) ** -node[2], node[3]
    if node[0] == "negate":
        inner = decimal_of(node[1])
        return None if inner is None else (-inner[0], inner[1], inner[2])
    if node[0] == "multiply":
        inner, factor = decimal_of(node[1]), exact(node[2])
        if inner is not None and factor and node[2][0] == "power" and exact(node[2][1]) == 10:
            return inner[0] * factor, inner[1] * factor, inner[2]
    return None


def tolerance_of(decimal: RoundedNumber) -> Fraction:
    """How far the value that a decimal stands for may be from it."""
    value, step, digits = decimal
    return max(step / 2, abs(value) * FLOAT_NOISE) if digits >= FLOAT_DIGITS else step / 2


def rounded(a: Fraction, b: Fraction, decimals: tuple[RoundedNumber | None, RoundedNumber | None]) -> bool:
    """Whether one of two different values is the other, correctly rounded; `decimals` holds those that are decimals."""
    given = [decimal for decimal in decimals if decimal is not None]
    if not given or (len(given) == 2 and given[0][1] == given[1][1]):
        return False
    _, step, digits = max(given, key=lambda decimal: decimal[1])
    tolerance = step / 2
    if max(decimal[2] for decimal in given) >= FLOAT_DIGITS:
        tolerance = max(tolerance if digits >= FEWEST_DIGITS else Fraction(0), abs(a) * FLOAT_NOISE)
    elif digits < FEWEST_DIGITS:
        return False
    return abs(a - b) <= tolerance
