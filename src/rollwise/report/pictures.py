"""A search as an SVG picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape

from rollwise.report.flow import Band, Flow
from rollwise.report.svg import svg_document, svg_text

_WIDTH, _HEIGHT, _MARGIN, _BAR, _MOST = 920, 420, 56, 16, 9
_LETTER = 5.8  # the width of a letter of the names

_OTHER = object()


@dataclass
class _Box:
    band: Band
    x: float
    y: float
    height: float
    room: int
    taken_in: float = 0.0
    taken_out: float = 0.0


def search_svg(searched: Flow, title: str) -> str:
    """A search as an SVG picture: a column for each step, a bar for each direction, ribbons for the rollouts between.

    A bar's height is its number of paths, and its shade their mean reward; right finished paths are green. The smallest
    directions of a step share one bar.
    """
    columns = [_merge_small(column) for column in searched.columns]
    boxes = _lay_out(columns)
    parts = [
        svg_text(_MARGIN, 24, title, colour="#222", size=15),
        svg_text(_WIDTH - 12, 38, "height: paths · blue: reward · green: right", "end", "#666"),
    ]
    ends = [
        (boxes[index - 1, source], boxes[index, target], count)
        for (index, source, target), count in _merged_links(searched, columns).items()
    ]
    parts += [_ribbon(*link) for link in sorted(ends, key=lambda link: (link[0].x, link[0].y, link[1].y))]
    parts += [_bar(box) for box in boxes.values()]
    for index, column in enumerate(columns):
        x = boxes[index, column[0].label].x + _BAR / 2
        parts.append(svg_text(x, _HEIGHT - 12, f"step {index + 1}", "middle", "#666"))
    return svg_document(_WIDTH, _HEIGHT, parts)


def _merged_links(searched: Flow, columns: Sequence[Sequence[Band]]) -> Counter[tuple[int, Hashable, Hashable]]:
    """The links, with those of directions that share a bar added up."""
    drawn = [{band.label for band in column} for column in columns]
    merged: Counter[tuple[int, Hashable, Hashable]] = Counter()
    for (index, source, target), count in searched.links.items():
        start = source if source in drawn[index - 1] else _OTHER
        merged[index, start, target if target in drawn[index] else _OTHER] += count
    return merged


def _merge_small(column: Sequence[Band]) -> list[Band]:
    if len(column) <= _MOST:
        return list(column)
    ranked = sorted(column, key=lambda band: (band.label is not None, -band.paths))
    kept, rest = ranked[: _MOST - 1], ranked[_MOST - 1 :]
    paths = sum(band.paths for band in rest)
    other = Band(
        round=column[0].round,
        label=_OTHER,
        name=f"{len(rest)} smaller directions",
        paths=paths,
        finished=sum(band.finished for band in rest),
        right=sum(band.right for band in rest),
        reward=sum(band.reward * band.paths for band in rest) / paths,
        share=sum(band.share for band in rest),
        unique=None,
        given=sum(band.given for band in rest),
    )
    return [*sorted(kept, key=lambda band: (band.label is None, -band.paths)), other]


def _lay_out(columns: Sequence[Sequence[Band]]) -> dict[tuple[int, Hashable], _Box]:
    top, bottom, gap = 44.0, _HEIGHT - 34.0, 7.0
    most = max(sum(band.paths for band in column) for column in columns)
    unit = (bottom - top - gap * (_MOST - 1)) / most
    step = (_WIDTH - 2 * _MARGIN - 60) / max(1, len(columns) - 1)
    room = int((step - _BAR - 20) / _LETTER)  # up to the next bar's number
    boxes = {}
    for index, column in enumerate(columns):
        y = top
        for band in column:
            boxes[index, band.label] = _Box(band, _MARGIN + index * step, y, band.paths * unit, room)
            y += band.paths * unit + gap
    return boxes


def _ribbon(source: _Box, target: _Box, count: int) -> str:
    thick = target.height * count / target.band.paths
    going = source.band.given or source.band.paths
    thin = source.height * count / max(going, count)
    y0, y1 = source.y + source.taken_out, target.y + target.taken_in
    source.taken_out += thin
    target.taken_in += thick
    x0, x1 = source.x + _BAR, target.x
    middle = (x0 + x1) / 2
    shape = (
        f"M{x0:.1f},{y0:.1f} C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f} "
        f"V{y1 + thick:.1f} C{middle:.1f},{y1 + thick:.1f} {middle:.1f},{y0 + thin:.1f} {x0:.1f},{y0 + thin:.1f} Z"
    )
    return f'<path d="{shape}" fill="{_shade(target.band.reward)}" opacity="0.35"/>'


def _bar(box: _Box) -> str:
    band = box.band
    tip = f"{band.name}: {band.paths} paths, mean reward {band.reward:.2f}, {band.given} rollouts next"
    parts = [f"<g><title>{escape(tip)}</title>", _rectangle(box, box.height, _shade(band.reward))]
    middle = box.y + box.height / 2 + 3.5
    if box.height >= 11 and band.label is not None:
        parts.append(svg_text(box.x - 4, middle, str(band.paths), "end", "#333"))
    if box.height >= 11 and band.given and band.label is not _OTHER:
        parts.append(svg_text(box.x + _BAR + 4, middle, _short(band.name, min(box.room, 24)), "start", "#222"))
    if box.height >= 11 and band.label is None and not band.right:
        parts.append(svg_text(box.x + _BAR + 4, middle, f"{band.paths} finished", "start", "#222"))
    if band.right:
        height = band.right / band.paths * box.height
        parts.append(_rectangle(box, height, "#2a9d55"))
        parts.append(svg_text(box.x + _BAR + 4, box.y + height / 2 + 4, f"{band.right} right", "start", "#1d7a41"))
    return "".join([*parts, "</g>"])


def _short(name: str, most: int) -> str:
    """The name up to its first comma, in at most `most` characters. A longer one loses whole words: its first ones if
    it ends with a result, which tells steps of one wording apart, else its last ones.
    """
    first = name.partition(",")[0]
    if len(first) <= most:
        return first
    kept = name.rstrip(" .")[1 - most :]
    if "=" in kept and " " in kept:
        return f"…{kept.partition(' ')[2]}"
    return f"{first[: most - 1].rpartition(' ')[0] or first[: most - 1]}…"


def _rectangle(box: _Box, height: float, colour: str) -> str:
    size = f'width="{_BAR}" height="{max(height, 1):.1f}"'
    return f'<rect x="{box.x:.1f}" y="{box.y:.1f}" {size} fill="{colour}"/>'


def _shade(reward: float) -> str:
    """Light grey at reward 0 to deep blue at 1."""
    mix = min(1.0, max(0.0, reward))
    low, high = (205, 208, 214), (24, 78, 160)
    return "#" + "".join(f"{round(a + (b - a) * mix):02x}" for a, b in zip(low, high, strict=True))
