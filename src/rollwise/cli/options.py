"""Option values that several commands read."""

from __future__ import annotations

from rollwise.errors import InputError


def whole_numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a list like `3,4,5`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} takes whole numbers with commas between them, like 3,4,5, not {text!r}") from None
