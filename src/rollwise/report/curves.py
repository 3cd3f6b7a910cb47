"""Panels of curves with intervals, as SVG: one panel for a page, or several with a legend for a file.

Colours are those of Okabe and Ito, which colour-blind people can tell apart. Every curve has its own marker too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from rollwise.report.svg import svg_document, svg_line, svg_text

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 34, 44
_INK, _RULE = "#333", "#dde0e6"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_MARKERS = ("circle", "square", "triangle", "diamond", "cross", "down", "plus")
_FINE = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
_COLUMNS, _KEY_ROW, _KEY_WIDTH = 3, 22, 7.2

Scale = Literal["even", "log"]


@dataclass(frozen=True)
class Point:
    """A point of a curve, with its interval if it has one, and the text that tells its values."""

    x: float
    y: float
    low: float | None
    high: float | None
    tip: str


@dataclass(frozen=True)
class Panel:
    """Curves by name over one pair of axes. Values along y are percentages.

    On a "log" scale x is positive; on an "even" scale x is the index of a mark. `marks` are the places along x that get
    a label, with the labels. `bounds` are the ends of the y axis.
    """

    title: str
    across: str
    up: str
    curves: Mapping[str, Sequence[Point]]
    scale: Scale
    marks: Sequence[tuple[float, str]]
    bounds: tuple[float, float]


@dataclass(frozen=True)
class Look:
    """The colour and the marker of a curve."""

    colour: str
    marker: str
    dashes: str = ""


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name. After seven names the colours repeat with other markers and dashed lines."""
    looks = {}
    for index, name in enumerate(dict.fromkeys(names)):
        turn, place = divmod(index, len(_COLOURS))
        looks[name] = Look(_COLOURS[place], _MARKERS[(place + turn) % len(_MARKERS)], "6 3" if turn else "")
    return looks


def bounds_of(panels: Sequence[Mapping[str, Sequence[Point]]]) -> tuple[float, float]:
    """The ends of a y axis in percent, whole steps in [0, 100] that hold all points and intervals."""
    values = [
        value
        for curves in panels
        for points in curves.values()
        for point in points
        for value in (point.y, point.low, point.high)
        if value is not None
    ]
    low, high = min(values, default=0.0), max(values, default=100.0)
    step = _step(low, high)
    bottom, top = step * math.floor(low / step), step * math.ceil(high / step)
    return (bottom, top) if top > bottom else (max(0, top - step), max(step, top))


def _step(low: float, high: float) -> int:
    """The distance of two labels along y."""
    return next(step for step in (1, 2, 5, 10, 20) if high - low <= 6 * step or step == 20)


