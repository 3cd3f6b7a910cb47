"""`rollwise bench`: strategies compared on the same questions, kept in a folder from which a stopped bench goes on."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rollwise.allocation import key_values
from rollwise.bench import Summary
from rollwise.cli.options import check_folder, whole_numbers
from rollwise.cli.progress import progress_bars
from rollwise.errors import InputError
from rollwise.report import sheet_markdown, sheet_tables, summary_notes, summary_sheets
from rollwise.search import run_to_end

if TYPE_CHECKING:
    from rollwise.bench import Bench, Found, Outcome


def bench(
    world: Annotated[str | None, typer.Option(help="The world of the problems.", show_default="countdown")] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Names, each with settings if you like: rebase, dora:directions=state,rounding=paper.",
            show_default="temperature,rebase,dora",
        ),
    ] = None,
    budgets: Annotated[str | None, typer.Option(help="Rollouts a search: 16,64.", show_default="64")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds a question, 0 and on.", show_default="1")] = None,
    levels: Annotated[str | None, typer.Option(help="Levels: 3,4,5.", show_default="all")] = None,
    limit: Annotated[int | None, typer.Option(help="Questions a level.", show_default="20")] = None,
    first_seed: Annotated[
        int | None, typer.Option(help="Seed of each level's first question.", show_default="0")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="validation while you tune, test once at the end.", show_default="validation")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with.", show_default="rebase, else the first")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of every search: reward=dial(0.5,1), directions=state, vote=majority."),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Keep every search's events too.")] = False,
    in_flight: Annotated[int | None, typer.Option(help="Searches at once, in each job.", show_default="4")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that share the questions, a processor core each.", show_default="1")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of these options; what the command line says goes first.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results and the summary.")] = Path("runs/bench"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the bench that --out holds.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Run nothing; summarise what --out holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> None:
    """Compare strategies on the same questions, with common random numbers.

    The summary is printed and written to summary.json and summary.md in --out. Stopped with Ctrl-C, `--resume` goes on.

    Examples:
    * `rollwise bench --strategies temperature,rebase,dora --budgets 16,64 --seeds 3 --limit 50 --out runs/first`

    * `rollwise bench --out runs/first --resume`

    * `rollwise bench --strategies "rebase,dora,dora:directions=state" --set "reward=dial(0.5,1)" --out runs/dial`
    """
    flags: dict[str, Any] = {
        "world": world,
        "strategies": strategies,
        "budgets": None if budgets is None else whole_numbers(budgets, "--budgets"),
        "seeds": seeds,
        "levels": None if levels is None else whole_numbers(levels, "--levels"),
        "limit": limit,
        "first_seed": first_seed,
        "split": split,
        "baseline": baseline,
        "events": events or None,
        "in_flight": in_flight,
        "jobs": jobs,
    }
    check_folder(out, "--out")
    given = _read(config)
    if setting:
        flags["search"] = _search_of(given) | key_values(setting)
    given |= {name: value for name, value in flags.items() if value is not None}
    if report:
        _refuse_running(given, resume)
    else:
        _run(out, given, resume)
    from rollwise.bench import read

    found = read(out, given.get("baseline"))
    _write(out, found)
    _print(out, found.summary, as_json)
    if not report:
        _fail_if_all_raised(found.summary)


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give a TOML file to --config") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not TOML: {error}") from None


def _search_of(given: dict[str, Any]) -> dict[str, Any]:
    search = given.get("search", {})
    if not isinstance(search, dict):
        raise InputError(f"search: a table of fields, like [search] and then vote = 'majority', not {search!r}")
    return search


def _refuse_running(given: dict[str, Any], resume: bool) -> None:
    idle = [*(name for name in given if name != "baseline"), *(["resume"] if resume else [])]
    if idle:
        raise InputError(f"--report runs nothing, so {', '.join(idle)} would change nothing; leave that out")


def _run(out: Path, given: dict[str, Any], resume: bool) -> None:
    from rollwise.bench import grid as benches

    try:
        running = benches.resume(out, given) if resume else benches.begin(out, given)
        for remark in dict.fromkeys(remark for runner in running.runners.values() for remark in runner.notes):
            print(f"rollwise: note: {remark}", file=sys.stderr)
        _run_aloud(running, out)
    except KeyboardInterrupt:
        kept = f", finished searches are kept; go on with: rollwise bench --out {out} --resume"
        print(f"rollwise: interrupted{kept if benches.begun(out) else ''}", file=sys.stderr)
        raise typer.Exit(130) from None


def _run_aloud(running: Bench, out: Path) -> None:
    from rollwise.bench import run_in_jobs

    done, raised = running.store.counts(running.experiment.id)
    with progress_bars() as show:

        def told(done: int, raised: int) -> None:
            show("bench", done, running.size, f"{raised} raised" if raised else "")

        def on_result(outcome: Outcome) -> None:
            nonlocal done, raised
            done, raised = done + 1, raised + (outcome.error is not None)
            told(done, raised)

        told(done, raised)
        if running.grid.jobs == 1:
            run_to_end(running.run(on_result))
        else:
            run_in_jobs(running, out, told)


def _fail_if_all_raised(summary: Summary) -> None:
    if summary.results and sum(row.errors for row in summary.rows) == summary.results:
        told = f"every search raised, the first: {summary.errors[0]}; mend that and begin in another --out"
        print(f"rollwise: {told}", file=sys.stderr)
        raise typer.Exit(1)


def _write(out: Path, found: Found) -> None:
    from rollwise.bench import plain_text

    document = {"experiment": found.facts, **found.summary.as_dict()}
    (out / "summary.json").write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    facts = "".join(f"- {name}: {plain_text(value)}\n" for name, value in found.facts.items())
    notes = "".join(f"{note}\n\n" for note in summary_notes(found.summary))
    tables = "\n".join(map(sheet_markdown, summary_sheets(found.summary)))
    (out / "summary.md").write_text(f"# Bench\n\n{facts}\n{notes}{tables}", encoding="utf-8")


def _print(out: Path, summary: Summary, as_json: bool) -> None:
    if as_json:
        typer.echo((out / "summary.json").read_text(encoding="utf-8"), nl=False)
        return
    console = Console(highlight=False)
    for sheet in summary_sheets(summary):
        for table in sheet_tables(sheet, console.width):
            console.print(table)
            console.print()
    for note in summary_notes(summary):
        console.print(note, style="yellow", markup=False)
    console.print(f"written to {out / 'summary.md'} and {out / 'summary.json'}", style="dim", soft_wrap=True)
