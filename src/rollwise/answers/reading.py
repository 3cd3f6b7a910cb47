"""Reads an answer as an expression, a tuple, a set, an interval, an equation … to its last character, or not at all.

An expression is a nested tuple `Node`, whose first entry names its kind:
("number", value, places, digits) with the decimal places and significant digits of a decimal, None for other numbers;
("symbol", name); ("name", text) for points and segments; ("based", digits, base); ("add" | "multiply" | "divide" |
"power", left, right); ("negate", inner); ("call", function, *arguments); ("sequence", brackets, *items);
("list", *items) without an order; ("matrix", *rows); ("relation", signs, *sides).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rollwise.answers.spelling import SHORT_WORDS, words_of

Node = tuple[Any, ...]
LONGEST = 2000
MOST_TOKENS = 400
MOST_ZEROS = 400
"""The largest power of ten that a number like 1e-34 may have."""
DEEPEST = 40
"""How deeply brackets may be nested, so that no answer exhausts the stack."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\w.]))?)"
    r"|\\(?P<text>text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|mathbb|mathcal)\s*\{(?P<inside>[^{}]*)\}"
    r"|(?P<environment>\\(?:begin|end)\s*\{[a-z]+\*?\}(?:\{[clr|]*\})?)|(?P<command>\\[a-zA-Z]+)|(?P<escaped>\\[{}|\\])|(?P<letters>[a-zA-Z]+)|(?P<sign>[-+*/^_!(){}\[\],;|<>=&':]))"
)
_ENVIRONMENT = re.compile(r"^\\?(?:begin|end)\s*\{|\}.*$")
FUNCTIONS = words_of(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt abs floor ceil "
    "factorial gcd lcm max min"
)
_SAME_FUNCTIONS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}
_CONSTANTS = {"pi": "pi", "infty": "infinity", "infinity": "infinity", "inf": "infinity", "oo": "infinity"}
_LETTERS = words_of(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
_RELATIONS = {"=": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in"}
_CLOSING = {"(": ")", "[": "]", r"\{": r"\}", "{": "}", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
GLUED = sorted(["pi", *FUNCTIONS, *_LETTERS], key=len, reverse=True)
_UNKNOWN_FUNCTIONS = "fghPQ"
_NO_SCALAR = {"sequence", "list", "matrix", "relation", "set", "union"}


class UnreadableError(ValueError):
    """The text is no answer that this reader knows to the end."""


def read(tidied: str) -> Node:
    """The expression that a tidied text spells. Raises UnreadableError if any part of it is left over."""
    if len(tidied) > LONGEST:
        raise UnreadableError("the answer is too long")
    tokens = _tokens(tidied)
    if len(tokens) > MOST_TOKENS:
        raise UnreadableError("the answer is too long")
    if r"\pm" not in tokens and r"\mp" not in tokens:
        return _whole(tokens)
    upper = _whole([{r"\pm": "+", r"\mp": "-"}.get(token, token) for token in tokens])
    lower = _whole([{r"\pm": "-", r"\mp": "+"}.get(token, token) for token in tokens])
    if upper[0] == "relation" and lower[0] == "relation" and upper[:3] == lower[:3] and len(upper) == 4:
        return ("relation", upper[1], upper[2], ("list", upper[3], lower[3]))
    if upper[0] == lower[0] == "set":
        return ("set", *dict.fromkeys([*upper[1:], *lower[1:]]))
    return listed([*items_of(upper), *items_of(lower)])


def items_of(node: Node) -> tuple[Node, ...]:
    """The items of a list without order; any other expression is its own single item."""
    return node[1:] if node[0] == "list" else (node,)


def listed(items: list[Node]) -> Node:
    """A list without order and repetition; a single item is itself."""
    once = list(dict.fromkeys(items))
    return once[0] if len(once) == 1 else ("list", *once)


def _tokens(text: str) -> list[str]:
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
    if command in ("mathbb", "mathcal"):
        return [f"name:{command} {inside}"]
    if re.search(r"[a-zA-Z]{2,}", re.sub(r"\\[a-zA-Z]+", "", inside)) and not re.fullmatch(r"[A-Z]{2,4}", inside):
        raise UnreadableError(f"{inside!r} is text")
    return _tokens(inside)


def _letter_tokens(letters: str, text: str) -> list[str]:
    """Letters as a constant, a function, the name of a thing, or a product of variables."""
    plain = _SAME_FUNCTIONS.get(letters, letters)
    lowered = plain.lower()
    if plain in FUNCTIONS or lowered in _CONSTANTS:
        return ["\\" + (plain if plain in FUNCTIONS else lowered)]
    if plain in _LETTERS:
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


def _whole(tokens: list[str]) -> Node:
    reader = _Reader(tokens)
    try:
        node = reader.items(None)
    except RecursionError:
        raise UnreadableError("the answer is nested too deeply") from None
    if reader.next is not None:
        raise UnreadableError(f"the answer goes on at {reader.next!r}")
    return node[0] if len(node) == 1 else listed(node)


def _scalar(node: Node) -> Node:
    if node[0] in _NO_SCALAR:
        raise UnreadableError(f"a {node[0]} stands where a number should")
    return node


class _Reader:
    """Reads tokens from left to right, with one method per level of the grammar."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.depth = tokens, 0, 0
        self.bars = 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, expected: str | None = None) -> str:
        token = self.next
        if token is None or (expected is not None and token != expected):
            raise UnreadableError(f"expected {expected or 'more'}, not {token}")
        self.place += 1
        return token

    def items(self, closing: str | None) -> list[Node]:
        found = [self.union()]
        while self.next in (",", ";") and self.next != closing:
            self.take()
            found.append(self.union())
        return found

    def union(self) -> Node:
        parts = [self.relation()]
        while self.next == r"\cup":
            self.take()
            parts.append(self.relation())
        if len(parts) > 1 and any(part[0] not in ("sequence", "set", "relation") for part in parts):
            raise UnreadableError("a union of numbers")
        return parts[0] if len(parts) == 1 else ("list", *parts)

    def relation(self) -> Node:
        sides, signs = [self.sum()], []
        while self.next in _RELATIONS:
            signs.append(_RELATIONS[self.take()])
            sides.append(self.union() if signs[-1] == "in" else self.sum())
        return sides[0] if not signs else ("relation", tuple(signs), *sides)

    def sum(self) -> Node:
        value = self.signed(self.product)
        while self.next in ("+", "-"):
            sign = self.take()
            right = _scalar(self.product())
            value = ("add", _scalar(value), right if sign == "+" else ("negate", right))
        return value

    def signed(self, inner: Callable[[], Node]) -> Node:
        if self.next == "-":
            self.take()
            return ("negate", _scalar(self.signed(inner)))
        if self.next == "+":
            self.take()
            return _scalar(self.signed(inner))
        return inner()

    def product(self) -> Node:
        value = self.power()
        while True:
            if self.next in ("*", "/"):
                kind = "multiply" if self.take() == "*" else "divide"
                value = (kind, _scalar(value), _scalar(self.signed(self.power)))
            elif self._begins_factor():
                value = ("multiply", _scalar(value), _scalar(self.power()))
            else:
                return value

    def _begins_factor(self) -> bool:
        token = self.next
        if token is None or token in (r"\cup", r"\cap", r"\rfloor", r"\rceil") or token in _RELATIONS:
            return False
        if token == "|":
            return self.bars == 0
        if token in (r"\}", r"\\") or token.startswith(r"\end"):
            return False
        return token in ("(", "[", "{") or token.startswith(("\\", "name:")) or token.isalpha()

    def power(self) -> Node:
        value = self.atom()
        while self.next == "!":
            self.take()
            value = ("call", "factorial", _scalar(value))
        if self.next == "^":
            self.take()
            exponent = _scalar(self.argument(signed=True))
            if self.next == "^":
                raise UnreadableError("two exponents")
            value = ("power", _scalar(value), exponent)
        if self.next == "!":
            self.take()
            value = ("call", "factorial", value)
        return value

    def argument(self, signed: bool = False) -> Node:
        """An argument of a LaTeX command: a group in braces, one digit, one letter or one command."""
        token = self.next
        if token == "{":
            return self.bracketed()
        if signed and token is not None and token in "+-":
            return self.signed(self.power)
        if token is not None and token[0].isdigit() and not signed and len(token) > 1:
            self.tokens[self.place : self.place + 1] = [token[0], token[1:]]
        return self.atom()

    def bracketed(self) -> Node:
        """One expression in brackets."""
        opening = self.take()
        node = self.inside(opening)
        if len(node) != 1:
            raise UnreadableError("more than one expression in a group")
        return node[0]

    def inside(self, opening: str) -> list[Node]:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UnreadableError("the answer is nested too deeply")
        closings = {_CLOSING[opening]} | ({")", "]"} if opening in "([" else set())
        bars, self.bars = self.bars, 0
        found = self.items(None)
        if self.next not in closings:
            raise UnreadableError(f"{opening} is not closed")
        self.closed_by = self.take()
        self.bars = bars
        self.depth -= 1
        return found

    def atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return self.number(token)
        if token.startswith("name:"):
            return ("name", token.removeprefix("name:"))
        if token.isalpha():
            return self.symbol(token)
        if token in ("(", "["):
            return self.brackets(token)
        if token == "{":
            self.place -= 1
            return self.bracketed()
        if token == r"\{":
            return ("set", *dict.fromkeys(self.inside(token)))
        if token == "|":
            self.bars += 1
            inner = _scalar(self.sum())
            self.take("|")
            self.bars -= 1
            return ("call", "abs", inner)
        if token.startswith("\\"):
            return self.command(token[1:])
        raise UnreadableError(f"cannot read {token!r} here")

    def number(self, token: str) -> Node:
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
            if token in "(){}^_" or token in _RELATIONS:
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

    def brackets(self, opening: str) -> Node:
        found = self.inside(opening)
        closing = self.closed_by
        if len(found) == 1 and _CLOSING[opening] == closing:
            return found[0] if found[0][0] != "list" else ("sequence", opening + closing, found[0])
        if len(found) != 2 and _CLOSING[opening] != closing:
            raise UnreadableError("brackets that do not match")
        return ("sequence", opening + closing, *found)

    def command(self, name: str) -> Node:
        if name in FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS:
            return ("symbol", _CONSTANTS[name])
        if name in _LETTERS:
            return self.symbol("\\" + name)
        if name == "emptyset":
            return ("set",)
        if name in ("frac", "binom"):
            top, bottom = _scalar(self.argument()), _scalar(self.argument())
            return ("divide", top, bottom) if name == "frac" else ("call", "binom", top, bottom)
        if name in ("lfloor", "lceil"):
            inner = self.inside("\\" + name)
            if len(inner) != 1:
                raise UnreadableError("more than one expression in a group")
            return ("call", "floor" if name == "lfloor" else "ceil", _scalar(inner[0]))
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
        parts = []
        while self.next is not None and (self.next.isalpha() or self.next.startswith("name:")):
            parts.append(self.take().removeprefix("name:"))
        if not parts:
            raise UnreadableError("a name is missing")
        return "".join(parts)

    def function(self, name: str) -> Node:
        if name == "sqrt":
            return self.root()
        base = None
        if self.next == "_" and name == "log":
            self.take()
            base = _scalar(self.argument())
        exponent = None
        if self.next == "^":
            self.take()
            exponent = _scalar(self.argument(signed=True))
            if name.startswith("arc") or exponent[0] == "negate":
                raise UnreadableError("an inverse or a power")
        if self.next == "(":
            self.take()
            arguments = [_scalar(item) for item in self.inside("(")]
        elif name in ("max", "min", "gcd", "lcm", "floor", "ceil", "abs", "factorial"):
            raise UnreadableError(f"{name} without arguments")
        else:
            arguments = [_scalar(self.signed(self.plain_factors))]
        if len(arguments) > 1 and name not in ("max", "min", "gcd", "lcm"):
            raise UnreadableError(f"{name} of several arguments")
        value: Node = ("call", name, *arguments)
        if base is not None:
            value = ("divide", ("call", "ln", *arguments), ("call", "ln", base))
        return value if exponent is None else ("power", value, exponent)

    def plain_factors(self) -> Node:
        """The argument of a function without brackets: factors up to a sign, a bracket or another function."""
        value = _scalar(self.power())
        while self._begins_factor() and self.next not in ("(", "[") and (self.next or "")[1:] not in FUNCTIONS:
            value = ("multiply", value, _scalar(self.power()))
        return value

    def root(self) -> Node:
        degree: Node = ("number", Fraction(2), None, None)
        if self.next == "[":
            degree = _scalar(self.bracketed())
        if self.next is not None and self.next[0].isdigit() and self.tokens[self.place - 1] != "]":
            inner = self.number(self.take())
        elif self.next == "(":
            inner = self.bracketed()
        else:
            inner = self.argument()
        return ("call", "root", _scalar(inner), degree)

    def matrix(self, opening: str) -> Node:
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
