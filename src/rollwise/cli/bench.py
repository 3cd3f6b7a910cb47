"""`rollwise bench`: strategies compared on the same questions, kept in a folder from which a stopped bench goes on."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field
from rich.console import Console

from rollwise.bench import Grid, Summary
from rollwise.cli.console import echo_json
from rollwise.cli.options import check_folder, document, settings
from rollwise.cli.progress import progress_bars
from rollwise.errors import InputError
from rollwise.report import sheet_markdown, sheet_tables, summary_notes, summary_sheets
from rollwise.search import ALLOCATION, OUTPUT, RUN, START, Shown, run_to_end

if TYPE_CHECKING:
    from rollwise.bench import Bench, Found, Outcome, Place

_SHORT_FORMS = ("policy", "reward")


class BenchOptions(Grid):
    """The options of `rollwise bench`: those of a grid, and where results are kept and shown."""

    policy: Annotated[str | None, Shown(START, "trained")] = Field(
        default=None, description="Short for --set policy=...: a server's URL, a bundled model or a folder."
    )
    reward: Annotated[str | None, Shown(ALLOCATION, "trained; confidence with a policy's URL")] = Field(
        default=None, description="Short for --set reward=...: the model that scores partial solutions."
    )
    config: Annotated[Path | None, Shown(RUN)] = Field(
        default=None, description="A TOML file of these options; flags override it."
    )
    out: Annotated[Path, Shown(OUTPUT)] = Field(
        default=Path("runs/bench"), description="Folder for the summary, and for the results if there is no --store."
    )
    store: Annotated[str | None, Shown(OUTPUT, "results.db in --out")] = Field(
        default=None,
        description="URL of a database that several benches share: postgresql+psycopg://user@host/name. The password "
        "comes from PGPASSWORD or a passfile.",
    )
    name: Annotated[str | None, Shown(OUTPUT, "the last part of --out")] = Field(
        default=None, min_length=1, description="Name of the bench in --store."
    )
    resume: Annotated[bool, Shown(OUTPUT)] = Field(default=False, description="Go on with the bench that is stored.")
    report: Annotated[bool, Shown(OUTPUT)] = Field(default=False, description="Run nothing; summarise what is stored.")
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the summary as JSON and nothing else."
    )


def bench(given: dict[str, Any]) -> None:
    """Compare strategies on the same questions, with common random numbers.

    The summary is printed and written to summary.json and summary.md in --out. After Ctrl-C, `--resume` goes on.

    Examples:
    * `rollwise bench --strategies temperature,rebase,dora --budgets 16,64 --seeds 3 --limit 50 --out runs/first`

    * `rollwise bench --out runs/first --resume`

    * `rollwise bench --data questions.jsonl --policy http://127.0.0.1:8000 --budgets 8 --out runs/mine`

    * `rollwise bench --strategies "rebase,dora,dora:directions=state" --set "reward=dial(0.5,1)" --out runs/dial`

    * `rollwise bench --store postgresql+psycopg://me@127.0.0.1/benches --name first --limit 50`
    """
    flags = _with_short_forms(settings(given, "search"))
    out = Path(flags.pop("out", BenchOptions.model_fields["out"].default))
    goes_on, report, as_json = (bool(flags.pop(name, False)) for name in ("resume", "report", "as_json"))
    check_folder(out, "--out")
    grid = _read(flags.pop("config", None))
    fields = flags.pop("search", {})
    grid |= flags
    place = _place(out, grid.pop("store", None), grid.pop("name", None))
    if fields:
        from rollwise.bench import begun_search

        grid["search"] = (begun_search(place) if goes_on and "search" not in grid else _search_of(grid)) | fields
    if report:
        _refuse_running(grid, goes_on)
    else:
        _run(place, grid, goes_on)
    from rollwise.bench import read

    found = read(place, grid.get("baseline"))
    _write(out, found)
    _print(out, found.summary, as_json)
    if not report:
        _fail_if_all_raised(found.summary)


def _place(out: Path, store: Any, name: Any) -> Place:
    """Where the bench is kept. Raises InputError for a name without a store, or a store that is no URL."""
    from rollwise.bench import Shared, read_place

    if store is None:
        if name is not None:
            raise InputError("--name is the name of a bench in a --store; give both, or leave it out")
        return out
    place = read_place(f"{store}#{out.resolve().name if name is None else name}")
    if not isinstance(place, Shared):
        raise InputError(f"--store {store}: give a URL, like postgresql+psycopg://user@host/name")
    return place


def _with_short_forms(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags with `--policy` and `--reward` among the fields of every search. Raises InputError if one is also set
    by `--set`.
    """
    search = dict(flags.get("search", {}))
    for name in _SHORT_FORMS:
        if name not in flags:
            continue
        if name in search:
            raise InputError(f"--{name} and --set {name}=... are two values for one field; give it once")
        search[name] = flags[name]
    rest = {name: value for name, value in flags.items() if name not in _SHORT_FORMS}
    return rest | ({"search": search} if search else {})


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give a TOML file to --config") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not TOML: {error}") from None


