"""Writes the report of benches as one HTML page that loads nothing, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollwise.bench import Asked, Cell, Figures, Run, plain_text, verdict
from rollwise.errors import MissingExtraError
from rollwise.report.bench_pictures import Picture
from rollwise.report.curves import key_svg, panel_svg
from rollwise.report.data_tables import DataTable, cell_text, markdown_text, sort_key, table_markdown
from rollwise.report.search_details import reasons_of, search_details

_FILES = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Part:
    """A run in a report: its results, its figures, its pictures and its tables."""

    run: Run
    figures: Figures
    pictures: Sequence[Picture]
    tables: Sequence[DataTable]


def bench_html(parts: Sequence[Part], title: str, most_searches: int) -> str:
    """The page of a report. Stored events of up to `most_searches` searches of each part are on it.

    All texts of questions, answers and models are escaped, and a policy in the page forbids to load anything and to run
    any other script. Raises MissingExtraError without Jinja2.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("the page of a report", "report") from error
    script = (_FILES / "bench.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("bench.html").render(
        title=title,
        css=Markup((_FILES / "bench.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        parts=[_shown(index, part, most_searches) for index, part in enumerate(parts)],
        draw=lambda panel, looks: Markup(panel_svg(panel, looks)),
        key=lambda look: Markup(key_svg(look)),
        cell_text=cell_text,
        sort_key=sort_key,
    )


def bench_markdown(parts: Sequence[Part], title: str) -> str:
    """The report in Markdown: the findings in words, the pictures by their files, and the tables."""
    text = f"# {markdown_text(title)}\n"
    for place, part in enumerate(parts):
        lead, *others = map(markdown_text, verdict(part.figures))
        heading = f"\n## {markdown_text(part.figures.name)}\n" if len(parts) > 1 else ""
        pictures = []
        for picture in part.pictures:
            file = f"figures/{file_name(place, len(parts), picture.name)}.svg"
            pictures.append(f"![{picture.title}]({file})\n\n{markdown_text(picture.note)}\n")
        findings = "".join(f"- {sentence}\n" for sentence in others)
        blocks = [f"**{lead}**\n", findings, *pictures, *map(table_markdown, part.tables)]
        text += f"{heading}\n" + "\n".join(blocks)
    return text


def file_name(place: int, parts: int, name: str) -> str:
    """The name of a part's file, with the part's number in front if there are several."""
    return name if parts == 1 else f"{place + 1}-{name}"


def _shown(index: int, part: Part, most_searches: int) -> dict[str, Any]:
    """What the template shows of a part."""
    figures, run, own = part.figures, part.run, f"p{index}"
    question_ids = {asked.problem.id: f"{own}-q{place}" for place, asked in enumerate(figures.asked)}
    kept = _chosen(part, most_searches)
    search_ids = {search: f"{own}-s{place}" for place, search in enumerate(kept)}
    one = figures.baseline if len(figures.strategies) == 1 else _leader(figures)
    return {
        "id": own,
        "name": figures.name,
        "verdict": verdict(figures),
        "pictures": part.pictures,
        "tables": part.tables,
        "strategies": figures.strategies,
        "budgets": figures.budgets,
        "one": one,
        "other": figures.baseline,
        "arms": [{"strategy": name, "budget": budget} for budget in figures.budgets for name in figures.strategies],
        "with_levels": any(asked.problem.level is not None for asked in figures.asked),
        "questions": [_question(asked, figures, question_ids, search_ids) for asked in figures.asked],
        "searches": list(_searches(run, search_ids, question_ids)),
        "searches_note": _searches_note(len(kept), len(run.kept)),
        "facts": [(name, plain_text(value)) for name, value in figures.facts.items()],
    }


def _leader(figures: Figures) -> str:
    """The strategy with the best accuracy at the largest budget among those that are not the baseline."""
    rows = [row for row in figures.summary.rows if row.budget == figures.budgets[-1]]
    others = [row for row in rows if row.strategy != figures.baseline] or rows
    return max(others, key=lambda row: row.measures["accuracy"].mean).strategy


def _question(
    asked: Asked, figures: Figures, question_ids: Mapping[str, str], search_ids: Mapping[tuple[Cell, str], str]
) -> dict[str, Any]:
    links: dict[tuple[str, int], list[dict[str, Any]]] = {}
    problem = asked.problem
    for (cell, name), identity in search_ids.items():
        if name == problem.id:
            label = f"{cell.label}, N = {cell.budget}, seed {cell.seed}"
            links.setdefault((cell.label, cell.budget), []).append(
                {"id": identity, "seed": f"s{cell.seed}", "label": label}
            )
    cells = []
    for budget in figures.budgets:
        for place, name in enumerate(figures.strategies):
            right, searches = asked.right.get((name, budget), (0, 0))
            mood = "" if not searches else "full" if right == searches else "zero" if right == 0 else ""
            cells.append(
                {
                    "budget": budget,
                    "place": place,
                    "share": right / searches if searches else "",
                    "text": f"{right}/{searches}" if searches else "–",
                    "mood": mood,
                    "links": links.get((name, budget), []),
                }
            )
    known = {"name": problem.id, "text": problem.question, "answer": problem.answer, "level": problem.level}
    return known | {"id": question_ids[problem.id], "cells": cells}


def _chosen(part: Part, most: int) -> list[tuple[Cell, str]]:
    """The searches with stored events that are shown: those of questions on which strategies differ come first."""
    agreed = {asked.problem.id for asked in part.figures.asked if _agreed(asked)}
    place = {asked.problem.id: index for index, asked in enumerate(part.figures.asked)}
    ordered = sorted(
        part.run.kept,
        key=lambda each: (each[1] in agreed, -each[0].budget, place[each[1]], each[0].seed, each[0].label),
    )
    return ordered[:most]


def _agreed(asked: Asked) -> bool:
    return len({right / searches for right, searches in asked.right.values()}) <= 1


def _searches_note(shown: int, kept: int) -> str:
    if shown == kept:
        return "These are the searches whose events were stored."
    return f"{shown} of {kept} stored searches are here, first those of questions on which the strategies differ."


def _searches(
    run: Run, search_ids: Mapping[tuple[Cell, str], str], question_ids: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    outcomes = {(result.cell, result.problem): result.outcome for result in run.results}
    problems = {problem.id: problem for problem in run.problems}
    configs = {cell: run.config(cell) for cell in {cell for cell, _ in search_ids}}
    for (cell, problem), identity in search_ids.items():
        outcome, events = outcomes[cell, problem], run.events(cell, problem) or []
        yield {
            "id": identity,
            "strategy": cell.label,
            "budget": cell.budget,
            "seed": cell.seed,
            "question": problem,
            "question_id": question_ids[problem],
            "text": problems[problem].question,
            "answer": outcome.answer,
            "right": outcome.right,
            "details": search_details(events),
            "reasons": reasons_of(configs[cell], problems[problem], events, cell.seed),
        }
