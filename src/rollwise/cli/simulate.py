"""`rollwise simulate`: strategies where every chance is known, so that what each of them gives away can be told."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rollwise.cli.options import check_writable, whole_numbers
from rollwise.cli.progress import progress_bars
from rollwise.errors import InputError
from rollwise.report import sheet_tables, simulation_sheets, simulation_svg
from rollwise.simulation import Branching, OneShot, Study, most_jobs, read_contenders, sweep

_EVERY, _FEW = 20, 200


def _world(text: str, one_shot: Any, branching: Any = None) -> Any:
    """An option for a field of a world: its default where there are candidates, and in a tree."""
    shown = f"{one_shot}" if branching in (None, one_shot) else f"{one_shot}; in a tree {branching}"
    return typer.Option(help=text, show_default=shown if one_shot is not None else f"{branching}")


def simulate(
    strategies: Annotated[
        str, typer.Option(help="Names, each with options if you like: rebase, dora:rounding=paper, mine.py:best_half.")
    ] = "temperature,rebase,dora,optimal_directions",
    budgets: Annotated[str, typer.Option(help="Rollouts N: 16,64.")] = "16,64",
    instances: Annotated[int, typer.Option(help="Instances of each setting.")] = 1000,
    seed: Annotated[int, typer.Option(help="Names the instances; equal seed, equal numbers.")] = 0,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with.", show_default="rebase, else the first")
    ] = None,
    depth: Annotated[
        str | None, typer.Option(help="Steps of a tree that is searched; without it, candidates are allocated to once.")
    ] = None,
    candidates: Annotated[str | None, _world("Candidates; 0 is as many as the budget.", OneShot.candidates)] = None,
    directions: Annotated[str | None, _world("Directions that candidates are drawn from.", OneShot.directions)] = None,
    branches: Annotated[str | None, _world("Children of a tree's node.", None, Branching.branches)] = None,
    imbalance: Annotated[
        str | None, _world("Zipf exponent of the directions' sizes; 0 is even.", OneShot.imbalance, Branching.imbalance)
    ] = None,
    crowd: Annotated[
        str | None, _world("Share of the candidates in one direction, all others alone.", OneShot.crowd)
    ] = None,
    worth: Annotated[
        str | None, _world("Mean chance of a direction; in a tree the root's.", OneShot.worth, Branching.worth)
    ] = None,
    spread: Annotated[
        str | None,
        _world(
            "How alike directions' means are; in a tree how unlike a node's children.", OneShot.spread, Branching.spread
        ),
    ] = None,
    popularity: Annotated[
        str | None, _world("Log-odds that a direction gains by log size.", OneShot.popularity, Branching.popularity)
    ] = None,
    concentration: Annotated[
        str | None, _world("κ: how near chances lie to their mean.", OneShot.concentration)
    ] = None,
    correlation: Annotated[str | None, _world("ρ: how much of that a direction shares.", OneShot.correlation)] = None,
    noise: Annotated[
        str | None, _world("Standard deviation of a score's error.", OneShot.noise, Branching.noise)
    ] = None,
    shared: Annotated[
        str | None, _world("Share of that error common to a direction.", OneShot.shared, Branching.shared)
    ] = None,
    bias: Annotated[str | None, _world("Added to every score.", OneShot.bias, Branching.bias)] = None,
    merge: Annotated[str | None, _world("Chance that a direction is told as another.", OneShot.merge)] = None,
    split: Annotated[str | None, _world("Chance that a path is told as a direction of its own.", OneShot.split)] = None,
    told: Annotated[str | None, _world("Belief: 'observed' scores as they are, or 'fitted'.", OneShot.told)] = None,
    told_concentration: Annotated[
        str | None, _world("κ that the belief says.", "the true one", Branching.told_concentration)
    ] = None,
    told_correlation: Annotated[
        str | None, _world("ρ that the belief says.", "the true one", Branching.told_correlation)
    ] = None,
    answers: Annotated[str | None, _world("Wrong answers in a tree.", None, Branching.answers)] = None,
    agreement: Annotated[
        str | None, _world("Zipf exponent of how popular those are.", None, Branching.agreement)
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes that play at once; they change no number.", show_default="one for each core"),
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Write a picture of the regret to this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON and nothing else.")] = False,
) -> None:
    """Compare strategies where every chance is known: how often all rollouts fail, and how much less the best fails.

    One option of the world may be a list, like --noise 0,0.1,0.2: then the tables and the picture are against it.
    Ctrl-C prints what is there so far.

    Examples:
    * `rollwise simulate --strategies temperature,rebase,dora --budgets 16,64 --noise 0,0.1,0.2 --draw regret.svg`

    * `rollwise simulate --candidates 8 --budgets 32 --correlation 0.5`

    * `rollwise simulate --depth 4 --budgets 64 --strategies rebase,dora,mine.py:best_half`
    """
    told_fields = {name: value for name, value in locals().items() if value is not None and name in _WORLD_FIELDS}
    if draw is not None:
        check_writable(draw, "--draw")
    kind, swept, values, world = _read_world(told_fields)
    sizes = whole_numbers(budgets, "--budgets")
    contenders = read_contenders(strategies)
    study = Study(sweep(world, swept, values, sizes), contenders, instances, seed, baseline)
    if draw is not None and len(values if swept else sizes) < 2:
        raise InputError("--draw shows regret against something: give a list of --budgets, or of one option")
    finished = _run_aloud(study, _jobs(study) if jobs is None else jobs)
    found = study.found()
    if as_json:
        document = {"world": kind.__name__, "swept": swept, "seed": seed, "baseline": study.baseline}
        typer.echo(json.dumps(document | {"settings": [one.as_dict() for one in found]}, ensure_ascii=False, indent=2))
    else:
        console = Console(highlight=False)
        for sheet in simulation_sheets(found, swept, str(study.baseline)):
            console.print(sheet.title, style="italic", soft_wrap=True)
            for table in sheet_tables(replace(sheet, title=""), console.width):
                console.print(table)
            console.print()
    if draw is not None and found:
        draw.write_text(simulation_svg(found, swept), encoding="utf-8")
    if not finished:
        raise typer.Exit(130)


_WORLD_FIELDS = frozenset(one.name for world in (OneShot, Branching) for one in fields(world))


def _read_world(given: Mapping[str, str]) -> tuple[type, str | None, list[Any], OneShot | Branching]:
    """The kind of world, the swept field with its values, and the world at the first of them."""
    kind: type[OneShot] | type[Branching] = Branching if "depth" in given else OneShot
    known = {one.name: str(one.type) for one in fields(kind)}
    for name in given:
        if name not in known:
            where = "a tree, which --depth asks for" if kind is Branching else "candidates without --depth"
            raise InputError(f"--{name.replace('_', '-')} means nothing for {where}; leave it out")
    values = {name: _values(text, known[name], f"--{name.replace('_', '-')}") for name, text in given.items()}
    lists = [name for name, several in values.items() if len(several) > 1]
    if len(lists) > 1:
        raise InputError(f"one option may be a list, not {' and '.join(lists)}; give the others one value")
    world = kind(**{name: several[0] for name, several in values.items()})
    return kind, lists[0] if lists else None, values[lists[0]] if lists else [], world


def _values(text: str, kind: str, option: str) -> list[Any]:
    parts = [part.strip() for part in text.split(",")]
    if len(set(parts)) < len(parts):
        raise InputError(f"{option}: a value is given twice; give each once")
    if kind == "str":
        return parts
    if kind == "int":
        return whole_numbers(text, option)
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise InputError(f"{option} takes a number, or several with commas between them, not {text!r}") from None


def _jobs(study: Study) -> int:
    """One for each core, unless there is so little to play that forking them takes longer."""
    return most_jobs() if study.size > _FEW else 1


def _run_aloud(study: Study, jobs: int) -> bool:
    """Whether the study ran to its end; an interrupt ends it early."""
    with progress_bars() as show:

        def on_instance(done: int) -> None:
            if done % _EVERY == 0 or done == study.size:
                show("simulate", done, study.size, "")

        try:
            study.run(on_instance, jobs)
        except KeyboardInterrupt:
            done = sum(map(len, study.played.values()))
            print(
                f"rollwise: interrupted after {done} of {study.size} instances; this is what they say", file=sys.stderr
            )
            return False
    return True
