"""Output to consoles that cannot show every character, and to readers that go away."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from typing import NoReturn

import typer

_ERRORS = "rollwise.transliterate"
_SIMILAR = {
    **dict.fromkeys("−–—‐‑‒―─━", "-"),
    **dict.fromkeys("‘’‚“”„", "'"),  # never a double quote: JSON stays valid
    **dict.fromkeys("│┃‖", "|"),
    **{"×": "x", "÷": "/", "⁄": "/", "·": ".", "…": "...", "•": "*", "√": "sqrt", "±": "+-", "∞": "inf", "≈": "~"},
    **{"→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≠": "!=", "✓": "+", "✗": "x"},
}
"""Characters → what a console shows instead if it cannot show them."""


def transliterate(character: str) -> str:
    """The ASCII text that stands for a character: a similar sign, the name of a Greek letter, a letter without its
    accents, or "?".
    """
    if character in _SIMILAR:
        return _SIMILAR[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK ") and " LETTER " in name:
        letter = name.partition(" LETTER ")[2].split()[0].lower()
        return letter.capitalize() if "CAPITAL" in name else letter
    parts = [_SIMILAR.get(part, part) for part in unicodedata.normalize("NFKD", character)]
    plain = "".join(part for part in parts if part.isascii() and part.isprintable() and part not in '"\\')
    return plain or ("" if unicodedata.combining(character) else "?")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the streams, as `codecs.register_error` takes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(transliterate, error.object[error.start : error.end])), error.end


def tolerate_consoles() -> None:
    """Let standard output and standard error replace the characters that they cannot encode."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def echo_json(text: str) -> None:
    r"""Print a JSON text on standard output. Characters that the console cannot show become `\uXXXX`.

    JSON holds such characters in strings only, so the text stays valid and keeps its meaning.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not _encodes(text, encoding):
        text = "".join(part if _encodes(part, encoding) else _escape(part) for part in text)
    typer.echo(text)


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def flush_output() -> None:
    """Write out what standard output still holds. Raises OSError if that fails, such as BrokenPipeError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def leave_quietly(status: int) -> NoReturn:
    """End the process, although standard output fails: what it still holds is dropped, without a message."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except AttributeError:  # the process started without this stream
            continue
    sys.exit(status)
