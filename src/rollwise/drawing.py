"""Where the rollouts went: events folded into bands (directions) by round and the flows between them, and drawn; and
the picture of a calibration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rollwise.calibration import Calibration
from rollwise.core import PathKey, Stop
from rollwise.search import Event, Grown, Round, rounds

LabelOf = Callable[[str], Hashable]
"""A solution's text so far → the label of its direction."""


@dataclass(frozen=True)
class Band:
    """The paths of one direction in one round: how many grew, finished and are known to be right, their mean reward,
    and, of the round's allocation, their share of the weight, their summed uniqueness (None where the strategy reads no
    directions) and the rollouts they were given.
    """

    round: int
    label: Hashable
    name: str
    paths: int
    finished: int
    right: int
    reward: float
    share: float
    unique: float | None
    given: int


@dataclass(frozen=True)
class Flow:
    """A search as bands by round and links between the bands of adjacent rounds: (round, from, to) → paths.

    `labels` names the direction of every grown path; that of a path that ended its text is None.
    """

    columns: tuple[tuple[Band, ...], ...]
    links: dict[tuple[int, Hashable, Hashable], int]
    labels: dict[PathKey, Hashable]


def path_texts(events: Iterable[Event]) -> dict[PathKey, str]:
    """The text of every grown path."""
    texts: dict[PathKey, str] = {}
    for event in sorted((event for event in events if isinstance(event, Grown)), key=lambda event: event.round):
        texts[event.path] = texts.get(event.path[:-1], "") + event.step.text
    return texts


def flow(events: Sequence[Event], label_of: LabelOf, right: Collection[PathKey] = ()) -> Flow:
    """Fold a search's events. Finished paths of a round share one band, whatever they say, with label None.

    `right` holds the finished paths that are known to be right.
    """
    texts = path_texts(events)
    grown = [event for event in events if isinstance(event, Grown)]
    labels = {event.path: None if event.step.stop is Stop.END else label_of(texts[event.path]) for event in grown}
    links = Counter((event.round, labels[event.path[:-1]], labels[event.path]) for event in grown if event.round)
    columns = []
    for happened in rounds(events):
        members: dict[Hashable, list[Grown]] = {}
        for event in happened.grown:
            members.setdefault(labels[event.path], []).append(event)
        bands = [_band(label, paths, happened, right) for label, paths in members.items()]
        columns.append(tuple(sorted(bands, key=lambda band: (band.label is None, -band.paths))))
    return Flow(tuple(columns), dict(links), labels)


def _band(label: Hashable, paths: Sequence[Grown], happened: Round, right: Collection[PathKey]) -> Band:
    keys = {event.path for event in paths}
    ended = sum(event.path in keys for event in happened.finished)
    name = "finished" if label is None else Counter(one.step.text.strip() for one in paths).most_common(1)[0][0]
    reward = sum(event.reward for event in paths) / len(paths)
    share, unique, given = 0.0, None, 0
    if happened.allocated is not None:
        made = happened.allocated.allocation
        inside = [index for index, key in enumerate(happened.allocated.candidates.paths) if key in keys]
        share, given = float(made.weights[inside].sum()), int(made.counts[inside].sum())
        unique = None if made.uniqueness is None else float(made.uniqueness[inside].sum())
    good = len(keys.intersection(right))
    return Band(happened.index, label, name, len(paths), ended, good, reward, share, unique, given)


_WIDTH, _HEIGHT, _MARGIN, _BAR, _MOST = 920, 420, 56, 16, 9
_OTHER = object()


@dataclass
class _Box:
    band: Band
    x: float
    y: float
    height: float
    taken_in: float = 0.0
    taken_out: float = 0.0


