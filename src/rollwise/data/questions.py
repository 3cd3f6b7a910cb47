"""Questions with their gold answers, made of rows and checked before anything is asked."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rollwise.answers import Grader, find_grader, last_boxed
from rollwise.core import Problem, is_unicode
from rollwise.data.collections import NAMES, folder_of, hosted, read_folder, read_hosted, read_parquet
from rollwise.data.columns import Columns, find_columns, values_of
from rollwise.data.rows import Row, read_rows
from rollwise.errors import InputError
from rollwise.names import digest_of

LONGEST_QUESTION = 1_000_000
"""In characters."""
_LARGEST_FLOAT = 2**53
"""Up to here a float that is whole shows all its digits. A larger one was written in short, such as 6.02e23."""
_LEVEL = re.compile(r"(?:level\s*)?(\d{1,9})(?:\.0+)?", re.IGNORECASE)
Where = Mapping[str, Sequence[str]]
"""Field → the values of which a row has to have one."""


@dataclass(frozen=True)
class Questions:
    """The questions of a source, in the order in which they are asked.

    `rows` are their row numbers in the source, if it has rows. `remarks` say what was read from where, a
    sentence each.
    """

    source: str
    problems: tuple[Problem, ...]
    rows: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What identifies the ids, questions, gold answers and levels, in their order."""
        content = [[each.id, each.question, each.answer, each.level] for each in self.problems]
        return digest_of(json.dumps(content).encode())

    def pick(self, row: str) -> Problem:
        """The problem in the row of a number, from 1 on, else of an id. Raises InputError if there is none."""
        by_number = {str(number): problem for number, problem in zip(self.rows, self.problems, strict=True)}
        by_id = {problem.id: problem for problem in self.problems}
        found = by_number.get(row) or by_id.get(row)
        if found is None:
            raise InputError(
                f"{self.source} has no row {row!r}: give a number from {min(self.rows)} to {max(self.rows)}, or the id "
                f"of a row, such as {self.problems[0].id}"
            )
        return found

    def among(self, ids: Collection[str]) -> Questions:
        """The questions with these ids, in their order."""
        wanted = set(ids)
        places = [place for place, problem in enumerate(self.problems) if problem.id in wanted]
        rows = tuple(self.rows[place] for place in places) if self.rows else ()
        return replace(self, problems=tuple(self.problems[place] for place in places), rows=rows)


def read_questions(
    source: str | Path,
    *,
    grader: str = "auto",
    fields: Mapping[str, str | None] | None = None,
    where: Where | None = None,
    shuffle: int | None = None,
    skip: int = 0,
    limit: int | None = None,
    golds: bool = True,
) -> Questions:
    """The questions of a file (JSON lines, JSON, CSV, TSV, Parquet), a folder, or a data set by name.

    Names are those of `rollwise.data.collections.NAMES` and `hf:owner/name[/part][:split]`. `grader` is how answers
    will be graded (see `rollwise.answers.find_grader`): each gold answer is read by it once. `fields` names the fields
    that hold the "question", "answer", "id" and "level"; those left out are guessed, and "none" means that there is
    none. `where` maps a field to the values that are taken; `shuffle` seeds an order, of which `skip`
    questions are left out at its start and `limit` are taken. Without `golds` a question may lack its gold answer.

    Raises InputError for a source, a field or a row that cannot be used; no row is left out in silence.
    """
    name, reader = str(source), find_grader(grader)
    rows = rows_of(name)
    columns = find_columns(name, rows, fields or {}, golds)
    chosen = _matching(name, rows, where or {}, columns)
    problems = [_problem(f"{name}, {row.place}", row, columns, reader, golds) for row in chosen]
    _refuse_twins(name, chosen, problems)
    problems, unnumbered = _with_levels(chosen, problems, columns)
    order = list(range(len(problems)))
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    order = order[skip:][:limit]
    if not order:
        raise InputError(f"--skip {skip} leaves no row: {name} has {len(problems)} to choose from")
    remarks = [f"{len(order)} of {len(rows)} rows of {name}: {columns}; graded by {reader.name}", *unnumbered]
    return Questions(
        name, tuple(problems[place] for place in order), tuple(chosen[place].number for place in order), tuple(remarks)
    )


def rows_of(name: str) -> list[Row]:
    """The rows of a source as they stand there. Raises InputError if it cannot be read or holds none."""
    if (folder := folder_of(name)) is not None:
        rows = read_folder(*folder)
    elif Path(name).is_file():
        rows = read_parquet(Path(name)) if name.lower().endswith(".parquet") else read_rows(Path(name))
    elif (place := hosted(name)) is not None:
        rows = read_hosted(name, place)
    else:
        raise InputError(
            f"--data: there is no file {name}, and no data set of that name: give a file, a folder, "
            f"{', '.join(NAMES)} or hf:owner/name"
        )
    if not rows:
        raise InputError(f"{name} holds no row; give a file with a question in each row")
    return rows


