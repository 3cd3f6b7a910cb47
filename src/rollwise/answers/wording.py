"""Rewrites what people write around and instead of a number: `The answer is 5`, `seven`, `1.5 million`, `3:45 p.m.`."""

from __future__ import annotations

import re


def words_of(text: str) -> list[str]:
    """The words of a list with spaces between them."""
    return text.split()


_LEAD = re.compile(
    r"(?:(?:\\text\s*\{\s*)?(?:so\s+)?(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\s*:?|[:=])\s*(?:\}\s*)?|[=≈]\s*(?!=)|\\approx(?![a-zA-Z])\s*)(?=\S)",
    re.I,
)
_NUMBERS = words_of(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: number for number, word in enumerate(_NUMBERS)}
_WHOLE_TEXTS = [
    (re.compile(r"(?:the\s+set\s+of\s+)?(?:all\s+)?(?:reals|real\s+numbers)", re.I), r"\\mathbb{R}"),
    (re.compile(r"(?:the\s+)?empty\s+set", re.I), r"\\emptyset"),
    (re.compile(r"(?:positive\s+|\+)?infinity", re.I), r"\\infty"),
    (re.compile(r"(?:negative\s+|minus\s+|-)\s*infinity", re.I), r"-\\infty"),
    (re.compile(r"(\d+)\s+to\s+(\d+)"), r"\1:\2"),
]
_BASE_WORD = re.compile(r"_\s*\{\s*(?:\\(?:text|mathrm)\s*\{)?\s*([a-z]+)\s*\}?\s*\}")
_LARGE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LARGE_WORD = re.compile(rf"(?<=\d)\s*(\\text\s*\{{)?\s*({'|'.join(_LARGE)})(?![a-zA-Z])(\s*\}})?")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?\s*([ap])\.?\s?m\.?", re.I)
_MONTH = r"(?P<month>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATES = [
    re.compile(rf"{_MONTH}\s+{_DAY}(?:\s*,?\s+(?P<year>\d{{4}}))?"),
    re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:\s*,?\s+(?P<year>\d{{4}}))?"),
]
_APPROXIMATE = re.compile(r"(?P<exact>.+?)\s*\\approx(?![a-zA-Z])\s*-?\d[\d.,]*\s*(?P<unit>[^\d]*)")
_VARIABLE = re.compile(r"[a-zA-Z]\w*")


def in_figures(text: str, bare: str) -> str:
    r"""The text in figures and signs where words stand for them. `bare` is the text without \text{…}.

    `x \approx 3.1` is `x = 3.1`, and of `\sqrt{10} \approx 3.16` the exact value remains.
    """
    if bare.casefold() in _NUMBER_WORDS:
        return str(_NUMBER_WORDS[bare.casefold()])
    for pattern, replacement in _WHOLE_TEXTS:
        if (match := pattern.fullmatch(bare)) is not None:
            return match.expand(replacement)
    if (clock := _CLOCK.fullmatch(bare)) is not None:
        return rf"{clock[1]}:{clock[2] or '00'} \text{{{clock[3].lower()}m}}"
    for pattern in _DATES:
        if (date := pattern.fullmatch(bare)) is not None:
            return rf"\text{{{date['month'][:3]} {int(date['day'])}{' ' + date['year'] if date['year'] else ''}}}"
    text = _BASE_WORD.sub(lambda match: f"_{{{_NUMBER_WORDS.get(match[1], match[1])}}}", text)
    return _exact(_LARGE_WORD.sub(_power_of_ten, text))


def without_lead(text: str) -> str:
    """The text without `The answer is`, `=` or `≈` before it."""
    lead = _LEAD.match(text)
    return text[lead.end() :] if lead else text


def _power_of_ten(match: re.Match[str]) -> str:
    opening = match[1] if match[1] and not match[3] else ""
    return f"*10^{{{_LARGE[match[2]]}}} {opening}{match[3] if match[3] and not match[1] else ''}"


def _exact(text: str) -> str:
    match = _APPROXIMATE.fullmatch(text)
    if match is None:
        return text
    name, sign, value = match["exact"].rpartition("=")
    letters = re.sub(r"\\[a-zA-Z]+|(?<![a-zA-Z])e(?![a-zA-Z])", "", value)
    if not re.search(r"[a-zA-Z]", letters):
        return f"{name}{sign}{value} {match['unit']}"
    return text.replace(r"\approx", "=") if _VARIABLE.fullmatch(match["exact"]) else text
