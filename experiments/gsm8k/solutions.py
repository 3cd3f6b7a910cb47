r"""Reads the solutions of GSM8K, whose sums are annotated (`<<48/2=24>>`), checks them, and gives them new numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rollwise.answers.sums import NUMBER, is_right, number, sums_of, value

ANNOTATION = re.compile(r"<<([^<>]*)=([^<>=]*)>>")
KEPT = frozenset(map(Fraction, (0, 1, 2, 3, 4, 7, 10, 12, 24, 30, 31, 52, 60, 100, 365, 1000)))
"""Numbers that keep their value, since they may stand for a half, a dozen, a week, a per cent or the like."""
WORDS = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10},
    **{"eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100},
}
"""Numbers that a question may say in words, which keep their value too."""
_FIXED = re.compile(r"[%:/]|st\b|nd\b|rd\b|th\b|[-.]?\w")
DRAWS = 40
"""How many sets of new numbers are tried."""


@dataclass(frozen=True)
class Solution:
    """A solution as text: its steps, the last of which ends with the boxed answer, and the number of checked sums."""

    steps: tuple[str, ...]
    answer: str
    sums: int


def read_solution(text: str) -> Solution | str:
    """The solution in a row's `answer`, or why it is not used."""
    body, marker, last = text.partition("####")
    answer = last.strip().replace(",", "")
    if not marker or not re.fullmatch(r"-?\d+(?:\.\d+)?", answer):
        return "no result after ####"
    checked = [is_right(expression, result) for expression, result in ANNOTATION.findall(body)]
    if None in checked:
        return "a sum cannot be read"
    if not all(checked):
        return "a sum is wrong"
    steps = [" ".join(line.split()) for line in ANNOTATION.sub("", body).splitlines() if line.strip()]
    if not steps:
        return "no steps"
    if "<<" in "".join(steps):
        return "a sum cannot be read"
    ending = "" if steps[-1].endswith((".", "!", "?")) else "."
    steps[-1] = f"{steps[-1]}{ending} The answer is \\boxed{{{answer}}}."
    return Solution(tuple(steps), answer, len(checked))


def with_other_numbers(question: str, text: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """(question, answer) of a row with other numbers in the same words; None if that cannot be done safely.

    Every sum is computed anew. Numbers change only where it is clear what they are: a whole number that occurs once in
    the question, is used in a sum and equals no intermediate result. Results stay positive, and whole where they were
    whole. A number in the solution that is neither given, nor a constant of a sum, nor a result, rules the row out.
    """
    sums = ANNOTATION.findall(text)
    given = [number(match[0]) for match in NUMBER.finditer(question)]
    results = [value(result) for _, result in sums]
    used = {number(token) for expression, _ in sums for token in NUMBER.findall(expression)}
    if not sums or None in results or len(set(results)) < len(results) or set(results) & set(given):
        return None
    free = [
        number(match[0])
        for match in NUMBER.finditer(question)
        if match[0].isdigit() and not _FIXED.match(question[match.end() :]) and _opens(question, match.start())
    ]
    said = {Fraction(WORDS[word]) for word in WORDS if word in f"{question} {text}".lower()}
    if said & set(results) or _is_unclear(sums):
        return None
    free = [each for each in free if each in used and each not in KEPT | said and given.count(each) == 1]
    explained = set(given) | used | {result for result in results if result is not None}
    if not free or not all(number(token) in explained for token in NUMBER.findall(ANNOTATION.sub("", text))):
        return None
    for _ in range(DRAWS):
        drawn = {each: Fraction(int(rng.integers(max(2, each // 2), 2 * each + 1))) for each in free}
        renamed = _recomputed(sums, drawn)
        if renamed is not None and any(drawn[each] != each for each in free):
            body, rewritten = _rewritten(text, renamed), _rewritten(question, drawn)
            return (rewritten, body) if _is_consistent(read_solution(body)) else None
    return None


def _is_consistent(solution: Solution | str) -> bool:
    """Whether the solution can be used and no sum in its text is wrong, annotated or not."""
    return isinstance(solution, Solution) and not any(
        each.is_wrong for step in solution.steps for each in sums_of(step)
    )


def _is_unclear(sums: list[tuple[str, str]]) -> bool:
    """Whether a number in a sum may be an earlier result or one of KEPT, such as the 2 of a half."""
    earlier: set[Fraction | None] = set()
    for expression, result in sums:
        if any(number(token) in earlier & KEPT for token in NUMBER.findall(expression)):
            return True
        earlier.add(value(result))
    return False


def _opens(question: str, start: int) -> bool:
    return start == 0 or question[start - 1] in " $("


def _recomputed(sums: list[tuple[str, str]], drawn: Mapping[Fraction, Fraction]) -> dict[Fraction, Fraction] | None:
    """Old number → new number, results included; None if a result would be out of place."""
    renamed = dict(drawn)
    for expression, result in sums:
        old = value(result)
        new = value(NUMBER.sub(lambda match: _renamed(match[0], renamed), expression))
        if old is None or new is None or new <= 0 or value(expression) != old:
            return None
        if new.denominator > 1 and (old.denominator == 1 or 100 % new.denominator):
            return None
        renamed[old] = new
    return renamed


def _renamed(token: str, renamed: Mapping[Fraction, Fraction]) -> str:
    old = number(token)
    new = renamed.get(old, old)
    return token if new == old else written(new)


def written(new: Fraction) -> str:
    """A number with at most two decimals."""
    return str(new.numerator) if new.denominator == 1 else f"{float(new):.2f}".rstrip("0")


def _rewritten(text: str, renamed: Mapping[Fraction, Fraction]) -> str:
    return NUMBER.sub(lambda match: _renamed(match[0], renamed), text)