def _matching(name: str, rows: Sequence[Row], where: Where, columns: Columns) -> list[Row]:
    """The rows that have one of the wanted values in each field of `where`. Raises InputError if there are none."""
    chosen = list(rows)
    for field, wanted in where.items():
        if not any(field in row.fields for row in rows):
            raise InputError(f"--where {field}: {name} has no such field; it has {', '.join(rows[0].fields)}")
        held = [row for row in chosen if any(_alike(row.fields.get(field), value) for value in wanted)]
        if not held:
            values = list(dict.fromkeys(f"{row.fields.get(field)!s:.30}" for row in chosen))
            shown = ", ".join(values[:10]) + (f" and {len(values) - 10} more" if len(values) > 10 else "")
            raise InputError(f"--where {field}={','.join(wanted)} leaves no row of {name}; there it is {shown}")
        chosen = held
    return chosen


def _alike(value: object, wanted: str) -> bool:
    """Whether a field has a value: the same text, or the same number, also as `Level 5`."""
    text = str(value).strip()
    if text == wanted.strip():
        return True
    found, asked = _LEVEL.fullmatch(text), _LEVEL.fullmatch(wanted.strip())
    return found is not None and asked is not None and int(found[1]) == int(asked[1])


def _problem(where: str, row: Row, columns: Columns, grader: Grader, golds: bool) -> Problem:
    """The problem of a row, without its level. Raises InputError that names the row."""
    texts = [_text(where, columns.question, value) for value in values_of(row, columns.question)]
    question = " ".join(filter(None, texts))
    if not question:
        raise InputError(
            f"{where} has no question in {columns.question!r}; fill it in, or leave the row out by --where"
        )
    if len(question) > LONGEST_QUESTION:
        raise InputError(
            f"{where} holds {len(question):,} characters in {columns.question!r}, more than {LONGEST_QUESTION:,}: "
            "shorten it, or leave the row out by --where"
        )
    gold = None if columns.answer is None else _gold(where, columns.answer, row.fields.get(columns.answer))
    if gold is None and golds:
        raise InputError(
            f"{where} has no gold answer in {columns.answer!r}; fill it in, leave the row out by --where, or name "
            "another field by --answer-field"
        )
    if gold is not None:
        try:
            grader.refuse_unreadable(gold)
        except InputError as error:
            raise InputError(f"{where}: {error}; mend it, choose another --grader or another --answer-field") from None
    named = str(row.number) if columns.id is None else _text(where, columns.id, row.fields.get(columns.id))
    if not named:
        raise InputError(f"{where} has no id in {columns.id!r}; fill it in, or number the rows by --id-field none")
    return Problem(named, question, gold, "text", instruction=grader.asks)


def _text(where: str, field: str, value: Any) -> str:
    """A value as text: "" for none and for NaN, a float that is whole without its point.

    Raises InputError for a value that is no text, and for a text that no request can carry.
    """
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if not is_unicode(value):
            raise InputError(
                f"{where} holds half of a surrogate pair in {field!r}, which is no character: mend the text"
            )
        return value.strip()
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_FLOAT:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else type(value).__name__
    raise InputError(f"{where} holds {kind} in {field!r}; give a text or a number, or name another field")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _gold(where: str, field: str, value: Any) -> str | None:
    r"""The gold answer: what follows the last "####", else the content of the last \boxed{…}, else the whole value."""
    text = _text(where, field, value[0] if isinstance(value, list) and len(value) == 1 else value)
    if "####" in text:
        return text.rpartition("####")[2].strip() or None
    return (last_boxed(text) if "\\boxed" in text or "\\fbox" in text else None) or text or None


def _refuse_twins(name: str, rows: Sequence[Row], problems: Sequence[Problem]) -> None:
    first: dict[str, Row] = {}
    for row, problem in zip(rows, problems, strict=True):
        if problem.id in first:
            raise InputError(
                f"{name}: {first[problem.id].place} and {row.place} have the same id {problem.id!r}; give each its "
                "own, or number the rows by --id-field none"
            )
        first[problem.id] = row


def _with_levels(
    rows: Sequence[Row], problems: Sequence[Problem], columns: Columns
) -> tuple[list[Problem], Sequence[str]]:
    """The problems with their levels as whole numbers, and a remark if the levels are anything else."""
    if columns.level is None:
        return list(problems), ()
    values = [row.fields.get(columns.level) for row in rows]
    texts = ["" if value is None or _is_nan(value) else str(value).strip() for value in values]
    numbers = [_LEVEL.fullmatch(text) for text in texts]
    if other := next((text for text, number in zip(texts, numbers, strict=True) if text and number is None), None):
        return list(problems), [f"{columns.level!r} holds {other!r:.40}, no whole number, so there are no levels"]
    return [
        Problem(each.id, each.question, each.answer, each.world, number and int(number[1]), each.instruction)
        for each, number in zip(problems, numbers, strict=True)
    ], ()
