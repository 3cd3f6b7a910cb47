"""Values of expressions: exactly as fractions where they are rational, and with many digits elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zlib import crc32

from rollwise.answers.notation import Node

MOST_BITS = 20_000
"""The longest numerator or denominator that is computed exactly in this process."""
DIGITS = 40
POINTS = 4
_FIXED = {"pi", "e", "i", "infinity"}


@lru_cache(maxsize=8192)
def exact(node: Node) -> Fraction | None:
    """The value of a rational expression; None if it is not rational or too long."""
    kind = node[0]
    if kind == "number":
        return Fraction(node[1])
    if kind == "negate":
        inner = exact(node[1])
        return None if inner is None else -inner
    if kind in ("add", "multiply", "divide", "power"):
        left, right = exact(node[1]), exact(node[2])
        return None if left is None or right is None else _short(_combined(kind, left, right))
    if kind == "call":
        values = [exact(argument) for argument in node[2:]]
        rational = [value for value in values if value is not None]
        return _short(_called(node[1], rational)) if len(rational) == len(values) else None
    return None


def _short(value: Fraction | None) -> Fraction | None:
    if value is None or max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        return None
    return value


def _combined(kind: str, left: Fraction, right: Fraction) -> Fraction | None:
    if kind == "add":
        return left + right
    if kind == "multiply":
        return left * right
    if kind == "divide":
        return left / right if right else None
    bits = max(left.numerator.bit_length(), left.denominator.bit_length())
    if right.denominator == 1 and abs(right) * bits <= MOST_BITS and (left or right > 0):
        return left ** int(right)
    if right.denominator > 64 or left <= 0 or abs(right.numerator) * bits > MOST_BITS:
        return None
    root = _root(left, right.denominator)
    return None if root is None else root ** int(right.numerator)


def _root(value: Fraction, degree: int) -> Fraction | None:
    """The exact root of a fraction; None if it is irrational."""
    if value < 0:
        opposite = _root(-value, degree) if degree % 2 else None
        return None if opposite is None else -opposite
    parts = []
    for whole in (value.numerator, value.denominator):
        low, high = 0, 1 << (whole.bit_length() // degree + 1)
        if degree == 2:
            low = math.isqrt(whole)
        else:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if middle**degree <= whole else (low, middle)
        if low**degree != whole:
            return None
        parts.append(low)
    return Fraction(*parts)


def _called(function: str, values: list[Fraction]) -> Fraction | None:
    first = values[0]
    whole = all(value.denominator == 1 for value in values)
    if function == "abs":
        return abs(first)
    if function == "floor":
        return Fraction(math.floor(first))
    if function == "ceil":
        return Fraction(math.ceil(first))
    if function in ("max", "min"):
        return max(values) if function == "max" else min(values)
    if function == "factorial" and whole and 0 <= first <= 2000:
        return Fraction(math.factorial(int(first)))
    if function == "binom" and whole and values[1] >= 0 and 0 <= first <= 2000:
        return Fraction(math.comb(int(first), int(values[1])))
    if function in ("gcd", "lcm") and whole:
        return Fraction((math.gcd if function == "gcd" else math.lcm)(*map(int, values)))
    if function == "root" and values[1].denominator == 1 and 2 <= values[1] <= 64:
        return _root(first, int(values[1]))
    return None


class Numbers:
    """Values with many digits at fixed points: each variable has a value of its own there.

    Two expressions count as equal if they agree at every point to 30 digits. mpmath may hang on a tower of powers;
    therefore this runs in the worker process only.
    """

    def same(self, left: Node, right: Node) -> bool:
        """Whether two expressions have the same value wherever both are defined."""
        compared = 0
        for point in range(POINTS):
            pair = [_value(node, point, DIGITS) for node in (left, right)]
            if None in pair or (point == POINTS - 1 and any(map(_is_complex, pair)) and _has_variables(left)):
                continue
            if not self._agree(left, right, point):
                return False
            compared += 1
        return compared > 1

    def ratio(self, left: Node, right: Node) -> int:
        """1 or -1 if the first expression is a constant positive or negative multiple of the second; 0 otherwise."""
        import mpmath

        if symbols_of(left) != symbols_of(right):
            return 0
        ratios = []
        for point in range(POINTS):
            above, below = _value(left, point, DIGITS), _value(right, point, DIGITS)
            if above is None or below is None or not above or not below:
                return 0
            ratios.append(above / below)
        if any(abs(ratio - ratios[0]) > abs(ratios[0]) * mpmath.mpf(10) ** -30 for ratio in ratios):
            return 0
        return 0 if _is_complex(ratios[0]) else (1 if ratios[0] > 0 else -1)

    def near(self, node: Node, value: Fraction, tolerance: Fraction) -> bool:
        """Whether a constant lies within `tolerance` of `value`."""
        import mpmath

        found = None if _has_variables(node) else _value(node, 0, DIGITS)
        if found is None or _is_complex(found):
            return False
        with mpmath.workdps(DIGITS):
            middle, width = (mpmath.mpf(part.numerator) / part.denominator for part in (value, tolerance))
            return bool(abs(found - middle) <= width)

    def constant(self, node: Node) -> float | None:
        """The value of an expression without variables; None if it has variables or is no real number."""
        found = None if _has_variables(node) else _value(node, 0, DIGITS)
        return None if found is None or _is_complex(found) else float(found.real)

    def evaluate(self, node: Node) -> None:
        """Compute every value of an expression, so that a comparison finds it in the cache."""
        if node[0] in ("sequence", "list", "set", "matrix", "row", "relation"):
            for part in node[1:]:
                if isinstance(part, tuple):
                    self.evaluate(part)
            return
        for point in range(POINTS):
            _value(node, point, DIGITS)

    def _agree(self, left: Node, right: Node, point: int) -> bool:
        import mpmath

        a, b = _value(left, point, DIGITS), _value(right, point, DIGITS)
        with mpmath.workdps(DIGITS):
            scale = max(abs(a), abs(b))
            if abs(a - b) <= scale * mpmath.mpf(10) ** -30:
                return True
            if scale > mpmath.mpf(10) ** -20:
                return False
        return self._is_zero(left, point, a) and self._is_zero(right, point, b)

    def _is_zero(self, node: Node, point: int, value: Any) -> bool:
        """Whether a tiny value is rounding noise: it shrinks when computed with three times the digits."""
        import mpmath

        finer = _value(node, point, 3 * DIGITS)
        return value == 0 or (finer is not None and abs(finer) < abs(value) * mpmath.mpf(10) ** -DIGITS)


@lru_cache(maxsize=8192)
def symbols_of(node: Node) -> frozenset[str]:
    """The variables and names of an expression."""
    if node[0] in ("symbol", "name"):
        return frozenset() if node[1] in _FIXED and node[0] == "symbol" else frozenset([node[1]])
    return frozenset().union(*(symbols_of(part) for part in node[1:] if isinstance(part, tuple)))


def _has_variables(node: Node) -> bool:
    return bool(symbols_of(node)) or "apply" in repr(node)


@lru_cache(maxsize=8192)
def _value(node: Node, point: int, digits: int) -> Any:
    """The value of an expression at a point; None if it is undefined there."""
    import mpmath

    with mpmath.workdps(digits):
        try:
            value = _computed(node, point)
        except (ValueError, ZeroDivisionError, TypeError, OverflowError, AttributeError, NotImplementedError):
            return None
        return value if mpmath.isfinite(value) else None


def _is_complex(value: Any) -> bool:
    import mpmath

    return isinstance(value, mpmath.mpc) and abs(value.imag) > abs(value.real) * mpmath.mpf(10) ** -30


def _computed(node: Node, point: int) -> Any:
    import mpmath

    kind, parts = node[0], node[1:]
    if kind == "number":
        return mpmath.mpf(parts[0].numerator) / parts[0].denominator
    if kind == "based":
        return mpmath.mpf(int(parts[0], int(parts[1])))
    if kind in ("symbol", "name"):
        constants = {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1), "infinity": mpmath.inf}
        return +constants[parts[0]] if parts[0] in constants else _chosen(parts[0], point)
    if kind == "apply":
        return _chosen(repr(node), point)
    if kind == "call":
        return _function(parts[0], [_computed(part, point) for part in parts[1:]])
    values = [_computed(part, point) for part in parts]
    if kind == "negate":
        return -values[0]
    left, right = values
    if kind == "add":
        return left + right
    if kind == "multiply":
        return left * right
    if kind == "divide":
        return left / right
    if kind == "power":
        return left**right
    raise TypeError(f"a {kind} has no value")


def _chosen(name: str, point: int) -> Any:
    """The value of a variable at a point: between 0 and 1, then between 1 and 3, at the last point below 0."""
    import mpmath

    share = mpmath.mpf(crc32(f"{name} {point}".encode()) + 1) / (2**32 + 7)
    return [share, 1 + 2 * share, 2 + share / 3, -1 - share][point]


def _function(name: str, values: list[Any]) -> Any:
    import mpmath

    if name == "root":
        inner, degree = values
        odd = degree == int(degree.real) and int(degree.real) % 2
        if odd and not _is_complex(inner) and mpmath.re(inner) < 0:
            return -mpmath.root(-inner, int(degree.real))
        return inner ** (1 / degree)
    named = {
        "arcsin": "asin",
        "arccos": "acos",
        "arctan": "atan",
        "abs": "fabs",
        "log": "log10",
        "ln": "log",
        "binom": "binomial",
    }
    if name in ("max", "min"):
        return (max if name == "max" else min)(values)
    return getattr(mpmath, named.get(name, name))(*values)
