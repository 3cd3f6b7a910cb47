r"""Sums in the text of a solution, such as 48/2 = 24: reads them, checks them exactly, and puts wrong ones right."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from rollwise.answers.arithmetic import evaluate
from rollwise.errors import InputError

NUMBER = re.compile(r"\d{1,40}(?:,\d{3}){1,13}(?:\.\d{1,40})?|\d{0,40}\.\d{1,40}|\d{1,40}")
"""A number of at most about 40 digits. Hostile texts hold longer ones, and Python refuses to read very long ones."""
_EQUALS = re.compile("=")
_NOTATION = (
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\text\{[^{}]*\}|\\left|\\right|\\[()\[\],;! ]"), " "),
    (re.compile(r"\\times|\\cdot|·|\\ast"), "*"),
    (re.compile(r"\\div|÷"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\(?=[$%])"), " "),
    (re.compile(r"(?<=[\d).])(\s*)[xX×](\s*)(?=[\d($.])"), r"\1*\2"),
)
"""LaTeX and signs that sums are written in, and what they stand for."""
_LEFT = re.compile(r"(?P<unread>[a-zA-Z}]\s*[+*/-]|\b[xX]\s|[}:])?(?P<sum>[\d\s.,$%()+*/-]*\d[\s)%]*)$")
_RIGHT = re.compile(
    r"\s*(?:\$\s*)?(?P<number>(?:\d{1,40}(?:,\d{3}){1,13}|\d{1,40})(?:\.\d{1,40})?|\.\d{1,40})"
    r"(?!\d|[,.:]\d|[/{])(?P<per_cent>\s*%)?(?!\s*[+*/-]\s*[\w($.])"
)
_UNCLEAR = re.compile(r"/\s*[\d.,]+\s*/|\d{41}")
"""50/ 1/2 may be 25 or 100. A number that is too long is not read."""
_LONGEST = 120
"""The most characters of an expression. A longer one is not read, so that a hostile text costs little time."""
_BOXED = re.compile(r"(?<=\\boxed\{)[^{}]*(?=\})")
_DIGITS = 12
"""Results with more digits before the point are not put right."""


def number(text: str) -> Fraction:
    """The value of a number as people write it, such as 1,200 or .5."""
    return Fraction(text.replace(",", ""))


def value(expression: str) -> Fraction | None:
    """The exact value of an expression with decimals and per cents; None if it cannot be read."""
    if re.search(r"\d\s+\d", expression):  # such as 1 1/2
        return None
    text = expression.replace("$", "").replace("x", "*").replace("X", "*").replace("×", "*").strip().lstrip("+")
    text = NUMBER.sub(lambda match: f"({number(match[0]).numerator}/{number(match[0]).denominator})", text)
    text = re.sub(r"\)\s*%", ")/100", text)
    text = re.sub(r"\)\s*\(", ")*(", text)
    try:
        return evaluate(text)[0]
    except InputError:
        return None


def is_right(expression: str, result: str) -> bool | None:
    """Whether a sum is right: within one unit of the last digit that its result shows, and exact if both are whole.

    None if it cannot be read.
    """
    exact, shown = value(expression), value(result)
    if exact is None or shown is None:
        return None
    digits = len(result.strip().rstrip("%").partition(".")[2]) + 2 * result.endswith("%")
    return exact == shown or (
        not (exact.denominator == 1 and digits == 0) and abs(exact - shown) < Fraction(1, 10**digits)
    )


def numbers_in(text: str) -> frozenset[Fraction]:
    """The numbers that a text gives in digits."""
    return frozenset(map(number, NUMBER.findall(text)))


@dataclass(frozen=True)
class Sum:
    """A sum in a text: its expression, its result with a per cent sign if it has one, and where the number of that
    result stands in the text.
    """

    expression: str
    result: str
    start: int
    end: int

    @property
    def shown(self) -> Fraction | None:
        """The result as a number, without its per cent sign; None if it cannot be read."""
        return value(self.result.rstrip("%"))

    @property
    def is_wrong(self) -> bool:
        """Whether the result is wrong. Per cents are read as both 20 and .2; what cannot be read is not wrong."""
        if is_right(self.expression, self.result) is not False:
            return False
        per_cents = "%" in self.expression + self.result
        return not per_cents or is_right(self.expression.replace("%", ""), self.result.rstrip("%")) is False


def sums_of(text: str, start: int = 0) -> Iterator[Sum]:
    r"""The sums in a text from a place on, such as 48/2 = 24, 5 x \$3 = \$15 or \frac{48}{2} = 24.

    A result that another operation follows is left out: of 2*3 = 6*4 = 24, only 6*4 = 24 is a sum. So are sums with
    letters in them, and ones that can be read in two ways.
    """
    plain = _plain(text)
    for match in _EQUALS.finditer(plain, start):
        window = plain[max(0, match.start() - _LONGEST) : match.start()]
        left, right = _LEFT.search(window), _RIGHT.match(plain, match.end())
        if left is None or left["unread"] or right is None or (left.start() == 0 and len(window) == _LONGEST):
            continue
        expression = left["sum"].strip(" $")
        if expression[:1] not in "+*/-" and re.search(r"[+*/-]", expression) and not _UNCLEAR.search(expression):
            result = right["number"] + (right["per_cent"] or "").strip()
            yield Sum(expression, result, right.start("number"), right.end("number"))


def _plain(text: str) -> str:
    """The text with LaTeX and signs replaced; what follows keeps its place."""
    for pattern, plain in _NOTATION:
        text = pattern.sub(functools.partial(_in_place, plain), text)
    return text


def _in_place(plain: str, match: re.Match[str]) -> str:
    return match.expand(plain).rjust(len(match[0]))


def put_right(text: str, question: str) -> str:
    """The text of a step with its wrong sums put right, first to last, each with what follows it.

    Where the wrong result is repeated later in the step, it changes too, also in a boxed answer. If the question gives
    that number, only a boxed answer changes, since elsewhere the given number may be meant. A result that cannot be
    written in short stays as it is.
    """
    given, place = numbers_in(question), 0
    while (wrong := next((each for each in sums_of(text, place) if each.is_wrong), None)) is not None:
        right = _written(wrong)
        place = wrong.start + len(right or text[wrong.start : wrong.end])
        if right is not None:
            old = number(text[wrong.start : wrong.end])
            rest = _replaced(text[wrong.end :], old, right, only_boxed=old in given)
            text = text[: wrong.start] + right + rest
    return text


def _replaced(text: str, old: Fraction, new: str, only_boxed: bool) -> str:
    def each(match: re.Match[str]) -> str:
        return new if number(match[0]) == old else match[0]

    if only_boxed:
        return _BOXED.sub(lambda match: NUMBER.sub(each, match[0]), text)
    return NUMBER.sub(each, text)


def _written(wrong: Sum) -> str | None:
    """The right result of a sum in the manner of the wrong one; None if that is unclear or too long."""
    exact = value(wrong.expression)
    adds_per_cents = "%" in wrong.expression and not re.search(r"[*/]", wrong.expression)
    if exact is None or exact < 0 or adds_per_cents or exact >= 10**_DIGITS:
        return None
    if wrong.result.endswith("%"):
        exact *= 100
    if exact.denominator == 1:
        return f"{exact.numerator:,}" if "," in wrong.result else str(exact.numerator)
    if (exact * 100).denominator == 1 and "." in wrong.result:
        return f"{float(exact):.2f}"
    digits = 2 if exact >= Fraction(1, 10) else 4
    return f"{float(exact):.{digits}f}".rstrip("0").rstrip(".")
