r"""Reads the answer out of a solution's text: the content of its last \boxed{…}."""

from __future__ import annotations

import itertools
import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BARE = re.compile(r"\\[dt]?frac\s*(?:\d\s*\d|\{[^{}]*\}\s*\{[^{}]*\})|-?\d[\d.,]*(?<![.,])|\\?[a-zA-Z]+")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
"""An escaped character, or a brace."""
_SPACES = re.compile(r"\s+")
_LONGEST_JOINT = 200
"""The most characters between two boxes that may join them, each run of spaces as one."""
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
        if not _joined(text[end:start]):
            break
        contents.insert(0, content)
    return ", ".join(dict.fromkeys(contents))


def _joined(between: str) -> bool:
    """Whether the text between two boxes makes them one answer. It takes time in proportion to the text."""
    plain = _SPACES.sub(" ", between)
    return len(plain) <= _LONGEST_JOINT and _JOINED.fullmatch(plain) is not None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every box that is closed and not empty; a box inside another one replaces it."""
    found: list[tuple[int, int, str]] = []
    closings = _closings(text)
    for box in _BOX.finditer(text):
        if found and box.start() < found[-1][1]:
            found.pop()
        content: str | None = None
        end = box.end()
        if text.startswith("{", end):
            if end in closings:
                content, end = text[end + 1 : closings[end]], closings[end] + 1
        elif bare := _BARE.match(text, end):
            content, end = bare.group(), bare.end()
        if content is not None and content.strip():
            found.append((box.start(), end, content.strip()))
    return found


def _closings(text: str) -> dict[int, int]:
    """Opening brace → the brace that closes its group, for every group that is closed; escaped braces are none.

    One pass finds all, so that many boxes that are never closed, as a model in a loop writes, cost little.
    """
    opened: list[int] = []
    closings: dict[int, int] = {}
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closings[opened.pop()] = match.start()
    return closings
