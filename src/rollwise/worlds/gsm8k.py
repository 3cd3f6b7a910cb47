r"""The questions of GSM8K as a world: the sums of a step are checked, and their results say where a solution stands."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from rollwise.answers import evaluate
from rollwise.core import CheckedProblems, Curriculum, Problem
from rollwise.errors import InputError
from rollwise.worlds.free import FreeText

NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+")
_LEFT = re.compile(r"[\d\s.,$%()+*/x×-]*\d[\s)%]*$")
_RIGHT = re.compile(r"\s*\$?\s*((?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?%?|\.\d+)(?![\d/])")


def number(text: str) -> Fraction:
    """The value of a number as GSM8K writes it, such as 1,200 or .5."""
    return Fraction(text.replace(",", ""))


def value(expression: str) -> Fraction | None:
    """The exact value of an annotated expression, with decimals and per cents; None if it cannot be read."""
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
    digits = len(result.strip().rstrip("%").partition(".")[2])
    return exact == shown or (
        not (exact.denominator == 1 and digits == 0) and abs(exact - shown) < Fraction(1, 10**digits)
    )


def sums_of(step: str) -> Iterator[tuple[str, str]]:
    """The sums (expression, result) that stand in the text of a step, such as 48/2 = 24."""
    for match in re.finditer("=", step):
        left, right = _LEFT.search(step[: match.start()]), _RIGHT.match(step[match.end() :])
        expression = left[0].strip(" $") if left is not None else ""
        if right is not None and expression[:1] not in "+*/x×-" and re.search(r"[+*/x×-]", expression):
            yield expression, right[1]


class Gsm8k(CheckedProblems):
    """Questions of GSM8K, or others like them. The answer is compared as mathematics.

    A step is valid unless a sum in it is wrong. Nothing else is checked, so valid does not mean right. The state is the
    set of results so far, in any order. Without a wrong sum, a right answer counts as within reach.
    """

    name = "gsm8k"
    levels: Sequence[int] = ()
    separator = FreeText.separator
    checkable = False
    curriculum = Curriculum(
        stages=(),
        reward_kinds={},
        level_shares={},
        longest=16,
        demonstrations="the solutions of GSM8K's training questions",
        label="whether every sum so far is right",
        held_out="and no test question, was seen",
    )

    def __init__(self) -> None:
        self.text = FreeText()

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """Raises InputError: this world draws no questions."""
        return self.text.problem(level, seed, split)

    def parse(self, question: str) -> Problem:
        """The question with the instruction to box its answer. Raises InputError if the question is empty."""
        return replace(self.text.parse(question), world=self.name)

    def remark(self, problem: Problem) -> str | None:
        """None: nothing is known about any question."""
        return None

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the same mathematics as the gold answer."""
        return self.text.is_right(problem, answer)

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether no sum in the steps is wrong."""
        return all(is_right(*each) is not False for step in steps for each in sums_of(step))

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """The results of the sums so far."""
        results = {value(result.rstrip("%")) for step in steps for _, result in sums_of(step)}
        return tuple(sorted(str(result) for result in results))

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether no sum in the steps is wrong."""
        return self.step_is_valid(problem, steps)
