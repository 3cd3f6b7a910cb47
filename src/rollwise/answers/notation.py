"""Reads the smallest parts of an expression: numbers, symbols, LaTeX commands, functions, roots and matrices."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rollwise.answers.tokens import CONSTANTS, FUNCTIONS, GLUED, LETTERS, SAME_FUNCTIONS, UnreadableError

Node = tuple[Any, ...]
MOST_ZEROS = 400
"""The largest power of ten that a number like 1e-34 may have."""
_ENVIRONMENT = re.compile(r"^\\?(?:begin|end)\s*\{|\}.*$")
RELATIONS = {"=": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in"}
_UNKNOWN_FUNCTIONS = "fghPQ"
_OF_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")
_MINUS_ONE = ("negate", ("number", Fraction(1), None, None))
_NO_SCALAR = {"sequence", "list", "matrix", "relation", "set", "union"}


def scalar(node: Node) -> Node:
    """The node itself. Raises UnreadableError if it is a tuple, a set, a matrix or a relation."""
    if node[0] in _NO_SCALAR:
        raise UnreadableError(f"a {node[0]} stands where a number should")
    return node


class Notation(ABC):
    """A place in a list of tokens, with one method per kind of small part. The levels above are abstract."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.depth = tokens, 0, 0
        self.bars = 0
        self.angles = 0
        """How many trigonometric functions are open: only their arguments may be in degrees."""

    @abstractmethod
    def sum(self) -> Node:
        """The next sum; also a single expression of any other kind."""

    @abstractmethod
    def signed(self, inner: Callable[[], Node]) -> Node:
        """What `inner` reads, after its signs."""

    @abstractmethod
    def power(self) -> Node:
        """The next factor with its exponent and factorials."""

    @abstractmethod
    def atom(self) -> Node:
        """The next number, symbol, command or group."""

    @abstractmethod
    def argument(self, signed: bool = False) -> Node:
        """An argument of a LaTeX command: a group in braces, one digit, one letter or one command."""

    @abstractmethod
    def bracketed(self) -> Node:
        """One expression in brackets."""

    @abstractmethod
    def inside(self, opening: str) -> list[Node]:
        """The expressions up to the bracket that closes `opening`."""

    @abstractmethod
    def begins_factor(self) -> bool:
        """Whether the next token begins a factor of a product without a sign."""

    @property
    def next(self) -> str | None:
        """The token at this place; None at the end."""
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, expected: str | None = None) -> str:
        """The token at this place; goes on to the next. Raises UnreadableError if it is not `expected`."""
        token = self.next
        if token is None or (expected is not None and token != expected):
            raise UnreadableError(f"expected {expected or 'more'}, not {token}")
        self.place += 1
        return token

    def number(self, token: str) -> Node:
        """A number, also in another base: 101_2."""
        mantissa, _, exponent = token.lower().partition("e")
        if (exponent and abs(int(exponent)) > MOST_ZEROS) or token.endswith("."):
            raise UnreadableError(f"cannot read {token!r}")
        value = Fraction(mantissa) * Fraction(10) ** int(exponent or 0)
        if self.next == "_":
            self.take()
            base = self.subscript()
            if not base.isdigit() or "." in token:
                raise UnreadableError("a number with an unknown subscript")
            return ("based", token.lstrip("0") or "0", base)
        if "." not in mantissa:
            return ("number", value, None, None)
        places = len(mantissa.partition(".")[2]) - int(exponent or 0)
        return ("number", value, places, len(mantissa.replace(".", "").lstrip("0")))

    def subscript(self) -> str:
        """A subscript as its bare text."""
        if self.next != "{":
            token = self.take()
            if token in "(){}^_" or token in RELATIONS:
                raise UnreadableError("a subscript is missing")
            return token.removeprefix("name:")
        self.take()
        parts = []
        while self.next != "}":
            parts.append(self.take().removeprefix("name:"))
            if parts[-1] in "{^_":
                raise UnreadableError("a subscript that is more than a name")
        self.take()
        if not parts:
            raise UnreadableError("an empty subscript")
        inside = "".join(parts)
        return inside[1:-1] if inside.startswith("(") and inside.endswith(")") else inside

    def symbol(self, name: str) -> Node:
        """A variable with its subscript and primes, or an unknown function of one argument."""
        if self.next == "_":
            self.take()
            name = f"{name}_{self.subscript()}"
        while self.next == "'":
            name += self.take()
        one_argument = self.tokens[self.place + 2 : self.place + 3] == [")"]
        if self.next == "(" and name[0] in _UNKNOWN_FUNCTIONS and one_argument:
            self.take()
            return ("apply", name, *self.inside("("))
        return ("symbol", name)

    def command(self, name: str) -> Node:
        """What a LaTeX command and its arguments spell."""
        name = SAME_FUNCTIONS.get(name, name)
        if name in FUNCTIONS:
            return self.function(name)
        if name in CONSTANTS:
            return ("symbol", CONSTANTS[name])
        if name in LETTERS:
            return self.symbol("\\" + name)
        if name == "emptyset":
            return ("set",)
        if name in ("frac", "binom"):
            top, bottom = scalar(self.argument()), scalar(self.argument())
            return ("divide", top, bottom) if name == "frac" else ("call", "binom", top, bottom)
        if name in ("lfloor", "lceil"):
            inner = self.inside("\\" + name)
            if len(inner) != 1:
                raise UnreadableError("more than one expression in a group")
            return ("call", "floor" if name == "lfloor" else "ceil", scalar(inner[0]))
        if name in ("angle", "triangle"):
            return ("name", f"{name} {self.name_of_points()}")
        if name.startswith("begin"):
            return self.matrix(name)
        glued = next((known for known in GLUED if name.startswith(known) and len(name) <= len(known) + 2), None)
        if glued is not None:  # \cotx, where the space was lost
            self.tokens[self.place : self.place] = ["\\" + glued, *name.removeprefix(glued)]
            return self.atom()
        raise UnreadableError(f"cannot read \\{name}")

    def name_of_points(self) -> str:
        """The letters of points, as in an angle ABC."""
        parts = []
        while self.next is not None and (self.next.isalpha() or self.next.startswith("name:")):
            parts.append(self.take().removeprefix("name:"))
        if not parts:
            raise UnreadableError("a name is missing")
        return "".join(parts)

    def function(self, name: str) -> Node:
        """A known function with its arguments."""
        if name == "sqrt":
            return self.root()
        self.angles += name in _OF_ANGLES
        value = self.called(name)
        self.angles -= name in _OF_ANGLES
        return value

    def called(self, name: str) -> Node:
        """A function with its base, exponent and arguments."""
        base = None
        if self.next == "_" and name == "log":
            self.take()
            base = scalar(self.argument())
        exponent = None
        if self.next == "^":
            self.take()
            exponent = scalar(self.argument(signed=True))
            if name in _OF_ANGLES and exponent == _MINUS_ONE:
                name, exponent = f"arc{name}", None
            elif name.startswith("arc") or exponent[0] == "negate":
                raise UnreadableError("an inverse or a power")
        if self.next == "(":
            self.take()
            arguments = [scalar(item) for item in self.inside("(")]
        elif name in ("max", "min", "gcd", "lcm", "floor", "ceil", "abs", "factorial"):
            raise UnreadableError(f"{name} without arguments")
        else:
            arguments = [scalar(self.signed(self.plain_factors))]
        if len(arguments) > 1 and name not in ("max", "min", "gcd", "lcm"):
            raise UnreadableError(f"{name} of several arguments")
        value: Node = ("call", name, *arguments)
        if base is not None:
            value = ("divide", ("call", "ln", *arguments), ("call", "ln", base))
        return value if exponent is None else ("power", value, exponent)

    def plain_factors(self) -> Node:
        """The argument of a function without brackets: factors up to a sign, a bracket or another function."""
        value = scalar(self.power())
        while self.begins_factor() and self.next not in ("(", "[") and (self.next or "")[1:] not in FUNCTIONS:
            value = ("multiply", value, scalar(self.power()))
        return value

    def root(self) -> Node:
        """A root with its degree, 2 if none is given."""
        degree: Node = ("number", Fraction(2), None, None)
        if self.next == "[":
            degree = scalar(self.bracketed())
        if self.next is not None and self.next[0].isdigit() and self.tokens[self.place - 1] != "]":
            inner = self.number(self.take())
        elif self.next == "(":
            inner = self.bracketed()
        else:
            inner = self.argument()
        return ("call", "root", scalar(inner), degree)

    def matrix(self, opening: str) -> Node:
        """The rows of a matrix environment."""
        kind = _ENVIRONMENT.sub("", opening)
        if kind not in ("pmatrix", "bmatrix", "matrix", "smallmatrix", "array"):
            raise UnreadableError(f"cannot read the environment {kind}")
        rows: list[Node] = [("row", self.sum())]
        while self.next in ("&", r"\\"):
            if self.take() == "&":
                rows[-1] = (*rows[-1], self.sum())
            elif self.next is not None and not self.next.startswith(r"\end"):
                rows.append(("row", self.sum()))
        if _ENVIRONMENT.sub("", self.take()) != kind:
            raise UnreadableError("an environment is not closed")
        return ("matrix", *rows)