def log_marks(places: Sequence[float]) -> list[tuple[float, str]]:
    """Marks at round multiples of powers of ten within the places, as many as seven if that is possible."""
    if not places:
        return []
    low, high = min(places), max(places)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (_FINE, (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        marks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(marks) <= 7:
            break
    return [(mark, short_number(mark)) for mark in marks or [low]]


def short_number(value: float) -> str:
    """A number in few characters."""
    if 0.01 <= value < 10_000:
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    mantissa, power = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(power)}"


def panel_svg(panel: Panel, looks: Mapping[str, Look]) -> str:
    """One panel as an SVG element for an HTML page. Its points can be reached by keyboard and carry their values."""
    label = escape(f"{panel.title}: {panel.up} against {panel.across}", quote=True)
    opening = f'<svg class="panel" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{label}">'
    return "\n".join([opening, *_shapes(panel, looks, reachable=True), "</svg>"])


def figure_svg(title: str, panels: Sequence[Panel], looks: Mapping[str, Look]) -> str:
    """Panels side by side, up to three in a row, under a title and a legend, as an SVG document."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    columns = min(len(panels), _COLUMNS)
    width = columns * WIDTH
    keys, top = _legend(names, looks, width)
    parts = [svg_text(12, 22, title, colour=_INK, size=15), *keys]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        parts.append(f'<g transform="translate({column * WIDTH} {top + row * HEIGHT})">')
        parts += [*_shapes(panel, looks, reachable=False), "</g>"]
    return svg_document(width, top + math.ceil(len(panels) / columns) * HEIGHT, parts)


def key_svg(look: Look) -> str:
    """The sample of a curve that stands in a legend, as an SVG element for an HTML page."""
    return f'<svg class="key" viewBox="0 0 28 14" width="28" height="14" aria-hidden="true">{_key(look, 0, 7)}</svg>'


def _legend(names: Sequence[str], looks: Mapping[str, Look], width: float) -> tuple[list[str], float]:
    """The shapes of a legend, and where the room below it begins."""
    parts, x, y = [], 12.0, 44.0
    for name in names:
        shown = _shortened(name, int((width - 60) / _KEY_WIDTH))
        wide = 44 + _KEY_WIDTH * len(shown)
        if x > 12 and x + wide > width:
            x, y = 12.0, y + _KEY_ROW
        parts += [_key(looks[name], x, y - 4), svg_text(x + 34, y, shown, colour=_INK, size=12)]
        x += wide
    return parts, y + 12


def _key(look: Look, x: float, y: float) -> str:
    return svg_line(x, y, x + 28, y, look.colour, look.dashes) + _marker(look, x + 14, y)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _shapes(panel: Panel, looks: Mapping[str, Look], reachable: bool) -> list[str]:
    axes = _Axes(panel)
    title = f"{panel.title}, {panel.up}" if panel.title else panel.up
    parts = [svg_text(_LEFT, 16, title, colour=_INK, size=13), *axes.shapes()]
    middle = (len(panel.curves) - 1) / 2
    for index, (name, points) in enumerate(panel.curves.items()):
        moved = 4 * (index - middle) if any(point.low is not None for point in points) else 0.0
        parts += axes.curve(name, points, looks[name], moved, reachable)
    return parts


class _Axes:
    """Places values of a panel on the page."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        places = [place for place, _ in panel.marks]
        places += [point.x for points in panel.curves.values() for point in points]
        scaled = [self._scaled(place) for place in places] or [0.0]
        reach = (max(scaled) - min(scaled)) * 0.06 or 0.5
        self.first, self.last = min(scaled) - reach, max(scaled) + reach

    def _scaled(self, x: float) -> float:
        return math.log(x) if self.panel.scale == "log" else x

    def x(self, value: float) -> float:
        part = (self._scaled(value) - self.first) / (self.last - self.first)
        return _LEFT + part * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.panel.bounds
        part = (min(max(value, low), high) - low) / (high - low)
        return HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)

    def shapes(self) -> list[str]:
        """The grid, the labels of the marks and the names of the axes."""
        low, high = self.panel.bounds
        step = _step(low, high)
        parts = []
        for value in range(int(low), int(high) + 1, step):
            y = self.y(value)
            parts.append(svg_line(_LEFT, y, WIDTH - _RIGHT, y, _RULE))
            parts.append(svg_text(_LEFT - 6, y + 4, f"{value}", "end", _INK, 12))
        base = HEIGHT - _BOTTOM
        for place, label in self.panel.marks:
            parts.append(svg_text(self.x(place), base + 17, label, "middle", _INK, 12))
        parts.append(svg_text((_LEFT + WIDTH - _RIGHT) / 2, base + 36, self.panel.across, "middle", _INK, 12))
        return parts

    def curve(self, name: str, points: Sequence[Point], look: Look, moved: float, reachable: bool) -> list[str]:
        """A line through the points, their intervals and markers; `moved` keeps intervals of other curves apart."""
        places = [(self.x(point.x) + moved, self.y(point.y)) for point in points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashed = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
        line = f'<polyline points="{joined}" fill="none" stroke="{look.colour}" stroke-width="2"{dashed}/>'
        parts = [f'<g class="curve" data-curve="{escape(name, quote=True)}">', line]
        for (x, y), point in zip(places, points, strict=True):
            told = escape(f"{name}: {point.tip}", quote=True)
            opening = f'<g class="point" tabindex="0" role="img" aria-label="{told}">' if reachable else "<g>"
            parts += [opening, f"<title>{told}</title>"]
            if point.low is not None and point.high is not None:
                parts.append(svg_line(x, self.y(point.low), x, self.y(point.high), look.colour))
            parts += [_marker(look, x, y), "</g>"]
        return [*parts, "</g>"]


def _marker(look: Look, x: float, y: float) -> str:
    """A marker of about 9 pixels at (x, y)."""
    if look.marker == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{look.colour}"/>'
    shapes: dict[str, list[tuple[float, float]]] = {
        "square": [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        "triangle": [(0, -5.5), (5, 4), (-5, 4)],
        "down": [(0, 5.5), (5, -4), (-5, -4)],
        "diamond": [(0, -6), (5, 0), (0, 6), (-5, 0)],
    }
    if look.marker in shapes:
        points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[look.marker])
        return f'<polygon points="{points}" fill="{look.colour}"/>'
    arms = [(5, 0), (0, 5)] if look.marker == "plus" else [(4, 4), (4, -4)]
    strokes = " ".join(f"M{x - dx:.1f},{y - dy:.1f}L{x + dx:.1f},{y + dy:.1f}" for dx, dy in arms)
    return f'<path d="{strokes}" stroke="{look.colour}" stroke-width="3" fill="none"/>'
