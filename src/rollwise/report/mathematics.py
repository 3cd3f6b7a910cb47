r"""Mathematics in a text (`$…$`, `$$…$$`, `\(…\)`, `\[…\]`, `\boxed{…}`) as MathML, which browsers show by themselves.

Nothing of the text is trusted: only elements of presentation MathML with harmless attributes come through.
"""

from __future__ import annotations

import re
from functools import lru_cache
from xml.etree import ElementTree


def words_of(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


Piece = tuple[str, str]
"""("text", a text) or ("math", MathML)."""

_MATHML = "http://www.w3.org/1998/Math/MathML"
_ELEMENTS = frozenset(
    (
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "ms",
        "mtext",
        "mspace",
        "mfrac",
        "msqrt",
        "mroot",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mmultiscripts",
        "mprescripts",
        "mtable",
        "mtr",
        "mtd",
        "mstyle",
        "mpadded",
        "mphantom",
        "menclose",
        "mfenced",
        "none",
    )
)
_ATTRIBUTES = frozenset(
    (
        "display",
        "mathvariant",
        "stretchy",
        "fence",
        "separator",
        "lspace",
        "rspace",
        "accent",
        "accentunder",
        "notation",
        "columnalign",
        "rowspacing",
        "columnspacing",
        "scriptlevel",
        "displaystyle",
        "linethickness",
        "form",
        "minsize",
        "maxsize",
        "symmetric",
        "largeop",
        "movablelimits",
        "open",
        "close",
        "separators",
        "width",
        "height",
        "depth",
    )
)
_INLINE = re.compile(
    r"\$\$(?P<block>.+?)\$\$|\\\[(?P<display>.+?)\\\]|\\\((?P<inline>.+?)\\\)"
    r"|(?<![\\\w$])\$(?!\s)(?P<dollar>[^$\n]+?)(?<!\s)\$(?![\w$])|(?P<boxed>\\boxed\s*\{)",
    re.DOTALL,
)
_LONGEST = 2000
_SIGNS = str.maketrans({"×": r"\times ", "÷": r"\div ", "−": "-", "·": r"\cdot "})


def pieces(text: str) -> list[Piece]:
    """A text as pieces of plain text and of mathematics, in order.

    What cannot be read as mathematics stays text, and so does everything if `latex2mathml` is not installed.
    """
    found: list[Piece] = []
    start = 0
    while (match := _INLINE.search(text, start)) is not None:
        end, source = (
            match.end(),
            next((match[name] for name in ("block", "display", "inline", "dollar") if match[name]), ""),
        )
        if match["boxed"]:
            end = _closing(text, match.end())
            source = text[match.start() : end]
        block = match["block"] is not None or match["display"] is not None
        markup = _mathml(source, block) if end > match.start() else None
        if markup is None:
            end = match.end()
            found.append(("text", text[start:end]))
        else:
            found += [("text", text[start : match.start()]), ("math", markup)]
        start = end
    return _joined([*found, ("text", text[start:])])


def _closing(text: str, start: int) -> int:
    """The place behind the brace that closes the one before `start`; 0 if none does."""
    depth = 1
    for place in range(start, min(len(text), start + _LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place + 1
    return 0


def _joined(found: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for kind, content in found:
        if kind == "text" and joined and joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + content)
        elif content:
            joined.append((kind, content))
    return joined


@lru_cache(maxsize=4096)
def _mathml(source: str, block: bool) -> str | None:
    """TeX as clean MathML; None if it cannot be converted."""
    if not source.strip() or len(source) > _LONGEST:
        return None
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return None
    try:
        root = ElementTree.fromstring(convert(source.translate(_SIGNS), display="block" if block else "inline"))
        return ElementTree.tostring(_clean(root), encoding="unicode", short_empty_elements=False)
    except Exception:  # the converter raises many kinds of errors on text that is no TeX
        return None


def _clean(element: ElementTree.Element) -> ElementTree.Element:
    """The element with only elements and attributes of presentation MathML. Raises ValueError for any other element."""
    name = element.tag.removeprefix(f"{{{_MATHML}}}")
    if name not in _ELEMENTS:
        raise ValueError(f"<{name}> is no presentation MathML")
    clean = ElementTree.Element(name, {key: value for key, value in element.attrib.items() if key in _ATTRIBUTES})
    clean.text, clean.tail = element.text, element.tail
    clean.extend(_clean(child) for child in element)
    return clean
