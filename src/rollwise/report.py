"""Tables and text for people: a search round by round, where its rollouts went, its cost; and what a bench found."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rollwise.drawing import Band, Flow
from rollwise.runner import Solution
from rollwise.search import Allocated, Round
from rollwise.summary import Difference, Measure, Row, Summary

_SHOWN = 8
_NAMED, _TOLD = 7, 10
_NARROW, _GAP = 12, 2  # a name's column may be folded to that; between columns
_WORDS = {"level", "strategy", "measure", "role", "depth", "score"}
_SETTING = re.compile(r"[:,](?=\s*\w+=)")


def round_line(happened: Round) -> Text:
    """One line on a finished round: what grew, what ended, and how the width was handed out."""
    rewards = [event.reward for event in happened.grown]
    mean = f"{sum(rewards) / len(rewards):.2f}" if rewards else "-"
    line = Text(f"step {happened.index + 1:>2}: {len(happened.grown):>3} grown at reward {mean}")
    if happened.allocated is not None:
        counts = happened.allocated.allocation.counts
        most = int(counts.max())
        line.append(f", {int((counts > 0).sum()):>3} go on {f'at most {most} times' if most > 1 else 'once each'}")
        effective = happened.allocated.allocation.effective_directions
        if effective is not None:
            line.append(f", {effective:.1f} directions")
    if unplaced := [event.unplaced for event in happened.grown if event.unplaced is not None]:
        line.append(f", {len(unplaced)} unplaced: {unplaced[0]}", style="yellow")
    if happened.finished:
        line.append(f", {len(happened.finished)} finished", style="green")
    if happened.failed:
        line.append(f", {len(happened.failed)} failed: {happened.failed[0].reason}", style="red")
    return line


def verdict_text(solution: Solution) -> Text:
    """The answer and what supports it, or an honest account of why there is none."""
    finished, lost = len(solution.finished), len(solution.failures)
    ledger = f"{finished} paths finished" + (f", {lost} rollouts lost" if lost else "")
    if solution.answer is not None:
        word = _support(solution.vote)
        text = Text.assemble("answer  ", (solution.answer, "bold"), f"   ({_judgement(solution)})")
        return text.append(f"\nsupport {solution.support:.0%} {word}; {ledger}")
    if solution.attempt is None and lost and not finished:
        (reason, count), *_ = Counter(solution.failures).most_common(1)
        most = "all of them" if count == lost else f"{count} of them"
        return Text(f"no path reached an answer; {ledger}, {most}: {reason}")
    if solution.attempt is None:
        return Text(f"no path reached an answer; {ledger}. Raise --budget, or --max-tokens if paths were cut off.")
    text = Text.assemble("no path verified", style="yellow")
    return text.append(
        f"; the best attempt, which is wrong: {solution.attempt}\n{ledger}. The question may have no solution; "
        "if it has one, a larger --budget or another --seed may find it.",
        style="default",
    )


def _support(vote: str) -> str:
    """What the support of a vote's winner is a share of."""
    if vote == "verified":
        return "of the answers are right"
    return "of the vote's weight" if vote.endswith("_majority") else "of the answers agree"


def _judgement(solution: Solution) -> str:
    if not solution.judged:
        return "not checked"
    if not solution.right:
        return "wrong"
    return "checked to be right" if solution.vote == "verified" else "right"


def _number_column(table: Table, name: str, style: str = "") -> None:
    table.add_column(name, justify="right", style=style, min_width=len(name), no_wrap=True)


def _cut(name: str) -> Text:
    """A name that ends in an ellipsis where the table has no room for all of it, before any number gives way."""
    return Text(name, no_wrap=True, overflow="ellipsis")


