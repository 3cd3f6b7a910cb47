"""Grades an answer against a gold answer, and says what was understood of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollwise.answers.comparing import reading_of
from rollwise.answers.equality import equivalent
from rollwise.answers.spelling import text_key, tidy
from rollwise.errors import InputError


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right, and what the grader understood of the answer and of the gold answer."""

    right: bool
    read_answer: str
    read_gold: str


def grade(answer: str, gold: str, grader: str = "mathematics") -> Grade:
    """Compares an answer with a gold answer.

    `grader` is one of GRADERS: `mathematics` compares as `equivalent` does, `text` compares the spelling without
    markup, `choice` compares the letters of a multiple choice. Raises InputError if `grader` is unknown.
    """
    if grader not in GRADERS:
        raise InputError(f"no grader is called {grader!r}; choose {', '.join(GRADERS)}")
    return GRADERS[grader](answer, gold)


def _by_mathematics(answer: str, gold: str) -> Grade:
    return Grade(equivalent(gold, answer), str(reading_of(answer)), str(reading_of(gold)))


def _by_text(answer: str, gold: str) -> Grade:
    read_answer, read_gold = text_key(tidy(answer)), text_key(tidy(gold))
    return Grade(read_answer == read_gold, read_answer, read_gold)


def _by_choice(answer: str, gold: str) -> Grade:
    letters = [_letter(text) for text in (answer, gold)]
    read_answer, read_gold = ("no choice" if letter is None else letter for letter in letters)
    return Grade(letters[0] is not None and letters[0] == letters[1], read_answer, read_gold)


def _letter(text: str) -> str | None:
    """The letter of a choice as a capital, however it is written."""
    reading = reading_of(text)
    if reading.choice is None and reading.small is None and len(reading.text) == 1 and reading.text.isalpha():
        return reading.text.upper()
    return reading.choice or reading.small


GRADERS: dict[str, Callable[[str, str], Grade]] = {
    "mathematics": _by_mathematics,
    "text": _by_text,
    "choice": _by_choice,
}
