r"""Reads answers that are not boxed: after "####", after "the answer is", in bold, or the last number of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollwise.answers.choices import letter_of
from rollwise.answers.extraction import last_boxed
from rollwise.core import Path
from rollwise.errors import InputError

Form = Callable[[str], str | None]
"""Returns the answer that a text gives in one form; None if it gives none."""

_NUMBER = r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?"
_LAST_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}(?!\w)|(?<!\w)\d+(?:\.\d+)?(?=[A-Za-z]+\b)")
_AMOUNT = re.compile(rf"[$€£]?\s*({_NUMBER})(?:\s+(?!(?:and|or|to)\b)[A-Za-z]{{2,}}){{0,5}}")
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
_STATED = re.compile(
    r"\banswer\b[^\n.:=]{0,60}?(?:\bis\b|\bwould be\b|:|=)[\s:=]*(\S.*?)(?=[.!?](?:\s|$)|\n|$)", re.IGNORECASE
)
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]+?)\*\*")
_WRAPPED = re.compile(r"\$\$?(.+?)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]|`(.+?)`", re.DOTALL)
_EXAMPLE_LENGTH = 120


def _tidy(answer: str) -> str | None:
    """An answer without markup, full stop, currency sign, unit and thousands separators; None if nothing is left."""
    text = answer.replace("**", "").strip().rstrip(".!?;,").strip()
    if (wrapped := _WRAPPED.fullmatch(text)) is not None:
        text = next(group for group in wrapped.groups() if group is not None).strip()
    if (amount := _AMOUNT.fullmatch(text)) is not None:
        text = amount[1].replace(",", "")
    return text or None


def _last_number(text: str) -> str | None:
    found = [match[0] for match in _LAST_NUMBER.finditer(text)]
    return found[-1].replace(",", "") if found else None


def _last_of(pattern: re.Pattern[str], text: str) -> str | None:
    found = [match[1] for match in pattern.finditer(text) if match[1]]
    return _tidy(found[-1]) if found else None


def _bold(text: str) -> str | None:
    found = [match[1].strip() for match in _BOLD.finditer(text)]
    values = [value for value in found if not value.endswith(":")]  # "**Step 1:**" is a heading
    return _tidy(values[-1]) if values else None


BOXED, AUTO = "boxed", "auto"
FORMS: dict[str, Form] = {
    BOXED: last_boxed,
    "gsm8k": lambda text: _last_of(_HASHES, text),
    "answer-is": lambda text: _last_of(_STATED, text.replace("**", "")),
    "bold": _bold,
    "last-number": _last_number,
    "choice": letter_of,
}
r"""Name → form. `gsm8k` reads what follows "####", `answer-is` what follows "the answer is" or "Answer:",
`choice` the letter that a text chooses, A to E. The order
decides between forms that read equally many texts: the more explicit form comes first.
"""

_SHOWN = {
    "gsm8k": 'after "####"',
    "answer-is": 'after "the answer is"',
    "bold": "in bold",
    "choice": "as the letter of a choice",
}


def find_form(name: str) -> Form:
    """The form of a name, or of a regular expression with one group: the group of its last match is the answer.

    Raises InputError for `auto`, which depends on the texts, and for an expression that does not compile or does not
    have exactly one group.
    """
    if name in FORMS:
        return FORMS[name]
    names = ", ".join([AUTO, *FORMS])
    try:
        pattern = re.compile(name, re.MULTILINE)
    except re.error as error:
        raise InputError(
            f"answer: {name!r} is no regular expression ({error}); give one with one group, or one of {names}"
        ) from None
    if pattern.groups != 1:
        raise InputError(
            f"answer: {name!r} is none of {names}; a regular expression needs exactly one group, such as 'Result: (.+)'"
        )

    def read(text: str) -> str | None:
        found = [match[1].strip() for match in pattern.finditer(text) if match[1] and match[1].strip()]
        return found[-1] if found else None

    return read


def check_form(name: str) -> None:
    """Raise InputError unless `name` is `auto` or names a form."""
    if name != AUTO:
        find_form(name)


@dataclass(frozen=True)
class Reading:
    """The answers that finished paths give.

    `answers` holds each path's answer, None if it has none. `form` is the form that was read. `unread` counts paths
    that ended without a readable answer, `cut` those that a limit cut off. `example` is the last line of one of them,
    None if there are none. `note` says what to know about the reading, None if there is nothing to say.
    """

    answers: tuple[str | None, ...]
    form: str
    unread: int
    cut: int
    example: str | None
    note: str | None = None


def read_answers(paths: Sequence[Path], answer: str = AUTO) -> Reading:
    """The answers of finished paths in the form `answer`.

    `auto` reads boxes. If no path boxes anything, it uses the form that reads most of the paths and says so in `note`.
    A path that did not end by itself has no answer. Raises InputError for an unknown form.
    """
    texts = [path.text if path.ended else None for path in paths]
    form = BOXED if answer == AUTO else answer
    answers = _read(find_form(form), texts)
    boxless = form == BOXED and any(text is not None for text in texts) and not any(answers)
    if answer == AUTO and boxless:
        others = {name: _read(read, texts) for name, read in FORMS.items() if name != BOXED}
        best = max(others, key=lambda name: sum(found is not None for found in others[name]))
        if any(others[best]):
            form, answers = best, others[best]
    ended = sum(text is not None for text in texts)
    unread = ended - sum(found is not None for found in answers)
    return Reading(
        answers=tuple(answers),
        form=form,
        unread=unread,
        cut=len(paths) - ended,
        example=_example(paths, answers),
        note=_note(form, ended - unread, ended) if boxless else None,
    )


def answer_of(path: Path, form: str = BOXED) -> str | None:
    """A path's answer in a form; None if the path did not end by itself or has no such answer.

    `auto` reads the box of this path; without a box, the most explicit form that finds something. Raises InputError
    for an unknown form.
    """
    return read_answers([path], form).answers[0]


def _read(form: Form, texts: Sequence[str | None]) -> list[str | None]:
    return [None if text is None else form(text) for text in texts]


def _note(form: str, read: int, ended: int) -> str:
    if form == BOXED:
        return "no path boxed its answer; --answer last-number or --answer REGEX reads another form"
    where = _SHOWN.get(form, "as the last number of the text")
    return (
        f"no path boxed its answer, so the answers of {read} of {ended} paths were read {where}; --answer {form}, "
        "boxed or a REGEX fixes the form"
    )


def _example(paths: Sequence[Path], answers: Sequence[str | None]) -> str | None:
    """The last line of a path without an answer, preferably of one that ended by itself."""
    silent = [path for path, answer in zip(paths, answers, strict=True) if answer is None]
    silent.sort(key=lambda path: not path.ended)
    lines = [path.text.strip().splitlines()[-1].strip() for path in silent if path.text.strip()]
    if not lines:
        return None
    return lines[0] if len(lines[0]) <= _EXAMPLE_LENGTH else "…" + lines[0][-_EXAMPLE_LENGTH:]
