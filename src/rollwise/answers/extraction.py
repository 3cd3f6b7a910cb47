r"""Reads the answer out of a solution's text: the content of its last \boxed{…}."""

from __future__ import annotations

import itertools
import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BARE = re.compile(r"\\[dt]?frac\s*(?:\d\s*\d|\{[^{}]*\}\s*\{[^{}]*\})|-?\d[\d.,]*(?<![.,])|\\?[a-zA-Z]+")
_JOINED = re.compile(
    r"(?:[\s$*]|\\q?quad|\\[,;: ()\[\]])*(?:,|;|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|,?\s*\b(?:and|or)\b)+"
    r"(?:\s|[$*]|\\q?quad|\\[,;:( \[]|\b(?:and|or)\b|\\text\s*\{\s*(?:and|or)\s*\}|\b[a-zA-Z](?:_\{?\d\}?)?\s*=)*"
)


def last_boxed(text: str) -> str | None:
    r"""The content of the last balanced \boxed{…} or \fbox{…} of a text; None if there is none.

    Boxes with nothing between them than a comma, `and` or `or` are one answer: \boxed{3}, \boxed{5} is `3, 5`.
    A box that is cut off before its closing brace does not count, nor does an empty box. \boxed 5 counts as \boxed{5}.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    contents = [boxes[-1][2]]
    for (_, end, content), (start, _, _) in reversed(list(itertools.pairwise(boxes))):
        if not _JOINED.fullmatch(text[end:start]):
            break
        contents.insert(0, content)
    return ", ".join(dict.fromkeys(contents))


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every box that is closed and not empty; a box inside another one replaces it."""
    found: list[tuple[int, int, str]] = []
    for box in _BOX.finditer(text):
        if found and box.start() < found[-1][1]:
            found.pop()
        if text.startswith("{", box.end()):
            content = _balanced(text, box.end() + 1)
            end = box.end() + 2 + len(content or "")
        else:
            bare = _BARE.match(text, box.end())
            content, end = (bare.group(), bare.end()) if bare else (None, box.end())
        if content is not None and content.strip():
            found.append((box.start(), end, content.strip()))
    return found


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
