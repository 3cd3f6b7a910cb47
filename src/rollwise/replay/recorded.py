"""Reads answers that were sampled elsewhere: a question a line, with its answers, their tokens and the gold answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.errors import InputError

EXAMPLE = '{"answers": ["12", "7"], "tokens": [310, 280], "gold": "12"}'

_LARGEST_WEIGHT = 1e300
"""So that weights can be added up."""


@dataclass(frozen=True)
class Recorded:
    """A question's answers in the order in which they were sampled; None stands for a sample without an answer.

    `tokens` and `weights` have one entry for each answer; None if they were not recorded. `gold` is None if unknown.
    """

    answers: tuple[str | None, ...]
    tokens: tuple[int, ...] | None = None
    gold: str | None = None
    weights: tuple[float, ...] | None = None


def read_recorded(record: Mapping[str, Any]) -> Recorded:
    """The question of a JSON object. Raises InputError with the first thing that is wrong.

    Either `all_answers` is a list of [answer, tokens], with `gold_answer`; or `answers` is a list, with `tokens`,
    `weights` and `gold` if they are known. Numbers count as their digits, empty texts as no answer.
    """
    known = [record[name] for name in ("gold", "gold_answer") if record.get(name) is not None]
    gold = _text(known[0] if known else None, "the gold answer")
    if "all_answers" in record:
        pairs = _list(record["all_answers"], "all_answers")
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise InputError('"all_answers" has to be a list of [answer, tokens]')
        return Recorded(_answers([pair[0] for pair in pairs]), _tokens([pair[1] for pair in pairs], len(pairs)), gold)
    if "answers" not in record:
        raise InputError(f'there is neither "answers" nor "all_answers"; write it like {EXAMPLE}')
    given = _list(record["answers"], "answers")
    tokens, weights = record.get("tokens"), record.get("weights")
    return Recorded(
        answers=_answers(given),
        tokens=None if tokens is None else _tokens(_list(tokens, "tokens"), len(given)),
        gold=gold,
        weights=None if weights is None else _weights(_list(weights, "weights"), len(given)),
    )


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f'"{field}" has to be a list of at least one entry; write it like {EXAMPLE}')
    return value


def _answers(given: Sequence[Any]) -> tuple[str | None, ...]:
    return tuple(_text(answer, f"answer {place}") for place, answer in enumerate(given, start=1))


def _text(value: Any, what: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{what} is {str(value)[:60]!r}; give a text, a number or null")


def _tokens(given: Sequence[Any], count: int) -> tuple[int, ...]:
    _same_length(given, count, "tokens")
    for place, value in enumerate(given, start=1):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
            raise InputError(f"the tokens of answer {place} are {str(value)[:60]!r}; give a whole number of at least 0")
    return tuple(given)


def _weights(given: Sequence[Any], count: int) -> tuple[float, ...]:
    _same_length(given, count, "weights")
    for place, value in enumerate(given, start=1):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_WEIGHT:
            raise InputError(
                f"the weight of answer {place} is {str(value)[:60]!r}; give a number from 0 to {_LARGEST_WEIGHT:g}"
            )
    return tuple(map(float, given))


def _same_length(given: Sequence[Any], count: int, field: str) -> None:
    if len(given) != count:
        raise InputError(f'there are {count} answers, but {len(given)} "{field}"; give one for each answer')
