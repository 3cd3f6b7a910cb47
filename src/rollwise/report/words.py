"""What people read, by language: templates of sentences and labels of pages, from a catalogue for each language."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from rollwise.errors import UnknownNameError
from rollwise.report.reasons import Reason

LANGUAGES = ("en", "ja")
_LONGEST = 60


class PluralFormatter(string.Formatter):
    """Formats values as Python does. In `{n:path|paths}` the number n chooses the singular or the plural."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """The text of a value; for a spec `one|many`, the word that fits the number."""
        if "|" in format_spec:
            singular, plural = format_spec.split("|")
            return singular if value == 1 else plural
        return str(super().format_field(value, format_spec))


_FORMATTER = PluralFormatter()


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """A language's `sentences` and the labels of its `page`, by name. Raises InputError for an unknown language."""
    if language not in LANGUAGES:
        raise UnknownNameError("language", language, list(LANGUAGES))
    text = files("rollwise.report").joinpath("assets", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def said(name: str, language: str = "en", **values: Any) -> str:
    """The template of this name, filled with the values."""
    return _FORMATTER.vformat(catalogue(language)["sentences"][name], (), values)


def sentence(reason: Reason, language: str = "en") -> str:
    """A reason in words: one or a few plain sentences."""
    values = {name: _short(value) if isinstance(value, str) else value for name, value in reason.values.items()}
    gap = "" if language == "ja" else " "
    return gap.join(said(name, language, **values) for name in reason.names)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
