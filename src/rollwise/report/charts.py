"""Line charts with intervals as an SVG picture, one panel for each group of lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollwise.report.svg import svg_circle, svg_document, svg_line, svg_text

_PANEL, _HEIGHT, _LEFT, _TOP, _BOTTOM, _ROW = 300, 220, 52, 46, 40, 16
_COLOURS = ("#184ea0", "#c2571a", "#2a9d55", "#8e44ad", "#555b66", "#b8860b", "#c0392b", "#16808a")


@dataclass(frozen=True)
class Point:
    """A value with the half width of its interval."""

    value: float
    half: float = 0.0


Panel = Mapping[str, Sequence[Point]]
"""Lines by name, each with a point for every mark along the axis."""


def lines_svg(panels: Mapping[str, Panel], marks: Sequence[str], across: str, title: str) -> str:
    """The panels side by side on one scale from 0 up, with evenly spaced marks and a legend of the lines' colours.

    `across` names the marks. Intervals are vertical strokes; infinite ones are left out.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    top = _nice(max((point.value for panel in panels.values() for line in panel.values() for point in line), default=0))
    width, height = _LEFT + _PANEL * len(panels) + 12, _TOP + _HEIGHT + _BOTTOM + _ROW * (len(names) + 1)
    parts = [svg_text(_LEFT, 18, title, size=13)]
    for index, (name, panel) in enumerate(panels.items()):
        left = _LEFT + index * _PANEL
        parts += [_frame(left, name, marks, across, top)]
        parts += [_line(left, line, len(marks), top, colours[one], one) for one, line in panel.items()]
    for index, name in enumerate(names):
        y = _TOP + _HEIGHT + _BOTTOM + _ROW * (index + 1)
        parts += [f'<rect x="{_LEFT}" y="{y - 8}" width="14" height="4" fill="{colours[name]}"/>']
        parts += [svg_text(_LEFT + 20, y - 2, name)]
    return svg_document(width, height, parts)


def _nice(largest: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    if not 0 < largest < math.inf:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next(step * unit for step in (1, 2, 5, 10) if largest <= step * unit)


def _x(left: float, place: int, count: int) -> float:
    return left + (_PANEL - 40) * (place + 0.5) / max(1, count)


def _y(value: float, top: float) -> float:
    return _TOP + _HEIGHT * (1 - min(max(value, 0.0), top) / top)


def _frame(left: float, name: str, marks: Sequence[str], across: str, top: float) -> str:
    right, base = left + _PANEL - 40, _TOP + _HEIGHT
    parts = [svg_text(left, _TOP - 10, name, colour="#222")]
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        parts.append(svg_line(left, y, right, y, "#dde0e6"))
        parts.append(svg_text(left - 6, y + 4, f"{value:g}", "end"))
    parts += [svg_text(_x(left, place, len(marks)), base + 16, mark, "middle") for place, mark in enumerate(marks)]
    return "\n".join([*parts, svg_text((left + right) / 2, base + 32, across, "middle")])


def _line(left: float, line: Sequence[Point], count: int, top: float, colour: str, name: str) -> str:
    places = [(_x(left, place, count), point) for place, point in enumerate(line)]
    joined = " ".join(f"{x:.1f},{_y(point.value, top):.1f}" for x, point in places)
    parts = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, point in places:
        tip = f"{name}: {point.value:.2f}" + (f" ± {point.half:.2f}" if math.isfinite(point.half) else "")
        parts.append(svg_circle(x, _y(point.value, top), 3, colour, tip))
        if math.isfinite(point.half):
            low, high = _y(point.value - point.half, top), _y(point.value + point.half, top)
            parts.append(svg_line(x, low, x, high, colour))
    return "\n".join(parts)
