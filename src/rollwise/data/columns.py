"""Which fields of a row hold the question, the gold answer, the id and the level: named by the user, or guessed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rollwise.data.rows import Row
from rollwise.errors import InputError

NONE = "none"
"""As the name of a field: there is none, so nothing is guessed."""
COMMON: dict[str, Sequence[str]] = {
    "question": ("question", "problem", "prompt", "input", "query", "instruction", "body+question"),
    "answer": (
        *("answer", "gold", "gold_answer", "target", "final_answer", "expected_answer", "ground_truth"),
        *("correct_answer", "reference_answer", "answerkey", "label", "expected", "solution", "output"),
    ),
    "id": ("id", "unique_id", "task_id", "question_id", "problem_id", "uid", "idx"),
    "level": ("level", "difficulty"),
}
"""What a field is for → its common names, in lower case, the first that is there counts. `a+b` joins two fields of the
question.
"""


@dataclass(frozen=True)
class Columns:
    """The fields that hold the question, the gold answer, the id and the level; None if there is none."""

    question: str
    answer: str | None
    id: str | None
    level: str | None

    def __str__(self) -> str:
        found = [f"{part} = {name!r}" for part, name in vars(self).items() if name is not None]
        return ", ".join(found)


def find_columns(where: str, rows: Sequence[Row], named: Mapping[str, str | None], golds: bool) -> Columns:
    """The fields to read. `named` are those that the user named, by what they are for; the others are guessed.

    Raises InputError if a named field is nowhere, or if no field looks like a question, or like a gold answer and
    `golds` says that they are needed.
    """
    there = list(dict.fromkeys(name for row in rows for name in row.fields))
    found = {part: _find(where, part, named.get(part), there) for part in COMMON}
    if found["question"] is None:
        raise _missing(where, "question", there)
    if found["answer"] is None and golds:
        raise _missing(where, "answer", there)
    return Columns(found["question"], found["answer"], found["id"], found["level"])


def _find(where: str, part: str, named: str | None, there: Collection[str]) -> str | None:
    if named == NONE:
        return None
    if named is not None:
        for name in _parts(named, there) if part == "question" else [named]:
            if name not in there:
                raise InputError(f"{where} has no field {name!r}, which --{part}-field names; it has {_listed(there)}")
        return named
    by_lower = {name.lower().strip(): name for name in reversed(list(there))}
    if part == "question" and {"body", "question"} <= set(by_lower):
        return f"{by_lower['body']}+{by_lower['question']}"
    return next((by_lower[name] for name in COMMON[part] if name in by_lower), None)


def _parts(name: str, there: Collection[str]) -> list[str]:
    return [name] if name in there else name.split("+")


def _missing(where: str, part: str, there: Collection[str]) -> InputError:
    what = "the question" if part == "question" else "the gold answer"
    return InputError(f"{where}: no field looks like {what}; name it by --{part}-field: {_listed(there)}")


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:20]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def values_of(row: Row, name: str) -> list[object]:
    """The values of a field, of both fields for `a+b`; None for a field that the row lacks."""
    return [row.fields.get(part) for part in _parts(name, row.fields)]
