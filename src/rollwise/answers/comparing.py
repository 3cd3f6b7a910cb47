"""Compares two answers as mathematics, as text, as choices and by their units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache

from rollwise.answers.evaluation import Numbers, exact
from rollwise.answers.notation import Node
from rollwise.answers.reading import LONGEST, items_of, read
from rollwise.answers.relations import FLIPPED, coordinates, interval, stated
from rollwise.answers.rounding import FEWEST_DIGITS, decimal_of, rounded, tolerance_of
from rollwise.answers.showing import shown_node
from rollwise.answers.spelling import text_key, tidy, unwrapped
from rollwise.answers.tokens import UnreadableError
from rollwise.answers.units import split_unit

_BARE_CHOICE = re.compile(
    r"(?P<said>(?:the\s+)?(?:option|choice|answer)(?:\s+is)?\s*:?\s*)?(?P<open>[(\[]?)\s*(?P<letter>[A-Z])\s*"
    r"(?P<close>[)\]]?\s*[.):]?)",
    re.I,
)
_SMALL_WITH_STOP = re.compile(r"[a-j]\.")
"""Checked before the full stop goes as that of a sentence."""
_LABELLED = re.compile(
    r"(?:\(\s*([A-Z]|[a-j])\s*\)\s*[.:]?\s*(?!\()|([A-Z]|[a-j])\s*[.):]\s+)([^\s,;/&+*^=<>].*)", re.DOTALL
)

_REALS: dict[Node, Node] = {
    ("name", "mathbb R"): ("sequence", "()", ("negate", ("symbol", "infinity")), ("symbol", "infinity"))
}


class Likeness(IntEnum):
    """How two answers are the same.

    FORGIVEN answers differ in something that grading forgives: a unit or a `x =` that one side leaves out, the
    rounding of a decimal, a label before a choice.
    """

    DIFFERENT = 0
    FORGIVEN = 1
    SAME = 2


class UndecidedError(Exception):
    """Only values with many digits decide, and this comparison may not compute them."""


@dataclass(frozen=True)
class Reading:
    """What was understood of an answer.

    `node` is the expression without its unit, None if the answer counts as text; `key` is that text; `choice` is the
    letter of a multiple choice, `rest` the text after a letter's label, and `text` the answer without markup. `small`
    is the letter of `b)`, `(b)` or `b.` as a capital: a choice only beside another choice.
    """

    key: str
    node: Node | None
    unit: str | None = None
    choice: str | None = None
    rest: str | None = None
    text: str = ""
    small: str | None = None

    def __str__(self) -> str:
        if self.choice is not None and (self.node is None or self.rest is not None):
            return f"choice {self.choice}"
        if self.small is not None and self.node is None:
            return f"choice {self.small.lower()}"
        if self.node is None:
            return f"text {self.text}"
        value = exact(self.node)
        short = value is not None and max(abs(value.numerator), value.denominator) < 10**30
        shown = str(value) if short and not decimal_of(self.node) else shown_node(self.node)
        return shown if self.unit is None else f"{shown} {self.unit}"


@lru_cache(maxsize=8192)
def reading_of(answer: str) -> Reading:
    """Reads an answer to its last character as mathematics; as text if that fails."""
    if len(answer) > LONGEST:
        text = " ".join(answer.split())
        return Reading(text, None, text=text)
    tidied = tidy(answer)
    key = text_key(tidied)
    bare = " ".join(re.sub(r"\\both\b", "and", re.sub(r"\\either\b", "or", unwrapped(tidied))).split())
    letter, rest = _choice(answer.strip() if _SMALL_WITH_STOP.fullmatch(answer.strip()) else bare)
    choice, small = (letter, None) if letter is None or letter.isupper() else (None, letter.upper())
    if rest is not None:
        return Reading(key, None, None, choice, rest, bare, small)
    value, unit = split_unit(tidied)
    for text, its_unit in dict.fromkeys([(value, unit), (tidied, None)]):
        try:
            return Reading(key, read(text), its_unit, choice, text=bare, small=small)
        except UnreadableError:
            continue
    return Reading(key, None, None, choice, text=bare, small=small)


def number_reading(value: Fraction) -> Reading:
    """The reading of an exact number."""
    return Reading(str(value), ("number", value, None, None))


def _choice(bare: str) -> tuple[str | None, str | None]:
    """The letter of a choice and the text after its label; a small letter counts with a bracket or a full stop."""
    match = _BARE_CHOICE.fullmatch(bare)
    if match and (match["letter"].isupper() or match["said"] or match["close"].strip()):
        return match["letter"], None
    match = _LABELLED.fullmatch(bare)
    return (match.group(1) or match.group(2), match.group(3)) if match else (None, None)


def compare(left: Reading, right: Reading, numbers: Numbers | None = None) -> Likeness:
    """How alike two answers are, the same in both orders.

    Raises UndecidedError if `numbers` is None and only values with many digits decide.
    """
    if left.key == right.key:
        return Likeness.SAME
    if (left.choice or left.small) and (right.choice or right.small):
        return _compare_choices(left, right, numbers)
    for labelled, other in ((left, right), (right, left)):
        if labelled.rest is not None:
            inner = compare(reading_of(labelled.rest), other, numbers)
            return min(inner, Likeness.FORGIVEN)
    if left.node is None or right.node is None:
        return Likeness.DIFFERENT
    likeness = _Comparison(numbers).nodes(left.node, right.node)
    if left.unit == right.unit:
        return likeness
    if left.unit is not None and right.unit is not None:
        return Likeness.DIFFERENT
    if "percent" in (left.unit, right.unit) and likeness is Likeness.DIFFERENT:
        nodes = [_hundredth(each.node) if each.unit else each.node for each in (left, right) if each.node is not None]
        likeness = _Comparison(numbers).nodes(*nodes)
    return min(likeness, Likeness.FORGIVEN)


def _compare_choices(left: Reading, right: Reading, numbers: Numbers | None) -> Likeness:
    if (left.choice or left.small) != (right.choice or right.small):
        return Likeness.DIFFERENT
    likeness = Likeness.SAME if left.choice == right.choice else Likeness.FORGIVEN
    if left.rest is None and right.rest is None:
        return likeness
    if left.rest is None or right.rest is None:
        return Likeness.FORGIVEN
    return min(likeness, compare(reading_of(left.rest), reading_of(right.rest), numbers))


def _hundredth(node: Node) -> Node:
    return ("divide", node, ("number", Fraction(100), None, None))


class _Comparison:
    """Compares expressions; `numbers` computes values with many digits."""

    def __init__(self, numbers: Numbers | None) -> None:
        self.numbers = numbers

    def nodes(self, left: Node, right: Node) -> Likeness:
        if left == right:
            return Likeness.SAME
        left, right = interval(left), interval(right)
        left, right = _REALS.get(left, left), _REALS.get(right, right)
        kinds = {left[0], right[0]}
        if kinds & {"relation", "list"} and (pair := coordinates(left, right)) is not None:
            return min(self._all(*pair), Likeness.FORGIVEN)
        if kinds & {"list", "set"} and "relation" in kinds:
            return self._relations(left, right)
        if "list" in kinds or (kinds == {"set"}):
            return self._unordered(left, right)
        if "relation" in kinds:
            return self._relations(left, right)
        if kinds == {"sequence"}:
            likeness = self._all(left[2:], right[2:])
            forgiven = Likeness.FORGIVEN if {left[1], right[1]} == {"()", "<>"} else Likeness.DIFFERENT
            return likeness if left[1] == right[1] else min(likeness, forgiven)
        if kinds == {"matrix", "sequence"}:
            return self._matrix(*((left, right) if left[0] == "matrix" else (right, left)))
        if kinds == {"matrix"} or kinds == {"row"}:
            return self._all(left[1:], right[1:])
        if "set" in kinds and len(left) == len(right) == 2 and not kinds & {"sequence", "matrix"}:
            return self._unordered(left, right)
        if "set" in kinds:
            other = right if left[0] == "set" else left
            single = left if left[0] == "set" else right
            inner = self.nodes(single[1], other) if len(single) == 2 else Likeness.DIFFERENT
            return min(inner, Likeness.FORGIVEN)
        if kinds & {"sequence", "matrix", "based"}:
            return Likeness.DIFFERENT
        return self._scalars(left, right)

    def _all(self, left: tuple[Node, ...], right: tuple[Node, ...]) -> Likeness:
        if len(left) != len(right):
            return Likeness.DIFFERENT
        likeness = Likeness.SAME
        for a, b in zip(left, right, strict=True):
            likeness = min(likeness, self.nodes(a, b))
            if likeness is Likeness.DIFFERENT:
                break
        return likeness

    def _unordered(self, left: Node, right: Node) -> Likeness:
        """Items of two lists or sets match one to one, the best matches first."""
        a, b = (node[1:] if node[0] in ("set", "list") else items_of(node) for node in (left, right))
        if len(a) != len(b):
            return Likeness.DIFFERENT
        likeness = Likeness.SAME if left[0] == right[0] else Likeness.FORGIVEN
        open_items = list(range(len(b)))
        table = [[self.nodes(item, other) for other in b] for item in a]
        for level in (Likeness.SAME, Likeness.FORGIVEN):
            left_over = []
            for row in table:
                match = next((index for index in open_items if row[index] >= level), None)
                if match is None:
                    left_over.append(row)
                else:
                    open_items.remove(match)
                    likeness = min(likeness, level)
            table = left_over
        return Likeness.DIFFERENT if table else likeness

    def _matrix(self, matrix: Node, sequence: Node) -> Likeness:
        """A row or a column beside a tuple of its entries, and a matrix beside a list of its rows in brackets."""
        rows = [row[1:] for row in matrix[1:]]
        if sequence[1] not in ("()", "<>", "[]"):
            return Likeness.DIFFERENT
        if len(rows) == 1 or all(len(row) == 1 for row in rows):
            return min(self._all(tuple(entry for row in rows for entry in row), sequence[2:]), Likeness.FORGIVEN)
        if any(item[:2] != ("sequence", "[]") for item in sequence[2:]) or len(rows) != len(sequence) - 2:
            return Likeness.DIFFERENT
        likenesses = [self._all(row, item[2:]) for row, item in zip(rows, sequence[2:], strict=True)]
        return min(Likeness.FORGIVEN, *likenesses)

    def _relations(self, left: Node, right: Node) -> Likeness:
        if left[0] != right[0]:
            relation, other = (left, right) if left[0] == "relation" else (right, left)
            value = stated(relation)
            return min(self.nodes(value, other), Likeness.FORGIVEN) if value is not None else Likeness.DIFFERENT
        if left[1] == right[1]:
            likeness = self._all(left[2:], right[2:])
            if likeness is not Likeness.DIFFERENT:
                return likeness
        flipped = ("relation", tuple(FLIPPED.get(sign, sign) for sign in reversed(right[1])), *reversed(right[2:]))
        if left[1] == flipped[1] and "in" not in flipped[1]:
            likeness = self._all(left[2:], flipped[2:])
            if likeness is not Likeness.DIFFERENT:
                return likeness
        return self._proportional(left, right)

    def _proportional(self, left: Node, right: Node) -> Likeness:
        """Whether both relations say that the same expression, up to a factor, is 0, or above or below it."""
        known = ("=", "!=", "<", "<=", ">", ">=")
        if len(left[1]) != 1 or len(right[1]) != 1 or left[1][0] not in known or right[1][0] not in known:
            return Likeness.DIFFERENT
        sides = [*left[2:], *right[2:]]
        if any(side[0] in ("sequence", "set", "list", "matrix", "relation", "based") for side in sides):
            return Likeness.DIFFERENT
        if self.numbers is None:
            raise UndecidedError
        differences = [("add", side, ("negate", other)) for side, other in (left[2:], right[2:])]
        ratio = self.numbers.ratio(*differences)
        sign = right[1][0] if ratio >= 0 or right[1][0] in "=!=" else FLIPPED[right[1][0]]
        return Likeness.SAME if ratio and left[1][0] == sign else Likeness.DIFFERENT

    def _scalars(self, left: Node, right: Node) -> Likeness:
        if _infinite(left) or _infinite(right):
            return Likeness.DIFFERENT
        a, b = exact(left), exact(right)
        decimals = decimal_of(left), decimal_of(right)
        if a is not None and b is not None:
            return Likeness.SAME if a == b else _forgiven(rounded(a, b, decimals))
        if (a is None) != (b is None) and not any(decimals) and _plainly_irrational(left if a is None else right):
            return Likeness.DIFFERENT
        if self.numbers is None:
            raise UndecidedError
        if self.numbers.same(left, right):
            return Likeness.SAME
        return _forgiven(
            any(
                decimal is not None
                and decimal[2] >= FEWEST_DIGITS
                and self.numbers.near(other, decimal[0], tolerance_of(decimal))
                for decimal, other in zip(decimals, (right, left), strict=True)
            )
        )


def _forgiven(near: bool) -> Likeness:
    return Likeness.FORGIVEN if near else Likeness.DIFFERENT


def _infinite(node: Node) -> bool:
    return node == ("symbol", "infinity") or (node[0] == "negate" and _infinite(node[1]))


def _plainly_irrational(node: Node) -> bool:
    """Whether a node is one variable or constant, so that no number equals it."""
    return node[0] in ("symbol", "name", "apply")
