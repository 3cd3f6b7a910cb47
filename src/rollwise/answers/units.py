r"""Splits the unit off an answer: `12 \text{ cm}` is 12 with the unit cm."""

from __future__ import annotations

import re

from rollwise.answers.spelling import unwrapped
from rollwise.answers.wording import words_of

_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_ATOM = rf"\\(?:text|textrm|textbf|mathrm|mbox|operatorname|rm)\s*\{{[A-Za-z%$°/.,^0-9 ()-]*\}}{_POWER}"
_IN_TEXT = re.compile(
    rf"(?P<value>.*[^\\\s^_*/(,=<>+-])\s*(?P<unit>{_ATOM}(?:\s*[*/]?\s*{_ATOM})*(?:\s*[CFK])?)", re.DOTALL
)
_WORD = rf"[A-Za-z]+{_POWER}"
_PLAIN = re.compile(
    rf"(?P<value>.*(?:[\d)}}\]]|\\pi(?=\s+[A-Za-z]{{2}})))(?P<gap>\s*)(?P<unit>{_WORD}(?:(?:\s*[*/]\s*|\s+){_WORD})*)",
    re.DOTALL,
)
_LEADING = re.compile(
    r"(?P<sign>-?)\s*\\text\{(?P<unit>dollars|[A-Za-z]{2,3}|[£€])\}\s*(?P<value>-?[\d.(\\].*)", re.DOTALL
)
_OF_ANGLE = re.compile(r"(?<!arc)(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_CURRENCIES = {
    **{"£": "pounds", "€": "euros", "¥": "yen", "₹": "rupees", "₩": "won", "円": "yen", "元": "yuan"},
    **{"USD": "dollars", "GBP": "pounds", "EUR": "euros", "JPY": "yen", "INR": "rupees", "KRW": "won", "CNY": "yuan"},
    **{"Rs": "rupees", "Rs.": "rupees"},
}
_BEFORE = re.compile(rf"(?P<sign>-?)\s*(?P<unit>{'|'.join(map(re.escape, _CURRENCIES))})\s*(?P<value>\d.*)")
_AFTER = re.compile(
    r"(?P<value>-?\d[\d.,]*)\s*(?:\\text\{\s*)?(?P<unit>[£€¥₹₩]|[\u3040-\u30ff\u4e00-\u9fff]{1,4})(?:\s*\})?"
)
_CHANGING = frozenset("一二三四五六七八九十百千万萬億亿兆半割分倍点點第以未超余餘不足約约前後后多少強弱")
"""Chinese and Japanese characters that change the number before them, or may; other ones after a number are a unit."""

_SAME_UNITS = {
    "meter": "m metre meters metres",
    "centimeter": "cm centimetre",
    "millimeter": "mm millimetre",
    "kilometer": "km kilometre kms",
    "decimeter": "dm decimetre",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd yds",
    "mile": "mi",
    "gram": "g gm grams gramme",
    "kilogram": "kg kgs kilo",
    "milligram": "mg",
    "pound": "lb lbs",
    "ounce": "oz",
    "liter": "l L litre",
    "milliliter": "ml mL millilitre",
    "second": "s sec secs",
    "millisecond": "ms",
    "minute": "min mins",
    "hour": "h hr hrs",
    "day": "d",
    "degree": "deg degs",
    "radian": "rad rads",
    "percent": "% pct percentage",
    "dollar": "usd $",
    "euro": "eur",
    "yen": "jpy",
    "yuan": "cny rmb",
    "rupee": "inr rs",
    "cent": "ct cts",
    "mile/hour": "mph",
    "kilometer/hour": "kph kmh",
    "newton": "N",
    "joule": "J",
    "watt": "W",
    "volt": "V",
    "kilojoule": "kJ",
    "kilowatt": "kW",
    "hertz": "Hz",
    "kilohertz": "kHz",
    "pascal": "Pa",
    "kilopascal": "kPa",
    "mole": "mol",
    "cup": "cups",
    "ton": "tons",
    "tablespoon": "tbsp",
    "teaspoon": "tsp",
    "gallon": "gal",
    "quart": "qt",
    "pint": "pt",
}
_CANONICAL = {spelling: unit for unit, spellings in _SAME_UNITS.items() for spelling in [unit, *spellings.split()]}
_SPOKEN = {"sq": 2, "square": 2, "squared": 2, "cubic": 3, "cubed": 3, "cu": 3}
_NO_UNITS = set(
    words_of(
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt abs floor ceil factorial gcd lcm "
        "max min pi infty infinity inf oo mod modulo to the of remainder base is are am pm root "
        "alpha beta gamma delta epsilon theta lambda sigma omega "
        "more less fewer greater smaller larger higher lower bigger longer shorter older younger taller faster slower "
        "heavier lighter earlier later ago ahead behind before after extra left remaining remains each apiece total "
        "altogether together times fold plus minus divided multiplied approximately about roughly nearly almost "
        "exactly only over under above below positive negative possible impossible undefined unknown wrong "
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion "
        "trillion dozen dozens pairs half halves third thirds fourth fourths quarter quarters fifth fifths sixth "
        "sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths "
        "january february march april may june july august september october november december"
    )
) - {"sec", "min"}
"""Words that are no units after a number, because they change its meaning."""

