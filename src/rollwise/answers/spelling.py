"""Rewrites the many spellings of an answer (markdown, LaTeX, Unicode) into one plain spelling."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from rollwise.answers.wording import in_figures, without_lead, words_of

SHORT_WORDS = words_of("am an as at be by do go he if in is it me my no of oh on or so to up us we")
"""Words of two letters; other two small letters are a product of variables."""

_GREEK = {
    chr(code): "\\" + unicodedata.name(chr(code)).split()[-1].lower() + " "
    for code in range(0x03B1, 0x03CA)
    if code != 0x03C2
}
_SIGNS = {
    **_GREEK,
    **dict.fromkeys("−–—‐‑", "-"),
    **dict.fromkeys("×·⋅∙∗", "*"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\ufeff\u2060", ""),
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "∞": r"\infty ",
    "√": r"\sqrt ",
    "∛": r"\sqrt[3] ",
    "∜": r"\sqrt[4] ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "⩽": r"\le ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "∅": r"\emptyset ",
    "°": r"^\circ ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∉": r"\notin ",
    "≈": r"\approx ",
    "≅": r"\cong ",
    "≡": r"\equiv ",
    "∶": ":",
    "∣": "|",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⋯": r"\ldots ",
    "≪": r"\ll ",
    "≫": r"\gg ",
    "“": '"',
    "”": '"',
    "±": r"\pm ",
    "∓": r"\mp ",
    "…": r"\ldots ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    **{sign: rf"\mathbb{{{letter}}}" for sign, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
    "′": "'",
    "’": "'",
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ⁽⁾", "0123456789+-n()")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ⁽⁾]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:displaystyle|textstyle|limits|nolimits|mathstrut|strut)(?![a-zA-Z])", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", " "),
        (r"(?<=\d)(?:,\s*\\!|\{,\}|(?<!\\)\\[,!;: ]|~|\s)+(?=\d{3}(?!\d))", "\N{THIN SPACE}"),
        (r"(?<!\\)\\[,;:! ]|\\q?quad(?![a-zA-Z])|~|\\(?:thinspace|enspace|hspace\{[^{}]*\})", " "),
        (r"(?<!\\)\\(?=[\d-])", " "),
        (r"\\(?:cdot|times|ast)(?![a-zA-Z])", "*"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\leq(?:slant)?(?![a-zA-Z])|<=", r"\\le "),
        (r"\\geq(?:slant)?(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\neq(?![a-zA-Z])|!=", r"\\ne "),
        (r"\\dots[a-z]?(?![a-zA-Z])|\\cdots(?![a-zA-Z])|\.\.\.", r"\\ldots "),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\var(?=epsilon|theta|phi|rho|sigma|kappa|pi)", r"\\"),
        (r"\\varnothing(?![a-zA-Z])|\\\{\s*\\\}|\{\\(?:emptyset|varnothing)\}", r"\\emptyset "),
        (r"\\(?:mathrm|text|operatorname)\s*\{\s*(pi|sin|cos|tan|cot|sec|csc|ln|log|exp)\s*\}", r"\\\1 "),
        (r"\^\s*\{?\s*\\circ(?![a-zA-Z])\s*\}?|\\degree(?![a-zA-Z])", r" \\text{degrees} "),
        (r"\\%|(?<!\\)%", r" \\text{percent} "),
        (r"(?:,\s*)?\\text\s*\{\s*,?\s*and\s*\}|,?\s+\band\b\s+", r" \\both "),
        (r"(?:,\s*)?\\text\s*\{\s*,?\s*or\s*\}|,?\s+\bor\b\s+", r" \\either "),
        (r"\*\*", "^"),
        (r"(?<=\d)\s*\\(?:text|mathrm)\s*\{\s*[eE]\s*\}\s*(?=\d)|(?<=\d)\s*\\text\s*\{\s*[eE]\s*\}\s*(?=[+-]\d)", "e"),
        (r"(?<![\w.^_])(-?\d[\d.]*)\s*(?:[xX]|\\(?:text|mathrm)\s*\{\s*[xX]\s*\})\s*(?=10\s*\^)", r"\1*"),
        (r"\\[lr]?vert(?![a-zA-Z])|\\mid(?![a-zA-Z])", "|"),
        (r"\\colon(?![a-zA-Z])", ":"),
        (r"\\lbrack(?![a-zA-Z])", "["),
        (r"\\rbrack(?![a-zA-Z])", "]"),
        (r"\\lparen(?![a-zA-Z])", "("),
        (r"\\rparen(?![a-zA-Z])", ")"),
        (r"\{\s*([^{}]*?)\s*\\over(?![a-zA-Z])\s*([^{}]*?)\s*\}", r"\\frac{\1}{\2}"),
        (r"\{\s*([^{}]*?)\s*\\choose(?![a-zA-Z])\s*([^{}]*?)\s*\}", r"\\binom{\1}{\2}"),
        (r"^(?:\{\})?[\^_]\{?(\d+)\}?\s*C\s*_\{?(\d+)\}?$", r"\\binom{\1}{\2}"),
        (r"(?<=[)\]])\s*U\s*(?=[(\[])", r" \\cup "),
        (r"\\underline\s*\{([^{}]*)\}|\\textcolor\s*\{\w+\}\s*\{([^{}]*)\}|\\color\s*\{\w+\}", r"\1\2"),
        (r"m\s*(?=\\angle(?![a-zA-Z]))", ""),
        (r"\(\s*(\d+)\s*\)\s*_", r"\1_"),
        (r"(?<=[\w])\s*\(?\s*\bbase[- ](\d+)\s*\)?$", r"_{\1}"),
        (r"\(\s*\\?mod\s*(\d+)\s*\)|\\[bp]?mod\s*(?:\{\s*(\d+)\s*\}|(\d+))", r" mod \1\2\3 "),
    ]
]
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\s?(?!\s)\d{3})+)(?![\d,])")
_SPACED = re.compile(r"(?<![\d.\N{THIN SPACE}])(\d{1,3}(?:,?\N{THIN SPACE}\d{3})+)(?!\d)")
_REPEATING = re.compile(
    r"(?<![\d.])(\d*)\.(\d*)\s*\\(?:overline|bar|dot)\s*(?:\{\s*(\d+)\s*\}|(\d))(?!\s*(?:\d|\\(?:overline|bar|dot)))"
)
_EXPONENTS_IN_TEXT = re.compile(r"\\(?:text|textrm|mathrm|operatorname|mbox)\s*\{(?:[^{}]|\^\{-?\d\})*\}")
_PERIOD = re.compile(r"(?<![\w.,)}^_])(\d*)\.(\d*)\((\d+)\)()(?=\s*(?:$|[,;)\]}]|\\text|[a-z]|\\%))")
"""A repeating decimal such as 0.1(6): no product continues after its bracket."""
_SPANS = re.compile(r"([\[\]])([^\[\](){}]*,[^\[\](){}]*)([\[\]])")
_MIXED = re.compile(
    r"(?<![\d.^_{}\w/])(\d+)(?:\s+(\d+)\s*/\s*(\d+)(?![\d.])"
    r"|\s*\\frac\s*(?:\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d)))"
)
_FENCES = [
    ("```", "```"),
    ("`", "`"),
    ('"', '"'),
    ("''", "''"),
    ("**", "**"),
    ("__", "__"),
    ("$$", "$$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
]
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_ONE_ARGUMENT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mbox|operatorname|rm|bf)\*?\s*\{([^{}]*)\}"
)
_DOLLARS = re.compile(r"^\s*(?:US|HK|AU|CA|NZ|SG|NT|[ACS])?\$(?=\s*-?[\d.])([^$]*)$")


def tidy(text: str) -> str:
    """The text in one plain spelling: no markdown, no math delimiters, no Unicode signs, uniform LaTeX commands."""
    text = without_lead(_without_fences(_without_unicode(text)))
    text = _DOLLARS.sub(r"\\text{dollars} \1", text.replace(r"\$", "$"))
    text = text.replace("$", " ").replace("&nbsp;", " ")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _EXPONENTS_IN_TEXT.sub(lambda match: re.sub(r"\^\{(-?\d)\}", r"^\1", match.group()), text)
    text = _SPACED.sub(lambda match: re.sub(r"\D", "", match.group()), text).replace("\N{THIN SPACE}", " ")
    if not re.search(r"[(\[{]", re.sub(r"\\[a-zA-Z]+\s*\{[^{}]*\}", "", text)):
        text = _THOUSANDS.sub(lambda match: match.group(1) + re.sub(r"\D", "", match.group(2)), text)
    if not re.search(r"[<>]|\\[lg]e(?![a-zA-Z])", text):  # only between inequalities is `and` another thing than `or`
        text = re.sub(r",\s*,", ",", re.sub(r"\\(?:both|either)(?![a-zA-Z])", ",", text))
    text = in_figures(text, " ".join(unwrapped(text).split()))
    text = _MIXED.sub(_mixed, _PERIOD.sub(_repeating, _REPEATING.sub(_repeating, text)))
    return " ".join(re.sub(r"[\s.]+$", "", _SPANS.sub(_open_ends, text)).split())


def text_key(text: str) -> str:
    """What two answers that are compared as text have to share: a tidy text without fonts, spaces and letter case.

    Letter case only goes from texts that are words; `A` and `a` may be different variables.
    """
    bare = unwrapped(text)
    words = re.fullmatch(r"[^\W\d_]{2,}(?:[\s'.,-]+[^\W\d_]+)*", bare.strip())
    bare = re.sub(r"\{\s*(\w)\s*\}", r"\1", re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", bare))
    return bare.casefold() if words and (len(bare) > 2 or bare.lower() in SHORT_WORDS) else bare


def unwrapped(text: str) -> str:
    r"""The text with the content of \text{…} and its like in place of the commands."""
    previous = None
    while previous != text:
        previous, text = text, _ONE_ARGUMENT.sub(r" \1 ", text)
    return text


def _without_unicode(text: str) -> str:
    text = _RAISED.sub(lambda run: "^{" + run.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _LOWERED.sub(lambda run: "_{" + run.group().translate(_SUBSCRIPTS) + "}", text)
    parts: list[str] = []
    for character in text:
        if character in _SIGNS:
            parts.append(_SIGNS[character])
        elif unicodedata.decomposition(character).startswith("<fraction>"):
            fraction = unicodedata.normalize("NFKC", character).replace("⁄", "/")
            parts.append(f" {fraction} " if "".join(parts).rstrip()[-1:].isdigit() else f"({fraction})")
        elif character.isdecimal():
            parts.append(str(int(character)))
        else:
            parts.append(unicodedata.normalize("NFKC", character) if ord(character) > 127 else character)
    return "".join(parts)


def _without_fences(text: str) -> str:
    """The text without the delimiters of markdown, LaTeX and boxes that stand around all of it."""
    previous = None
    while previous != text:
        previous, text = text, text.strip()
        text = re.sub(r"(?<=[\w)}*`$\]])\.$", "", text)
        boxed = _BOXED.fullmatch(text)
        if boxed:
            text = boxed.group(1)
        for opening, closing in [*_FENCES, ("$", "$"), ("*", "*")]:
            longer = len(text) > len(opening) + len(closing)
            if longer and text.startswith(opening) and text.endswith(closing):
                inside = text[len(opening) : -len(closing)]
                if opening not in inside:
                    text = inside
                    break
    return text


def _repeating(match: re.Match[str]) -> str:
    r"""A repeating decimal as a fraction: 0.1\overline{6} is (16 − 1) / 90."""
    whole, fixed = match.group(1) or "0", match.group(2)
    period = match.group(3) or match.group(4)
    value = Fraction(int(whole + fixed + period) - int(whole + fixed), (10 ** len(period) - 1) * 10 ** len(fixed))
    return f" ({value.numerator}/{value.denominator}) "


def _open_ends(match: re.Match[str]) -> str:
    """An interval in the notation ]a, b[ with round brackets for its open ends."""
    left, inside, right = match.groups()
    return f"{'(' if left == ']' else left}{inside}{')' if right == '[' else right}"


def _mixed(match: re.Match[str]) -> str:
    """A mixed number as a sum; a fraction of 1 or more is left as it stands."""
    whole, *parts = match.groups()
    top, bottom = [part for part in parts if part is not None]
    if int(top) >= int(bottom):
        return match.group()
    return f"({int(whole) * int(bottom) + int(top)}/{bottom})"
