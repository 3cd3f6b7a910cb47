"""`rollwise simulate`: compares strategies where every chance is known, so that the loss of each can be measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable, whole_numbers
from rollwise.cli.progress import progress_bars
from rollwise.errors import InputError
from rollwise.report import sheet_tables, simulation_sheets, simulation_svg
from rollwise.simulation import Branching, OneShot, Study, most_jobs, read_contenders, sweep

_REPORT_EVERY = 20
"""How many instances are played between two reports of progress."""
_SMALL_STUDY = 200
"""Up to this many instances, a single process is faster than several."""
_STUDY, _TREE, _WORLD, _SCORES, _BELIEF, _OUTPUT = (
    "Study",
    "Trees",
    "Chances and directions",
    "Scores and labels",
    "Beliefs",
    "Output",
)


def _study(text: str, show_default: bool | str = True) -> Any:
    """An option of the study itself."""
    return typer.Option(help=text, show_default=show_default, rich_help_panel=_STUDY)


def _world(text: str, one_shot: Any, branching: Any = None, panel: str = _WORLD) -> Any:
    """An option for a field of a world, with its default for one allocation and its default in a tree."""
    default = f"{one_shot}" if branching in (None, one_shot) else f"{one_shot}; in a tree {branching}"
    return typer.Option(
        help=text, show_default=default if one_shot is not None else f"{branching}", rich_help_panel=panel
    )


def simulate(
    strategies: Annotated[
        str, _study("Strategies, with options if you like: rebase, dora:rounding=paper, mine.py:best_half.")
    ] = "temperature,rebase,dora,optimal_directions",
    budgets: Annotated[str, _study("Budgets N in rollouts, such as 16,64.")] = "16,64",
    instances: Annotated[int, _study("Instances of each setting.")] = 1000,
    seed: Annotated[int, _study("Seed of the instances; the same seed gives the same numbers.")] = 0,
    baseline: Annotated[
        str | None,
        _study("Strategy that the others are compared with.", show_default="rebase if it is given, else the first"),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            help="Steps of a tree, which is searched. Without it, there is a single allocation over candidates.",
            rich_help_panel=_TREE,
        ),
    ] = None,
    candidates: Annotated[str | None, _world("Number of candidates; 0 uses the budget.", OneShot.candidates)] = None,
    directions: Annotated[
        str | None, _world("Number of directions that candidates are drawn from.", OneShot.directions)
    ] = None,
    branches: Annotated[str | None, _world("Children of each node.", None, Branching.branches, _TREE)] = None,
    imbalance: Annotated[
        str | None,
        _world("Zipf exponent of the sizes of directions; 0 makes them even.", OneShot.imbalance, Branching.imbalance),
    ] = None,
    crowd: Annotated[
        str | None,
        _world("Share of candidates in a single direction; each other candidate has its own.", OneShot.crowd),
    ] = None,
    worth: Annotated[
        str | None, _world("Mean chance of a direction; in a tree that of the root.", OneShot.worth, Branching.worth)
    ] = None,
    spread: Annotated[
        str | None,
        _world(
            "How similar the mean chances of directions are; in a tree, how much a node's children differ.",
            OneShot.spread,
            Branching.spread,
        ),
    ] = None,
    popularity: Annotated[
        str | None,
        _world("Log-odds that a direction gains per log of its size.", OneShot.popularity, Branching.popularity),
    ] = None,
    concentration: Annotated[
        str | None, _world("κ: how close chances are to their mean.", OneShot.concentration)
    ] = None,
    correlation: Annotated[
        str | None,
        _world("ρ: share of the deviation from the mean that a direction has in common.", OneShot.correlation),
    ] = None,
    noise: Annotated[
        str | None, _world("Standard deviation of the error of a score.", OneShot.noise, Branching.noise, _SCORES)
    ] = None,
    shared: Annotated[
        str | None,
        _world("Share of that error that a direction has in common.", OneShot.shared, Branching.shared, _SCORES),
    ] = None,
    bias: Annotated[
        str | None, _world("Constant that is added to every score.", OneShot.bias, Branching.bias, _SCORES)
    ] = None,
    merge: Annotated[
        str | None, _world("Chance that a direction gets the label of another.", OneShot.merge, None, _SCORES)
    ] = None,
    split: Annotated[
        str | None, _world("Chance that a path gets a label of its own.", OneShot.split, None, _SCORES)
    ] = None,
    told: Annotated[
        str | None,
        _world(
            "How the belief is made: 'observed' uses the scores as means, 'fitted' fits them on other instances.",
            OneShot.told,
            None,
            _BELIEF,
        ),
    ] = None,
    told_concentration: Annotated[
        str | None, _world("κ of the belief.", "the true κ", Branching.told_concentration, _BELIEF)
    ] = None,
    told_correlation: Annotated[
        str | None, _world("ρ of the belief.", "the true ρ", Branching.told_correlation, _BELIEF)
    ] = None,
    answers: Annotated[str | None, _world("Number of wrong answers.", None, Branching.answers, _TREE)] = None,
    agreement: Annotated[
        str | None, _world("Zipf exponent of the popularity of wrong answers.", None, Branching.agreement, _TREE)
    ] = None,
    jobs: Annotated[
        int | None,
        _study("Number of parallel processes; it does not change any result.", show_default="one per core"),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="SVG file for a picture of the regret.", rich_help_panel=_OUTPUT)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON and nothing else.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Compare strategies where every chance is known: how often all rollouts fail, and how much of that is avoidable.

    One option of the world may be a list, like --noise 0,0.1,0.2. Then the tables and the picture show its values.
    After Ctrl-C, the command prints the results so far.

    Examples:
    * `rollwise simulate --strategies temperature,rebase,dora --budgets 16,64 --noise 0,0.1,0.2 --draw regret.svg`

    * `rollwise simulate --candidates 8 --budgets 32 --correlation 0.5`

    * `rollwise simulate --depth 4 --budgets 64 --strategies rebase,dora,mine.py:best_half`
    """
    given = {name: value for name, value in locals().items() if value is not None and name in _WORLD_FIELDS}
    if draw is not None:
        check_writable(draw, "--draw")
    kind, swept, values, world = _read_world(given)
    sizes = whole_numbers(budgets, "--budgets")
    study = Study(sweep(world, swept, values, sizes), read_contenders(strategies), instances, seed, baseline)
    if draw is not None and len(values if swept else sizes) < 2:
        raise InputError(
            "--draw shows regret against a list of values: give several --budgets, or several values of one option"
        )
    finished = _run(study, _jobs(study) if jobs is None else jobs)
    results = study.found()
    if as_json:
        document = {"world": kind.__name__, "swept": swept, "seed": seed, "baseline": study.baseline}
        settings = [result.as_dict() for result in results]
        echo_json(json.dumps(document | {"settings": settings}, ensure_ascii=False, indent=2))
    else:
        _print_tables(results, swept, str(study.baseline))
    if draw is not None and results:
        draw.write_text(simulation_svg(results, swept), encoding="utf-8")
    if not finished:
        raise typer.Exit(130)


