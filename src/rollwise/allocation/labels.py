"""Parses labels of strategies with their settings, as tables and command lines write them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rollwise.errors import InputError


def key_values(pairs: Sequence[str]) -> dict[str, Any]:
    """Returns `name=value` pairs as a dictionary. A value that is valid JSON is parsed; any other value stays text.

    Raises InputError for a pair without `=`.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"give an option as name=value, like reward_temperature=0.2, not {pair!r}")
        try:
            values[name] = json.loads(value)
        except (ValueError, RecursionError):
            values[name] = value
    return values


_COMMA = re.compile(r",(?![^()\[\]]*[)\]])")  # outside of brackets
_COMMA_BETWEEN_VARIANTS = re.compile(_COMMA.pattern + r"(?!\s*\w+=)")
_VARIANT = re.compile(r"(?P<strategy>.+?)(?::(?P<settings>\w+=.*))?", re.DOTALL)


def split_variants(text: str) -> list[str]:
    """Returns the labels in a list such as `temperature, rebase:reward_temperature=0.2,reward=dial(0.5,1), dora`.

    Commas separate labels, except in brackets. A part that reads name=value belongs to the label before it.
    """
    return [label.strip() for label in _COMMA_BETWEEN_VARIANTS.split(text) if label.strip()]


def split_settings(label: str) -> tuple[str, dict[str, Any]]:
    """Returns the strategy and the settings of a label, `strategy` or `strategy:name=value,...`."""
    match = _VARIANT.fullmatch(label)
    assert match is not None
    return match["strategy"], key_values(
        [pair.strip() for pair in _COMMA.split(match["settings"] or "") if pair.strip()]
    )
