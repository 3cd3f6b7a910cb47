"""`rollwise report`: what benches found, as one page, pictures, tables and text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from rich.console import Console

from rollwise.bench import Figures
from rollwise.cli.console import echo_json
from rollwise.cli.options import check_folder, document
from rollwise.search import OUTPUT, START, Options, Shown, validated

FOLDER = "report"


class ReportOptions(Options):
    """The options of `rollwise report`."""

    runs: Annotated[tuple[str, ...], Shown(START, argument=True, repeatable=True)] = Field(
        min_length=1, description="Folders that rollwise bench wrote with --out, or URL#NAME of a bench in a --store."
    )
    baseline: Annotated[str | None, Shown(START, "that of the bench")] = Field(
        default=None, description="The strategy that the others are compared with."
    )
    margin: Annotated[float, Shown(START)] = Field(
        default=2.0, ge=0, le=100, description="Points by which a strategy may be worse and is still not inferior."
    )
    prices: Annotated[Path | None, Shown(START)] = Field(
        default=None, description="A TOML file of prices: of a million tokens by role, or of an hour of the machine."
    )
    paper: Annotated[Path | None, Shown(START)] = Field(
        default=None, description="A JSON file of the paper's curves, drawn beside yours on the paper's benchmarks."
    )
    out: Annotated[Path | None, Shown(OUTPUT, "RUN/report, or runs/NAME/report")] = Field(
        default=None, description="Folder for the page, the pictures and the tables."
    )
    searches: Annotated[int, Shown(OUTPUT)] = Field(
        default=200, ge=0, description="The most searches of a run that the page shows, of those with stored events."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the figures as JSON and nothing else."
    )


def report(given: dict[str, Any]) -> None:
    """Turn finished or running benches into a page with figures, tables and a verdict in words.

    The page is one file, `index.html`, that works without a network. Pictures (SVG and PNG), tables (CSV) and report.md
    stand beside it. Runs on the same questions with the same settings are read as one.

    Examples:
    * `rollwise report runs/first`

    * `rollwise report runs/first --prices prices.toml --margin 3`

    * `rollwise report runs/llama runs/qwen --paper figure3.json --out both`
    """
    options = validated(ReportOptions, given)
    from rollwise.bench import (
        Shared,
        benchmark_of,
        curves_of_model,
        figures_of,
        join_runs,
        read_paper,
        read_place,
        read_prices,
        read_run,
    )
    from rollwise.report import Part, pictures_of, tables_of, write_report

    places = list(dict.fromkeys(map(read_place, options.runs)))
    first = places[0]
    out = options.out or (Path("runs", first.name) if isinstance(first, Shared) else first) / FOLDER
    check_folder(out, "--out")
    prices = None if options.prices is None else read_prices(options.prices)
    paper = [] if options.paper is None else read_paper(options.paper)
    parts, beside = [], 0
    for run in join_runs([read_run(place) for place in places]):
        figures = figures_of(run, options.baseline, options.margin / 100, prices)
        config = run.experiment.config
        benchmark = benchmark_of(config)
        search = config.get("search")
        policy = search.get("policy") if isinstance(search, dict) else None
        curves = curves_of_model([each for each in paper if each.benchmark == benchmark], policy)
        beside += len(curves)
        parts.append(Part(run, figures, pictures_of(figures, curves), tables_of(figures)))
    title = f"Bench of {parts[0].figures.name}" if len(parts) == 1 else f"{len(parts)} benches"
    written, notes = write_report(parts, out, title, options.searches)
    if paper and not beside:
        notes.append("none of these benches is on a benchmark of the paper's figure, so its curves are not drawn")
    for note in notes:
        print(f"rollwise: note: {note}", file=sys.stderr)
    _print([part.figures for part in parts], out, written, options.as_json)


def _print(figures: list[Figures], out: Path, written: list[Path], as_json: bool) -> None:
    if as_json:
        echo_json(document({"parts": [each.as_dict() for each in figures], "files": [str(file) for file in written]}))
        return
    from rollwise.bench import verdict

    console = Console(highlight=False)
    for each in figures:
        if len(figures) > 1:
            console.print(each.name, style="bold", markup=False)
        for sentence in verdict(each):
            console.print(sentence, markup=False)
        console.print()
    console.print(f"written to {written[0]} and {len(written) - 1} more files in {out}", style="dim", soft_wrap=True)
