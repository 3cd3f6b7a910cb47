"""`rollwise simulate`: compares strategies where every chance is known, so that the loss of each can be measured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field, create_model
from rich.console import Console

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable, document, whole_numbers
from rollwise.cli.progress import progress_bars
from rollwise.errors import InputError
from rollwise.report import sheet_tables, simulation_sheets, simulation_svg
from rollwise.search import OUTPUT, RUN, START, Numbers, Options, Shown, validated
from rollwise.simulation import Branching, Found, OneShot, Study, most_jobs, read_contenders, sweep

_REPORT_EVERY = 20
"""How many instances are played between two reports of progress."""
_SMALL_STUDY = 200
"""Up to this many instances, a single process is faster than several."""


class StudyOptions(Options):
    """The options of `rollwise simulate`, except the fields of its worlds."""

    strategies: Annotated[str, Shown(START)] = Field(
        default="temperature,rebase,dora,optimal_directions",
        description="Strategies, with options if you like: rebase, dora:rounding=paper, mine.py:best_half.",
    )
    budgets: Annotated[Numbers, Shown(START)] = Field(
        default=(16, 64), description="Budgets N in rollouts, such as 16,64."
    )
    instances: Annotated[int, Shown(START)] = Field(default=Study.instances, description="Instances of each setting.")
    baseline: Annotated[str | None, Shown(START, "rebase if it is given, else the first")] = Field(
        default=None, description="Strategy that the others are compared with."
    )
    depth: Annotated[str | None, Shown(START)] = Field(
        default=None,
        description="Steps of a tree, which is searched. Without it, there is a single allocation over candidates.",
    )
    seed: Annotated[int, Shown(RUN)] = Field(
        default=Study.seed, description="Seed of the instances; the same seed gives the same numbers."
    )
    jobs: Annotated[int | None, Shown(RUN, "one per core")] = Field(
        default=None, description="Number of parallel processes; it does not change any result."
    )
    draw: Annotated[Path | None, Shown(OUTPUT)] = Field(
        default=None, description="SVG file for a picture of the regret."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the results as JSON and nothing else."
    )


_TREES = "Trees"
_CHANCES = "Chances and directions"
_SCORES = "Scores and labels"
_BELIEFS = "Beliefs"
_WORLD_OPTIONS = {
    "branches": (_TREES, "Children of each node."),
    "answers": (_TREES, "Number of wrong answers."),
    "agreement": (_TREES, "Zipf exponent of the popularity of wrong answers."),
    "candidates": (_CHANCES, "Number of candidates; 0 uses the budget."),
    "directions": (_CHANCES, "Number of directions that candidates are drawn from."),
    "imbalance": (_CHANCES, "Zipf exponent of the sizes of directions; 0 makes them even."),
    "crowd": (_CHANCES, "Share of candidates in a single direction; each other candidate has its own."),
    "worth": (_CHANCES, "Mean chance of a direction; in a tree that of the root."),
    "spread": (
        _CHANCES,
        "How similar the mean chances of directions are; in a tree, how much a node's children differ.",
    ),
    "popularity": (_CHANCES, "Log-odds that a direction gains per log of its size."),
    "concentration": (_CHANCES, "κ: how close chances are to their mean."),
    "correlation": (_CHANCES, "ρ: share of the deviation from the mean that a direction has in common."),
    "noise": (_SCORES, "Standard deviation of the error of a score."),
    "shared": (_SCORES, "Share of that error that a direction has in common."),
    "bias": (_SCORES, "Constant that is added to every score."),
    "merge": (_SCORES, "Chance that a direction gets the label of another."),
    "split": (_SCORES, "Chance that a path gets a label of its own."),
    "told": (
        _BELIEFS,
        "How the belief is made: 'observed' uses the scores as means, 'fitted' fits them on other instances.",
    ),
    "told_concentration": (_BELIEFS, "κ of the belief."),
    "told_correlation": (_BELIEFS, "ρ of the belief."),
}
"""Field of `OneShot` or `Branching` → its group in the help and its description. `depth` chooses between the two."""
_TRUTH = {"told_concentration": "the true κ", "told_correlation": "the true ρ"}
"""The defaults of the fields that are None in `OneShot`: it takes the true value."""


def _default(name: str) -> str:
    """The default of a world's field: that of one allocation, then that of a tree if it differs."""
    values = [getattr(world, name) for world in (OneShot, Branching) if hasattr(world, name)]
    texts = dict.fromkeys(_TRUTH[name] if value is None else str(value) for value in values)
    return "; in a tree ".join(texts)


def _world_fields() -> dict[str, Any]:
    """The definitions of the worlds' fields, for a model."""
    return {
        name: (Annotated[str | None, Shown(group, _default(name))], Field(default=None, description=text))
        for name, (group, text) in _WORLD_OPTIONS.items()
    }


SimulateOptions = create_model(
    "SimulateOptions",
    __base__=StudyOptions,
    __doc__="The options of `rollwise simulate`. A world's field is a text, because it may hold a list of values.",
    **_world_fields(),
)


def simulate(given: dict[str, Any]) -> None:
    """Compare strategies where every chance is known: how often all rollouts fail, and how much of that is avoidable.

    One option of the world may be a list, like --noise 0,0.1,0.2. Then the tables and the picture show its values.
    After Ctrl-C, the command prints the results so far.

    Examples:
    * `rollwise simulate --strategies temperature,rebase,dora --budgets 16,64 --noise 0,0.1,0.2 --draw regret.svg`

    * `rollwise simulate --candidates 8 --budgets 32 --correlation 0.5`

    * `rollwise simulate --depth 4 --budgets 64 --strategies rebase,dora,mine.py:best_half`
    """
    options = validated(SimulateOptions, given)
    if options.draw is not None:
        check_writable(options.draw, "--draw")
    kind, swept, values, world = _read_world({name: text for name, text in given.items() if name in _WORLD_FIELDS})
    settings = sweep(world, swept, values, options.budgets)
    contenders = read_contenders(options.strategies)
    study = Study(settings, contenders, options.instances, options.seed, options.baseline)
    if options.draw is not None and len(values if swept else options.budgets) < 2:
        raise InputError(
            "--draw shows regret against a list of values: give several --budgets, or several values of one option"
        )
    finished = _run(study, _jobs(study) if options.jobs is None else options.jobs)
    results = study.found()
    if options.as_json:
        facts = {"world": kind.__name__, "swept": swept, "seed": study.seed, "baseline": study.baseline}
        echo_json(document(facts | {"settings": [result.as_dict() for result in results]}))
    else:
        _print_tables(results, swept, str(study.baseline))
    if options.draw is not None and results:
        options.draw.write_text(simulation_svg(results, swept), encoding="utf-8")
    if not finished:
        raise typer.Exit(130)


def _print_tables(results: Sequence[Found], swept: str | None, baseline: str) -> None:
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
