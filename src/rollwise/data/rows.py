"""Rows of a file: what JSON lines, JSON and CSV hold, each row with its number. A fault names its row."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollwise.errors import InputError


@dataclass(frozen=True)
class Row:
    """A row: its number in the file from 1 on, as an editor or a table shows it, and its fields.

    For JSON lines the number is that of the line.
    """

    number: int
    fields: Mapping[str, Any]
    unit: str = "row"

    @property
    def place(self) -> str:
        """Where it stands: `row 7`, or `line 7` of JSON lines."""
        return f"{self.unit} {self.number}"


def read_rows(file: Path) -> list[Row]:
    """The rows of a JSON, JSON lines, CSV or TSV file in UTF-8; empty lines are no rows. Raises InputError."""
    read = READERS.get(file.suffix.lower())
    if read is None:
        known = ", ".join([*READERS, ".parquet"])
        raise InputError(f"{file}: its name ends in none of {known}; rename it to what it holds")
    rows = list(read(file, _text_of(file)))
    if not rows:
        raise InputError(f"{file} holds no row; give a file with a question in each row")
    return rows


def _text_of(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give another file to --data") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line} is not UTF-8: save the file as UTF-8") from None


def _json_lines(file: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Row(number, _object(file, f"line {number}", line), "line")


def _object(file: Path, where: str, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, {where} is not JSON: {error.msg} at column {error.colno}; give one JSON object per line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}, {where} is not JSON: {error}; give one JSON object per line") from None
    return _fields(file, where, value)


def _fields(file: Path, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f'{file}, {where} is no JSON object; write it like {{"question": "What is 12 × 13?", "answer": "156"}}'
        )
    return value


def _json(file: Path, text: str) -> Iterator[Row]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):  # JSON lines under another name
            yield from _json_lines(file, text)
            return
        raise InputError(f"{file}, line {error.lineno} is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from None
    for number, item in enumerate(_list_in(file, value), start=1):
        yield Row(number, _fields(file, f"row {number}", item))


def _list_in(file: Path, value: Any) -> Sequence[Any]:
    """The list that a JSON document is, or the only list that it holds."""
    if isinstance(value, list):
        return value
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else []
    if len(lists) == 1:
        return lists[0]
    if isinstance(value, dict) and not lists:  # a file of one line
        return [value]
    raise InputError(f"{file} holds no single list of questions; give a JSON list of objects, or JSON lines")


def _separated(separator: str | None) -> Callable[[Path, str], Iterator[Row]]:
    def read(file: Path, text: str) -> Iterator[Row]:
        first = text.partition("\n")[0]
        delimiter = separator or (";" if first.count(";") > first.count(",") else ",")
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if twice := sorted({name for name in header if header.count(name) > 1}):
                raise InputError(f"{file}: the column {twice[0]!r} stands twice in the header; rename one")
            number = 0
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                number += 1
                if len(cells) != len(header):
                    raise InputError(
                        f"{file}, row {number} (line {reader.line_num}) has {len(cells)} cells and the header "
                        f"{len(header)}; put a cell that holds a {delimiter!r} in double quotes"
                    )
                yield Row(number, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise InputError(f"{file}, line {reader.line_num} is not CSV: {error}; mend its quotes") from None

    return read


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(None),
    ".tsv": _separated("\t"),
}
"""The ending of a file's name → what reads its text."""
