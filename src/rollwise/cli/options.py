"""Option values that several commands read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rollwise.errors import InputError


def key_values(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs as a dictionary; a value that reads as JSON is taken as that, else as text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"give an option as name=value, like reward_temperature=0.2, not {pair!r}")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


def whole_numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a list like `3,4,5`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} takes whole numbers with commas between them, like 3,4,5, not {text!r}") from None
