"""Tables of a report with raw values, which a page, Markdown and CSV each write in their own way."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Value = str | float | int | None
Form = Literal["text", "count", "percent", "points", "number", "power", "seconds", "money"]

FORMS: dict[Form, Callable[[float], str]] = {
    "count": lambda value: f"{value:,.0f}",
    "percent": lambda value: f"{100 * value:.1f}",
    "points": lambda value: f"{100 * value:+z.1f}",
    "number": lambda value: f"{value:.1f}",
    "power": lambda value: f"{value:.2e}" if value else "0",
    "seconds": lambda value: f"{value:.2f}",
    "money": lambda value: f"{value:.3g}",
}
"""How people read a number of each form. Percent and points are of shares in [0, 1]."""


@dataclass(frozen=True)
class Column:
    """A column: its name and the form of its values."""

    name: str
    form: Form = "text"


@dataclass(frozen=True)
class DataTable:
    """A table: a name for its file, a title, what a reader has to know, its columns and its rows of raw values."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


def cell_text(value: Value, form: Form) -> str:
    """A value as people read it; "–" if it is unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, str) or form == "text":
        return " ".join(str(value).split())
    return "∞" if math.isinf(value) else FORMS[form](value)


def sort_key(value: Value) -> str:
    """What a page sorts a value by: a number, or the text itself."""
    return "" if value is None else str(value)


def table_csv(table: DataTable) -> str:
    """A table as CSV with raw values; unknown ones are empty.

    A text that a spreadsheet would read as a formula gets an apostrophe in front.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([[_plain(value) for value in row] for row in table.rows])
    return file.getvalue()


def _plain(value: Value) -> Value:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def table_markdown(table: DataTable) -> str:
    """A table in Markdown under a heading."""
    names = [markdown_text(column.name) for column in table.columns]
    rule = ["---" if column.form == "text" else "---:" for column in table.columns]
    rows = [
        [markdown_text(cell_text(value, column.form)) for value, column in _cells(table, row)] for row in table.rows
    ]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in (names, rule, *rows))
    note = f"{markdown_text(table.note)}\n\n" if table.note else ""
    return f"### {markdown_text(table.title)}\n\n{note}{lines}"


def _cells(table: DataTable, row: Sequence[Value]) -> list[tuple[Value, Column]]:
    return list(zip(row, table.columns, strict=True))


def markdown_text(text: str) -> str:
    """A text on one line, without what Markdown or HTML would read as marks."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{each}" if each in "\\|`*_[]" else each for each in plain)