def _print_tables(results: Sequence[Any], swept: str | None, baseline: str) -> None:
    console = Console(highlight=False)
    for sheet in simulation_sheets(results, swept, baseline):
        console.print(sheet.title, style="italic", soft_wrap=True)
        for table in sheet_tables(replace(sheet, title=""), console.width):
            console.print(table)
        console.print()


_WORLD_FIELDS = frozenset(field.name for world in (OneShot, Branching) for field in fields(world))


def _read_world(given: Mapping[str, str]) -> tuple[type, str | None, list[Any], OneShot | Branching]:
    """The kind of world, the swept field with its values, and the world with the first of these values."""
    kind: type[OneShot] | type[Branching] = Branching if "depth" in given else OneShot
    types = {field.name: str(field.type) for field in fields(kind)}
    for name in given:
        if name not in types:
            place = "a tree, which --depth asks for" if kind is Branching else "candidates without --depth"
            raise InputError(f"--{name.replace('_', '-')} means nothing for {place}; leave it out")
    values = {name: _values(text, types[name], f"--{name.replace('_', '-')}") for name, text in given.items()}
    lists = [name for name, several in values.items() if len(several) > 1]
    if len(lists) > 1:
        raise InputError(f"only one option may be a list, not {' and '.join(lists)}; give the others a single value")
    world = kind(**{name: several[0] for name, several in values.items()})
    swept = lists[0] if lists else None
    return kind, swept, [] if swept is None else values[swept], world


def _values(text: str, type_name: str, option: str) -> list[Any]:
    """The values of an option, which may be a list with commas; `type_name` is the annotation of its field."""
    parts = [part.strip() for part in text.split(",")]
    if len(set(parts)) < len(parts):
        raise InputError(f"{option}: a value is given twice; give each value once")
    if type_name == "str":
        return parts
    if type_name == "int":
        return whole_numbers(text, option)
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise InputError(f"{option} takes a number, or several with commas between them, not {text!r}") from None


def _jobs(study: Study) -> int:
    """The number of processes: one per core, unless the study is so small that forking takes longer."""
    return most_jobs() if study.size > _SMALL_STUDY else 1


def _run(study: Study, jobs: int) -> bool:
    """Run the study and show its progress. Returns whether it ran to its end; an interrupt ends it early."""
    with progress_bars() as show:

        def on_instance(done: int) -> None:
            if done % _REPORT_EVERY == 0 or done == study.size:
                show("simulate", done, study.size, "")

        try:
            study.run(on_instance, jobs)
        except KeyboardInterrupt:
            done = sum(map(len, study.played.values()))
            print(
                f"rollwise: interrupted after {done} of {study.size} instances; the results cover these instances only",
                file=sys.stderr,
            )
            return False
    return True
