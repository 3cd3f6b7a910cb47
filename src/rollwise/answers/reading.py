"""Reads an answer as an expression, a tuple, a set, an interval, an equation … to its last character, or not at all.

An expression is a nested tuple `Node`, whose first entry names its kind:
("number", value, places, digits) with the decimal places and significant digits of a decimal, None for other numbers;
("symbol", name); ("name", text) for points and segments; ("based", digits, base); ("add" | "multiply" | "divide" |
"power", left, right); ("negate", inner); ("call", function, *arguments); ("sequence", brackets, *items);
("list", *items) without an order; ("matrix", *rows); ("relation", signs, *sides).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rollwise.answers.notation import RELATIONS, Node, Notation, scalar
from rollwise.answers.relations import both, interval
from rollwise.answers.tokens import UnreadableError, tokens_of

LONGEST = 2000
MOST_TOKENS = 400
DEEPEST = 40
"""How deeply brackets may be nested, so that no answer exhausts the stack."""
_DEGREE: Node = ("divide", ("symbol", "pi"), ("number", Fraction(180), None, None))
_CLOSING = {
    **{"(": ")", "[": "]", r"\{": r"\}", "{": "}", "|": "|"},
    **{r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", r"\langle": r"\rangle"},
}


def read(tidied: str) -> Node:
    """The expression that a tidied text spells. Raises UnreadableError if any part of it is left over."""
    if len(tidied) > LONGEST:
        raise UnreadableError("the answer is too long")
    tokens = tokens_of(tidied)
    if len(tokens) > MOST_TOKENS:
        raise UnreadableError("the answer is too long")
    if r"\pm" not in tokens and r"\mp" not in tokens:
        return _whole(tokens)
    upper = _whole([{r"\pm": "+", r"\mp": "-"}.get(token, token) for token in tokens])
    lower = _whole([{r"\pm": "-", r"\mp": "+"}.get(token, token) for token in tokens])
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


def _whole(tokens: list[str]) -> Node:
    reader = _Reader(tokens)
    try:
        node = reader.items()
    except RecursionError:
        raise UnreadableError("the answer is nested too deeply") from None
    if reader.next is not None:
        raise UnreadableError(f"the answer goes on at {reader.next!r}")
    return node[0] if len(node) == 1 else listed(node)


class _Reader(Notation):
    """Reads tokens from left to right, with one method per level of the grammar."""

    def items(self) -> list[Node]:
        r"""Expressions with commas, `and` (\both) or `or` (\either) between them; two bounds with `and` are one."""
        found, joints = [self.union()], set()
        while self.next in (",", ";", r"\both", r"\either"):
            joints.add(self.take())
            found.append(self.union())
        if {r"\both", r"\either"} <= joints:
            raise UnreadableError("and, and or")
        self.joints = joints
        return both(found) if r"\both" in joints else found

    def union(self) -> Node:
        parts = [self.relation()]
        while self.next == r"\cup":
            self.take()
            parts.append(self.relation())
        if len(parts) > 1 and any(part[0] not in ("sequence", "set", "relation") for part in parts):
            raise UnreadableError("a union of numbers")
        return parts[0] if len(parts) == 1 else ("list", *parts)

    def relation(self) -> Node:
        sides, signs = [self.ratio()], []
        while self.next in RELATIONS:
            signs.append(RELATIONS[self.take()])
            sides.append(self.union() if signs[-1] == "in" else self.ratio())
        return sides[0] if not signs else ("relation", tuple(signs), *sides)

    def ratio(self) -> Node:
        """A sum, a ratio such as 3:4, or a time: 05 in 3:05 is a name, so that 3:05 is not 3:5."""
        parts = [self.sum()]
        while self.next == ":":
            self.take()
            minutes = (self.next or "").isdigit() and len(self.next or "") > 1 and (self.next or "")[0] == "0"
            parts.append(("name", self.take()) if minutes else scalar(self.sum()))
        return parts[0] if len(parts) == 1 else ("sequence", ":", scalar(parts[0]), *parts[1:])

    def sum(self) -> Node:
        value = self.signed(self.product)
        while self.next in ("+", "-"):
            sign = self.take()
            right = scalar(self.product())
            value = ("add", scalar(value), right if sign == "+" else ("negate", right))
        return value

    def signed(self, inner: Callable[[], Node]) -> Node:
        if self.next == "-":
            self.take()
            return ("negate", scalar(self.signed(inner)))
        if self.next == "+":
            self.take()
            return scalar(self.signed(inner))
        return inner()

    def product(self) -> Node:
        value = self.power()
        while True:
            if self.next in ("*", "/"):
                kind = "multiply" if self.take() == "*" else "divide"
                value = (kind, scalar(value), scalar(self.signed(self.power)))
            elif self.begins_factor():
                value = ("multiply", scalar(value), scalar(self.power()))
            else:
                return value

    def begins_factor(self) -> bool:
        token = self.next
        if (
            token is None
            or token in (r"\cup", r"\cap", r"\rfloor", r"\rceil", r"\rangle", r"\both", r"\either")
            or token in RELATIONS
        ):
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
            value = ("call", "factorial", scalar(value))
        if self.next == "^":
            self.take()
            exponent = scalar(self.argument(signed=True))
            if self.next == "^":
                raise UnreadableError("two exponents")
            value = ("power", scalar(value), exponent)
        if self.next == "!":
            self.take()
            value = ("call", "factorial", value)
        if self.next == r"\degree":
            self.take()
            if not self.angles:
                raise UnreadableError("degrees inside an expression")
            value = ("multiply", value, _DEGREE)
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
        found = self.items()
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
        if token == r"\langle":
            return ("sequence", "<>", *self.inside(token))
        if token in ("{", r"\{") and self.begins_condition():
            return self.condition(token)
        if token in ("{", r"\{"):
            found = self.inside(token)
            return found[0] if token == "{" and len(found) == 1 else ("set", *dict.fromkeys(found))
        if token == "|":
            self.bars += 1
            inner = scalar(self.sum())
            self.take("|")
            self.bars -= 1
            return ("call", "abs", inner)
        if token.startswith("\\"):
            return self.command(token[1:])
        raise UnreadableError(f"cannot read {token!r} here")

    def begins_condition(self) -> bool:
        r"""Whether a set by a condition follows an opening brace, such as x | x > 3 or x \\in \\mathbb{R} : x > 3."""
        name, sign, _, then = [*self.tokens[self.place : self.place + 4], "", "", "", ""][:4]
        return name.isalpha() and (sign in ("|", ":") or (sign == r"\in" and then in ("|", ":")))

    def condition(self, opening: str) -> Node:
        """The interval, or the list of intervals, of a set that inequalities of one real variable describe."""
        name = self.take()
        if self.next == r"\in" and self.take() and self.take() != "name:mathbb R":
            raise UnreadableError("a set of other than real numbers")
        self.take()
        found = self.inside(opening)
        if "," in self.joints and r"\either" not in self.joints:
            found = both(found)
        spans = [interval(relation) for relation in found]
        if any(span[:3] != ("relation", ("in",), ("symbol", name)) for span in spans):
            raise UnreadableError("a condition that is no interval")
        if len(spans) > 1 and r"\either" not in self.joints:
            raise UnreadableError("more than one condition")
        return listed([span[3] for span in spans])

    def brackets(self, opening: str) -> Node:
        found = self.inside(opening)
        closing = self.closed_by
        if len(found) == 1 and _CLOSING[opening] == closing:
            return found[0] if found[0][0] != "list" else ("sequence", opening + closing, found[0])
        if len(found) != 2 and _CLOSING[opening] != closing:
            raise UnreadableError("brackets that do not match")
        return ("sequence", opening + closing, *found)
