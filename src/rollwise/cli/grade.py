"""`rollwise grade` and `rollwise vote`: grade answers against gold answers, and count votes, from JSON lines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from rollwise.answers import GRADERS, count_ballots
from rollwise.answers import grade as grade_answer
from rollwise.cli.options import document
from rollwise.errors import InputError
from rollwise.search import START, Options, Shown, validated

_LARGEST_WEIGHT = 1e300
"""So that weights can be added up."""


class LinesOptions(Options):
    """The options of `rollwise grade` and `rollwise vote`."""

    file: Annotated[str, Shown(START, argument=True)] = Field(description="JSON lines; - reads standard input.")


def grade(given: dict[str, Any]) -> None:
    """Grade answers against gold answers.

    Each line of the file is a JSON object with `answer` and `gold`, and optionally `grader`: mathematics (default),
    text or choice. Prints the same lines with `right` and with `read`, what was understood of the answer and the gold.

    Examples:
    * `rollwise grade answers.jsonl`

    * `rollwise grade - < answers.jsonl | grep '"right": false'`
    """
    for number, record in json_records(validated(LinesOptions, given).file):
        answer, gold = _text(record, "answer", number, optional=True), _text(record, "gold", number)
        grader = record.get("grader") or "mathematics"
        if not isinstance(grader, str) or grader not in GRADERS:
            raise InputError(f"line {number}: no grader is called {grader!r}; choose {', '.join(GRADERS)}")
        assert gold is not None
        result = grade_answer(answer or "", gold, grader)
        read = {"answer": None if answer is None else result.read_answer, "gold": result.read_gold}
        _print(json.dumps({**record, "right": result.right and answer is not None, "read": read}, ensure_ascii=False))


def vote(given: dict[str, Any]) -> None:
    """Count votes for answers; answers that are the same mathematics are one.

    Each line of the file is a JSON object with `answer` (null for none) and optionally `weight` (default 1). Prints
    JSON with the `winner` of the weighted majority vote, its `support` and the `ballots`. The order of the lines
    does not matter.

    Examples:
    * `rollwise vote answers.jsonl`
    """
    answers, weights = [], []
    for number, record in json_records(validated(LinesOptions, given).file):
        answers.append(_text(record, "answer", number, optional=True))
        weights.append(_weight(record, number))
    ballots = count_ballots(answers, weights)
    total = math.fsum(ballot.weight for ballot in ballots)
    shares = [ballot.weight / total if total else ballot.paths / sum(b.paths for b in ballots) for ballot in ballots]
    result = {
        "winner": ballots[0].answer if ballots else None,
        "support": shares[0] if ballots else 0.0,
        "ballots": [{"answer": each.answer, "paths": each.paths, "weight": each.weight} for each in ballots],
        "unanswered": sum(answer is None for answer in answers),
    }
    _print(document(result))


def json_records(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line number and the object of every line that is not empty. Raises InputError at a bad line."""
    if file == "-":
        yield from _records_in(sys.stdin.buffer)
        return
    with Path(file).open("rb") as lines:
        yield from _records_in(lines)


def _records_in(lines: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            record = json.loads(text, parse_constant=_refuse, parse_float=_finite) if text else None
        except json.JSONDecodeError as error:
            where = f"{error.msg} at column {error.colno}"
            raise InputError(f"line {number} is not JSON: {where}; give one JSON object per line") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} is not JSON: {error}; give one JSON object per line") from None
        if text and not isinstance(record, dict):
            raise InputError(f'line {number} is not a JSON object; write it like {{"answer": "1/2"}}')
        if isinstance(record, dict):
            yield number, record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{digits[:30]} is too large for a number")
    return value


def _text(record: dict[str, Any], field: str, number: int, optional: bool = False) -> str | None:
    """A field as text; a number counts as its digits."""
    if field not in record:
        raise InputError(f'line {number} has no field "{field}"; add it')
    value = record[field]
    if isinstance(value, str) or (value is None and optional):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f'line {number}: "{field}" is {json.dumps(value)[:60]}; give a text or a number')


def _weight(record: dict[str, Any], number: int) -> float:
    value = record.get("weight", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_WEIGHT:
        raise InputError(
            f'line {number}: "weight" is {json.dumps(value)[:60]}; give a number from 0 to {_LARGEST_WEIGHT:g}'
        )
    return float(value)


def _print(text: str) -> None:
    typer.echo(text.encode("utf-8", errors="replace"))