def search_svg(searched: Flow, title: str) -> str:
    """The search as an SVG picture: a column a step, a bar a direction, ribbons the rollouts between them.

    Bars are as tall as their paths are many, and the darker the higher their mean reward; right finished paths are
    green. The small directions of a step are drawn together.
    """
    columns = [_merge_small(column) for column in searched.columns]
    boxes = _lay_out(columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="15" fill="#222">{escape(title)}</text>',
        _text(_WIDTH - 12, 38, "height: paths · blue: reward · green: right", "end", "#666"),
    ]
    ends = [
        (boxes[index - 1, source], boxes[index, target], count)
        for (index, source, target), count in _merged_links(searched, columns).items()
    ]
    parts += [_ribbon(*link) for link in sorted(ends, key=lambda link: (link[0].x, link[0].y, link[1].y))]
    parts += [_bar(box) for box in boxes.values()]
    for index, column in enumerate(columns):
        x = boxes[index, column[0].label].x + _BAR / 2
        parts.append(_text(x, _HEIGHT - 12, f"step {index + 1}", "middle", "#666"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _merged_links(searched: Flow, columns: Sequence[Sequence[Band]]) -> Counter[tuple[int, Hashable, Hashable]]:
    """The links with the directions that are drawn together put together."""
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
    boxes = {}
    for index, column in enumerate(columns):
        y = top
        for band in column:
            boxes[index, band.label] = _Box(band, _MARGIN + index * step, y, band.paths * unit)
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
        parts.append(_text(box.x - 4, middle, str(band.paths), "end", "#333"))
    if box.height >= 11 and band.given and band.label is not _OTHER:
        parts.append(_text(box.x + _BAR + 4, middle, band.name.split(",")[0][:20], "start", "#222"))
    if band.right:
        height = band.right / band.paths * box.height
        parts.append(_rectangle(box, height, "#2a9d55"))
        parts.append(_text(box.x + _BAR + 4, box.y + height / 2 + 4, f"{band.right} right", "start", "#1d7a41"))
    return "".join([*parts, "</g>"])


def _rectangle(box: _Box, height: float, colour: str) -> str:
    size = f'width="{_BAR}" height="{max(height, 1):.1f}"'
    return f'<rect x="{box.x:.1f}" y="{box.y:.1f}" {size} fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _shade(reward: float) -> str:
    """Light grey at reward 0 to deep blue at 1."""
    mix = min(1.0, max(0.0, reward))
    low, high = (205, 208, 214), (24, 78, 160)
    return "#" + "".join(f"{round(a + (b - a) * mix):02x}" for a, b in zip(low, high, strict=True))


def belief_svg(made: Calibration) -> str:
    """A calibration as an SVG picture: on the left how scores compare with the share right, raw and calibrated, with a
    dot a tenth of the scores, larger for more prefixes; on the right κ by depth, on a log scale, with its intervals.
    """
    fits = made.depths
    low = math.floor(math.log10(min(one.low for fit in fits for one in (fit.moments, fit.likelihood))))
    high = math.ceil(math.log10(max(one.high for fit in fits for one in (fit.moments, fit.likelihood))))
    left, top, side = 60.0, 60.0, 310.0
    start, width = 490.0, 390.0

    def up(share: float) -> float:
        return top + side * (1 - share)

    def rise(concentration: float) -> float:
        return up((math.log10(concentration) - low) / max(1, high - low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *(_frame(x, top, wide, side) for x, wide in ((left, side), (start, width))),
        f'<path d="M{left},{top + side} L{left + side},{top}" stroke="#bbb" stroke-dasharray="4 4"/>',
        _text(left, 36, "share right by score · grey: raw reward · blue: calibrated", "start", "#222"),
        _text(start, 36, "κ by depth · filled: likelihood · hollow: moments", "start", "#222"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(_text(left + side * tick, top + side + 16, f"{tick:g}", "middle", "#666"))
        parts.append(_text(left - 8, up(tick) + 4, f"{tick:g}", "end", "#666"))
    for power in range(low, high + 1):
        parts.append(_text(start - 8, rise(10.0**power) + 4, f"{10.0**power:g}", "end", "#666"))
    for found, colour in ((made.before, "#9a9fa8"), (made.after, "#184ea0")):
        most = max(one.prefixes for one in found.bins)
        for one in found.bins:
            size = 3 + 7 * math.sqrt(one.prefixes / most)
            tip = f"{one.prefixes} prefixes: score {one.score:.2f}, right {one.share:.2f}"
            parts.append(_dot(left + side * one.score, up(one.share), size, colour, 0.75, tip))
    for index, fit in enumerate(fits):
        middle = start + width * (index + 0.5) / len(fits)
        name = str(fit.first) if fit.first == fit.last else f"{fit.first}–{fit.last}"
        parts.append(_text(middle, top + side + 16, name, "middle", "#666"))
        for kappa, x, opacity in ((fit.moments, middle - 4, 0.0), (fit.likelihood, middle + 4, 1.0)):
            parts.append(f'<path d="M{x:.1f},{rise(kappa.low):.1f} V{rise(kappa.high):.1f}" stroke="#184ea0"/>')
            tip = f"depth {name}, {fit.prefixes} prefixes: κ {kappa.value:.3g} ({kappa.low:.3g} to {kappa.high:.3g})"
            parts.append(_dot(x, rise(kappa.value), 4, "#184ea0", opacity, tip))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(x: float, y: float, width: float, height: float) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="#ddd"/>'


def _dot(x: float, y: float, size: float, colour: str, opacity: float, tip: str) -> str:
    shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" stroke="{colour}"'
    fill = f'fill="{colour}" fill-opacity="{opacity}"' if opacity else 'fill="white"'
    return f"<circle {shape} {fill}><title>{escape(tip)}</title></circle>"