def _search_of(given: dict[str, Any]) -> dict[str, Any]:
    search = given.get("search", {})
    if not isinstance(search, dict):
        raise InputError(f"search: a table of fields, like [search] and then vote = 'majority', not {search!r}")
    return search


def _refuse_running(given: dict[str, Any], goes_on: bool) -> None:
    idle = [*(name for name in given if name != "baseline"), *(["resume"] if goes_on else [])]
    if idle:
        raise InputError(f"--report runs nothing, so {', '.join(idle)} would change nothing; leave that out")


def _run(place: Place, given: dict[str, Any], goes_on: bool) -> None:
    from rollwise.bench import begin, begun, options_of, resume

    try:
        running = resume(place, given) if goes_on else begin(place, given)
        for remark in running.remarks:
            print(f"rollwise: {remark}", file=sys.stderr)
        for remark in dict.fromkeys(remark for runner in running.runners.values() for remark in runner.parts.notes):
            print(f"rollwise: note: {remark}", file=sys.stderr)
        _run_aloud(running, place)
    except KeyboardInterrupt:
        kept = f", finished searches are kept; go on with: rollwise bench {options_of(place)} --resume"
        print(f"rollwise: interrupted{kept if begun(place) else ''}", file=sys.stderr)
        raise typer.Exit(130) from None


def _run_aloud(running: Bench, place: Place) -> None:
    from rollwise.bench import run_in_jobs

    done, raised = running.store.counts(running.experiment.id)
    before, rounds = done, 0
    with progress_bars() as show:

        def told(done: int, raised: int) -> None:
            waiting = [f"{rounds} rounds, no search has ended yet"] if rounds and done == before else []
            show("bench", done, running.size, ", ".join([*([f"{raised} raised"] if raised else []), *waiting]))

        def on_round() -> None:
            nonlocal rounds
            rounds += 1
            told(done, raised)

        def on_result(outcome: Outcome) -> None:
            nonlocal done, raised
            done, raised = done + 1, raised + (outcome.error is not None)
            told(done, raised)

        told(done, raised)
        if running.grid.engine == "ray":
            from rollwise.bench import run_on_cluster

            run_on_cluster(running, on_result)
        elif running.grid.jobs == 1:
            run_to_end(running.run(on_result, on_round=on_round))
        else:
            run_in_jobs(running, place, told)


def _fail_if_all_raised(summary: Summary) -> None:
    if summary.results and sum(row.errors for row in summary.rows) == summary.results:
        told = f"every search raised, the first: {summary.errors[0]}; mend that and begin in another --out"
        print(f"rollwise: {told}", file=sys.stderr)
        raise typer.Exit(1)


def _write(out: Path, found: Found) -> None:
    from rollwise.bench import plain_text

    facts_and_figures = {"experiment": found.facts, **found.summary.as_dict()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(document(facts_and_figures) + "\n", encoding="utf-8")
    facts = "".join(f"- {name}: {plain_text(value)}\n" for name, value in found.facts.items())
    notes = "".join(f"{note}\n\n" for note in summary_notes(found.summary))
    tables = "\n".join(map(sheet_markdown, summary_sheets(found.summary)))
    (out / "summary.md").write_text(f"# Bench\n\n{facts}\n{notes}{tables}", encoding="utf-8")


def _print(out: Path, summary: Summary, as_json: bool) -> None:
    if as_json:
        echo_json((out / "summary.json").read_text(encoding="utf-8").rstrip("\n"))
        return
    console = Console(highlight=False)
    for sheet in summary_sheets(summary):
        for table in sheet_tables(sheet, console.width):
            console.print(table)
            console.print()
    for note in summary_notes(summary):
        console.print(note, style="yellow", markup=False)
    console.print(f"written to {out / 'summary.md'} and {out / 'summary.json'}", style="dim", soft_wrap=True)
