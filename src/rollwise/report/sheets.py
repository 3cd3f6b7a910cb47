"""Tables as text: the sheets of a bench, for a terminal and in Markdown."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from rollwise.bench import Difference, Measure, Row, Summary

_NARROW, _GAP = 12, 2  # a name's column may be folded to that; between columns


_WORDS = {"level", "strategy", "measure", "role", "depth", "score"}


_SETTING = re.compile(r"[:,](?=\s*\w+=)")


def number_column(table: Table, name: str, style: str = "") -> None:
    """Add a right-aligned column that never wraps."""
    table.add_column(name, justify="right", style=style, min_width=len(name), no_wrap=True)


@dataclass(frozen=True)
class Sheet:
    """A table as text: its title, columns and rows. The first `names` cells of a row say what the row is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int


def summary_sheets(summary: Summary) -> list[Sheet]:
    """The tables of a summary: measures, differences to the baseline, cost; by level too if there are several."""
    sheets = [
        _measure_sheet(summary.rows, "percent, with 95 % intervals"),
        _difference_sheet(summary.rows, f"difference to {summary.baseline}, in points"),
        _cost_sheet(summary.rows, "mean cost of a search"),
        _measure_sheet(summary.by_level, "each level: percent, with 95 % intervals"),
        _difference_sheet(summary.by_level, f"each level: difference to {summary.baseline}, in points"),
    ]
    return [sheet for sheet in sheets if sheet.rows]


def _named(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("level", "strategy", "N") if any(row.level is not None for row in rows) else ("strategy", "N")


def _name(row: Row) -> tuple[str, ...]:
    name = (row.strategy, str(row.budget))
    return name if row.level is None else (str(row.level), *name)


def _measure_sheet(rows: Sequence[Row], title: str) -> Sheet:
    names = _named(rows)
    measures = rows[0].measures if rows else {}
    columns = (*names, *(name.replace("_", " ") for name in measures))
    lines = [(*_name(row), *map(_percent, row.measures.values())) for row in rows]
    for name, counts in _losses(rows).items():
        if any(lost for lost, _ in counts):
            columns = (*columns, name)
            cells = [str(lost) if of is None else f"{lost}/{of}" for lost, of in counts]
            lines = [(*line, cell) for line, cell in zip(lines, cells, strict=True)]
    few, many = (end((row.questions for row in rows), default=0) for end in (min, max))
    asked = f"{many}" if few == many else f"{few} to {many}"
    return Sheet(f"{title}, of {asked} question{'' if many == 1 else 's'}", columns, tuple(lines), len(names))


def _losses(rows: Sequence[Row]) -> dict[str, list[tuple[int, int | None]]]:
    """What was lost in each row, and of how many: searches that raised, rollouts, paths without an answer, paths
    of unknown direction.
    """
    return {
        "errors": [(row.errors, row.results) for row in rows],
        "lost rollouts": [(row.failed, row.budget * (row.results - row.errors)) for row in rows],
        "unread paths": [(row.unread, row.budget * (row.results - row.errors)) for row in rows],
        "cut paths": [(row.cut, row.budget * (row.results - row.errors)) for row in rows],
        "unplaced paths": [(row.unplaced, None) for row in rows],
    }


def _difference_sheet(rows: Sequence[Row], title: str) -> Sheet:
    names = _named(rows)
    lines = [
        (*_name(row), name.replace("_", " "), *_points(difference))
        for row in rows
        for name, measure in row.measures.items()
        if (difference := measure.difference) is not None
    ]
    columns = (*names, "measure", "difference", "95 % interval", "detectable")
    return Sheet(title, columns, tuple(lines), len(names))


def _cost_sheet(rows: Sequence[Row], title: str) -> Sheet:
    lines = []
    for row in rows:
        flops = "unknown" if row.flops is None else f"{row.flops:.2e}"
        spent = (flops, f"{row.rounds:.1f}", f"{row.seconds:.2f}")
        for role, tokens in row.tokens.items():
            if any(tokens.values()):
                counts = (f"{tokens[name]:,.0f}" for name in ("generated", "prefilled", "cached"))
                lines.append((*_name(row), role, *counts, *spent))
                spent = ("", "", "")
    columns = ("strategy", "N", "role", "generated", "read", "from cache", "FLOPs", "rounds", "seconds")
    return Sheet(title, columns, tuple(lines), 2)


def _percent(measure: Measure) -> str:
    return f"{100 * measure.mean:.1f} ({100 * measure.low:.0f}–{100 * measure.high:.0f})"


def _points(difference: Difference) -> tuple[str, str, str]:
    mean, low, high = (f"{100 * value:+z.1f}" for value in (difference.mean, difference.low, difference.high))
    detectable = "-" if difference.detectable is None else f"{100 * difference.detectable:.1f}"
    return mean, f"{low} to {high}", detectable


def sheet_tables(sheet: Sheet, width: int) -> list[Table]:
    """A sheet for a terminal of `width` characters; columns that do not fit follow in a table below."""
    names = range(sheet.names)
    spans = [max(map(len, column)) + _GAP for column in zip(sheet.columns, *sheet.rows, strict=True)]
    room = width + _GAP - sum(min(spans[index], _NARROW + _GAP) for index in names)
    parts: list[list[int]] = []
    left = 0
    for index, span in list(enumerate(spans))[sheet.names :]:
        if not parts or span > left:
            parts.append([*names])
            left = room
        parts[-1].append(index)
        left -= span
    return [_sheet_table(_part_of(sheet, part, "" if number else sheet.title)) for number, part in enumerate(parts)]


def _part_of(sheet: Sheet, chosen: Sequence[int], title: str) -> Sheet:
    columns, *rows = (tuple(row[index] for index in chosen) for row in (sheet.columns, *sheet.rows))
    return Sheet(title, columns, tuple(rows), sheet.names)


def _sheet_table(sheet: Sheet) -> Table:
    """A table with the rows of a name together. A name with settings takes several lines."""
    table = Table(title=sheet.title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in sheet.columns:
        if name in _WORDS:
            table.add_column(name, overflow="fold", min_width=len(name))
        else:
            number_column(table, name)
    level = ""
    for name, group in itertools.groupby(sheet.rows, lambda row: row[: sheet.names]):
        cells = [_SETTING.sub(r"\g<0>\n ", cell) for cell in name]
        if sheet.columns[0] == "level":
            cells[0], level = "" if cells[0] == level else cells[0], cells[0]
        table.add_row(*cells, *map("\n".join, list(zip(*group, strict=True))[sheet.names :]))
    return table


def sheet_markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown table under a heading."""
    rule = ["---" if name in _WORDS else "---:" for name in sheet.columns]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (sheet.columns, rule, *sheet.rows)]
    return f"## {sheet.title[0].upper()}{sheet.title[1:]}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def summary_notes(summary: Summary) -> list[str]:
    """What the tables do not show: results that are missing, and searches that raised."""
    notes = []
    if summary.results < summary.planned:
        here = f"{summary.results} of {summary.planned} results are here"
        notes.append(f"{here}. If the bench is not running, --resume adds the others.")
    unread = sum(row.unread for row in summary.rows)
    if unread and not any(row.measures["coverage"].mean for row in summary.rows):
        notes.append(
            f"no path is right, and {unread} ended without a readable answer: rollwise solve shows one, and "
            "--set answer=last-number (or gsm8k, answer-is, bold, REGEX) reads other forms"
        )
    if summary.errors:
        count = sum(row.errors for row in summary.rows)
        notes.append(f"{count} of {summary.results} searches raised, and count as not solved: {summary.errors[0]}")
    return notes