def where_table(searched: Flow, solution: Solution) -> Table:
    """Directions × rounds: how many paths descend from each direction of the first round, and how they ended."""
    title = "where the rollouts went" + (", step by step" if len(searched.columns) > _NAMED else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("direction of the first step")
    rounds = len(searched.columns)
    told = range(0, rounds, -(-rounds // _TOLD))
    for index in told:
        _number_column(table, f"step {index + 1}" if rounds <= _NAMED else f"{index + 1:>2}")
    _number_column(table, "finished")
    _number_column(table, "right", style="green")
    home = searched.labels.get
    alive = Counter((home(path[:1]), len(path)) for path in searched.labels)
    finished = Counter(home(path.key[:1]) for path in solution.finished)
    ends = zip(solution.finished, solution.rights, strict=True)
    right = Counter(home(path.key[:1]) for path, good in ends if good)
    bands = searched.columns[0] if searched.columns else ()
    ranked = sorted(bands, key=lambda band: (-finished[band.label], -band.paths))
    for band in ranked[:_SHOWN]:
        counts = [str(alive[band.label, index + 1] or "·") for index in told]
        table.add_row(_cut(band.name), *counts, str(finished[band.label] or "·"), str(right[band.label] or "·"))
    if rest := ranked[_SHOWN:]:
        sums = [sum(alive[band.label, index + 1] for band in rest) for index in told]
        done, good = sum(finished[band.label] for band in rest), sum(right[band.label] for band in rest)
        cells = [str(one or "·") for one in (*sums, done, good)]
        table.add_row(_cut(f"{len(rest)} more directions"), *cells, style="dim")
    return table


def ledger_table(solution: Solution) -> Table:
    """Tokens by role, FLOPs, seconds."""
    account = solution.ledger
    title = f"ledger: {account.rounds} rounds, {account.seconds:.1f} s"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("role")
    for name in ("generated", "read", "from cache", "FLOPs"):
        _number_column(table, name)
    for role, usage in account.usage.items():
        counts = (usage.generated, usage.prefilled, usage.cached)
        if usage.calls or any(counts):
            flops = f"{account.flops(role):.2e}" if account.parameters[role] else "unknown"
            table.add_row(role, *(f"{count:,}" for count in counts), flops)
    return table


def explanation(searched: Flow, solution: Solution) -> Group:
    """Why the rollouts went where they went: for each round its directions, what each was given and on what grounds."""
    tables: list[RenderableType] = []
    for event in solution.events:
        if isinstance(event, Allocated):
            tables += [_explain_round(event, searched.columns[event.round]), Text()]
    return Group(*tables)


def _explain_round(event: Allocated, column: Sequence[Band]) -> Table:
    title = f"step {event.round + 1}: {event.width} rollouts to hand out"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("direction")
    for name in ("paths", "mean reward", "Σ uniqueness", "share", "rollouts"):
        _number_column(table, name)
    bands = sorted((band for band in column if band.label is not None), key=lambda band: (-band.given, -band.share))
    for band in bands[: 2 * _SHOWN]:
        unique = "-" if band.unique is None else f"{band.unique:.2f}"
        table.add_row(
            _cut(band.name), str(band.paths), f"{band.reward:.3f}", unique, f"{band.share:.1%}", str(band.given)
        )
    if rest := bands[2 * _SHOWN :]:
        paths, share, given = (sum(getattr(band, name) for band in rest) for name in ("paths", "share", "given"))
        table.add_row(f"{len(rest)} more", str(paths), "", "", f"{share:.1%}", str(given), style="dim")
    return table


@dataclass(frozen=True)
class Sheet:
    """A table as text: its title, its columns, its rows, of which the first `names` cells name what they are about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int


def summary_sheets(summary: Summary) -> list[Sheet]:
    """The tables of a summary: the measures, the differences to the baseline, the cost, and measures and differences by
    level where there are several.
    """
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
    for name, lost, of in (
        ("errors", [row.errors for row in rows], [row.results for row in rows]),
        ("lost rollouts", [row.failed for row in rows], [row.budget * (row.results - row.errors) for row in rows]),
        ("unplaced paths", [row.unplaced for row in rows], None),
    ):
        if any(lost):
            columns = (*columns, name)
            told = map(str, lost) if of is None else itertools.starmap("{}/{}".format, zip(lost, of, strict=True))
            lines = [(*line, one) for line, one in zip(lines, told, strict=True)]
    few, many = (end((row.questions for row in rows), default=0) for end in (min, max))
    asked = f"{many}" if few == many else f"{few} to {many}"
    return Sheet(f"{title}, of {asked} questions", columns, tuple(lines), len(names))


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
        spent = (f"{row.flops:.2e}", f"{row.rounds:.1f}", f"{row.seconds:.2f}")
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
    """A sheet for a terminal of so many characters: the columns that have no room beside the names follow below."""
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
    """Rows of one name stand together, a name with settings over several lines."""
    table = Table(title=sheet.title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in sheet.columns:
        if name in _WORDS:
            table.add_column(name, overflow="fold", min_width=len(name))
        else:
            _number_column(table, name)
    level = ""
    for name, group in itertools.groupby(sheet.rows, lambda row: row[: sheet.names]):
        told = [_SETTING.sub(r"\g<0>\n ", cell) for cell in name]
        if sheet.columns[0] == "level":
            told[0], level = "" if told[0] == level else told[0], told[0]
        table.add_row(*told, *map("\n".join, list(zip(*group, strict=True))[sheet.names :]))
    return table


def sheet_markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown table under a heading."""
    rule = ["---" if name in _WORDS else "---:" for name in sheet.columns]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (sheet.columns, rule, *sheet.rows)]
    return f"## {sheet.title[0].upper()}{sheet.title[1:]}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def summary_notes(summary: Summary) -> list[str]:
    """What one has to know beside the tables: what is missing, and what was raised."""
    notes = []
    if summary.results < summary.planned:
        notes.append(f"{summary.results} of {summary.planned} results are here; the others are still to come.")
    if summary.errors:
        count = sum(row.errors for row in summary.rows)
        notes.append(f"{count} of {summary.results} searches raised, and count as not solved: {summary.errors[0]}")
    return notes