_NO_UNIT_TEXT = set(
    words_of(
        "is are was if when where for and or not no to from with remainder mod even odd prime base "
        "such that times than "
        "million billion trillion thousand hundred dozen pi e only"
    )
) | (_NO_UNITS - {"am", "pm", "max", "sec", "min", "abs"})


def split_unit(tidied: str) -> tuple[str, str | None]:
    """A tidied text as its value and its unit in one spelling; the whole text and None if it has no unit."""
    leading = _LEADING.fullmatch(tidied)
    if leading:
        value, inner = split_unit(leading["sign"] + leading["value"])
        unit = _canonical(leading["unit"])
        return (value, unit) if inner in (None, unit) else (tidied, None)
    before = _BEFORE.fullmatch(tidied)
    if before:
        return before["sign"] + before["value"], _canonical(_CURRENCIES[before["unit"]])
    after = _AFTER.fullmatch(tidied)
    if after and not _CHANGING & {*after["unit"]}:
        unit = after["unit"]
        return after["value"], _canonical(_CURRENCIES[unit]) if unit in _CURRENCIES else unit
    match = _IN_TEXT.fullmatch(tidied)
    if match and _is_unit_text(match["unit"]) and _is_value(match["value"]):
        unit = _canonical(match["unit"])
        if unit.startswith("degree") and _OF_ANGLE.search(match["value"]):
            return tidied, None
        return re.sub(rf"\s*{re.escape(match['unit'])}\s*(?=[,;])", "", match["value"]), unit
    match = _PLAIN.fullmatch(tidied)
    if match and _are_unit_words(match["unit"], bool(match["gap"])) and _is_value(match["value"]):
        return match["value"], _canonical(match["unit"])
    return tidied, None


def _is_value(text: str) -> bool:
    return bool(re.search(r"\d|\\pi|\\infty|(?<![A-Za-z\\])[a-z](?![A-Za-z])", text)) and not text.endswith("^")


def _is_unit_text(unit: str) -> bool:
    if re.fullmatch(r"\\(?:mathrm|rm|operatorname)\s*\{\s*[eid]\s*\}.*", unit):
        return False
    if set(re.findall(r"[a-z]+", unwrapped(unit).lower())) & _NO_UNIT_TEXT:
        return False
    return bool(re.search(r"[A-Za-z%$°]", unwrapped(unit))) and not re.search(r"\(\s*[A-Z]\s*\)", unit)


def _are_unit_words(unit: str, gap: bool) -> bool:
    """Whether plain words after a number are a unit: known ones, and long words after a space."""
    words = re.findall(r"[A-Za-z]+", unit)
    if any(word.lower() in _NO_UNITS for word in words) or all(word in _SPOKEN for word in words):
        return False
    known = [
        word == "per" or word in _CANONICAL or word.lower().removesuffix("s") in _CANONICAL or word in _SPOKEN
        for word in words
    ]
    if len(words) == 1 and len(words[0]) == 1:
        return gap and words[0] in "mgsLlh"
    long = [len(word) > 3 for word in words]
    return all(known) or (
        gap and long[0] and all(is_known or len(word) > 1 for is_known, word in zip(known, words, strict=True))
    )


def _canonical(unit: str) -> str:
    """A unit in one spelling: singular, without abbreviations, powers as ^2."""
    text = re.sub(r"[{}.,()]", " ", unwrapped(unit)).replace("%", " percent ").replace("$", " dollar ")
    text = re.sub(r"\s*\bper\b\s*", "/", re.sub(r"\s*\^\s*", "^", text))
    parts: list[str] = []
    power = 1
    for word in re.findall(r"[A-Za-z°]+|\^-?\d+|[/*]", text):
        if word.lower() in _SPOKEN:
            power = _SPOKEN[word.lower()]
            if word.lower().endswith("d") and parts:
                parts[-1] += f"^{power}"
                power = 1
        elif word.startswith("^") and parts:
            parts[-1] += word
        elif word in "/*":
            parts.append(word)
        else:
            parts.append(_singular(word) + (f"^{power}" if power > 1 else ""))
            power = 1
    joined = re.sub(r" ?([/*]) ?", r"\1", " ".join(parts))
    return re.sub(
        r"[ *]([^ */^]+)\^-(\d+)", lambda match: f"/{match[1]}{'' if match[2] == '1' else '^' + match[2]}", joined
    )


def _singular(word: str) -> str:
    if word in _CANONICAL:
        return _CANONICAL[word]
    lowered = word.lower() if len(word) > 1 else word
    for candidate in (lowered, lowered.removesuffix("s"), lowered.removesuffix("es")):
        if candidate in _CANONICAL:
            return _CANONICAL[candidate]
    return lowered.removesuffix("s") if len(lowered) > 3 else lowered
