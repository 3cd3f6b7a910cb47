r"""Reads the answer out of a solution's text: the content of its last \boxed{…}."""

from __future__ import annotations

import re

from rollwise.core import Path

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def last_boxed(text: str) -> str | None:
    r"""The content of the last balanced \boxed{…} or \fbox{…} of a text; None if there is none.

    A box that is cut off before its closing brace does not count, nor does an empty box.
    """
    contents = (_balanced(text, box.end()) for box in reversed(list(_BOX.finditer(text))))
    return next((content.strip() for content in contents if content is not None and content.strip()), None)


def answer_of(path: Path) -> str | None:
    """A path's boxed answer; None if the path did not end by itself or contains no box."""
    return last_boxed(path.text) if path.ended else None


def _balanced(text: str, start: int) -> str | None:
    """The text from `start` to the closing brace of the group that is open there; None if the group never closes."""
    depth, escaped = 1, False
    for position in range(start, len(text)):
        character = text[position]
        if escaped or character == "\\":
            escaped = not escaped
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[start:position]
    return None
