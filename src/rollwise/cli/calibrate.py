"""`rollwise calibrate`: what a reward is worth, fitted on completed prefixes, for the strategies that read a belief."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

import rollwise
from rollwise.calibration import (
    Calibration,
    Method,
    Prefix,
    Scored,
    Source,
    by_ending,
    load_prefixes,
    observations,
    prefix_source,
    scored_already,
    scored_by,
    source_of,
    votes,
)
from rollwise.calibration import calibrate as fit
from rollwise.cli.options import check_writable
from rollwise.cli.progress import progress_bars
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.names import digest_of_files
from rollwise.registry import find_reward, find_world
from rollwise.report import belief_notes, belief_sheets, belief_svg, sheet_tables

Many = Sequence[tuple[Problem, Sequence[Prefix]]]


def calibrate(
    prefixes: Annotated[
        Path, typer.Option(help="Completed prefixes, as rollwise world rollouts writes them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("belief.json"),
    reward: Annotated[
        str | None,
        typer.Option(
            help="What scores the prefixes: trained, weak, a model's folder, dial(SIZE,SHARED) or worth(...).",
            show_default="the rewards in the file",
        ),
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="The world of the problems.", show_default="the one the file names")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Prefixes that a depth needs to be fitted by itself.")] = 100,
    method: Annotated[str, typer.Option(help="Which κ is used: by likelihood or by moments.")] = "likelihood",
    seed: Annotated[int, typer.Option(help="Draws the resamples of the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the belief as JSON and nothing else.")] = False,
    draw: Annotated[Path | None, typer.Option(help="Write reliability and κ by depth to this SVG file.")] = None,
) -> None:
    """Fit what a reward is worth: a calibrated chance for each reward and depth, and how much to trust it.

    Strategies that read a belief take the file by `--belief`. The prefixes may come from any model: with a field
    `reward` in each, neither a world nor a reward model is needed.

    Examples:
    * `rollwise world rollouts stories --policy demonstrator --out runs/prefixes.jsonl`

    * `rollwise calibrate --prefixes runs/prefixes.jsonl --reward "worth(0.1,1)" --out belief.json --draw belief.svg`

    * `rollwise calibrate --prefixes mine.jsonl --out belief.json`
    """
    if method not in get_args(Method):
        raise InputError(f"--method: one of {', '.join(get_args(Method))} is wanted, not {method!r}")
    if reward is None and world is not None:
        raise InputError("--world is for --reward, which scores the prefixes; give both, or neither")
    _check_files(prefixes, out, draw)
    many = list(load_prefixes(prefixes))
    if all(one.ended for _, some in many for one in some):
        raise InputError(f"{prefixes} holds no unfinished prefix, and only these are handed rollouts; complete some")
    home = world if world is not None else many[0][0].world or ""
    everything = scored_already(many) if reward is None else _scored(many, reward, home)
    scored, finished = by_ending(everything)
    source = _source(prefixes, scored, home, reward, ["--out", str(out), "--least", str(least), "--method", method])
    voters = votes(finished) if finished else None
    made = fit(observations(scored), source, least, cast(Method, method), seed, voters)
    out.write_text(json.dumps(made.as_dict(), ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    if draw is not None:
        draw.write_text(belief_svg(made), encoding="utf-8")
    asked = 0 if reward is None else sum(len(some) for _, some in many)
    _show(made, out, max(0, asked - sum(len(some) for _, some in everything)), as_json)


def _check_files(prefixes: Path, out: Path, draw: Path | None) -> None:
    if not prefixes.is_file():
        raise InputError(f"--prefixes: {prefixes} does not exist; make it by rollwise world rollouts")
    check_writable(out, "--out")
    if draw is not None:
        check_writable(draw, "--draw")
        if draw.suffix != ".svg":
            raise InputError(f"--draw: pictures are written as SVG; give a file that ends in .svg, not {draw}")


def _scored(many: Many, reward: str, world: str) -> list[Scored]:
    if not world:
        raise InputError("the prefixes do not name their world, which a reward model needs: give it by --world")
    others = {problem.world for problem, _ in many} - {world, None}
    if others and others != {find_world(world).name}:
        raise InputError(f"the prefixes are of the world {', '.join(map(str, others))}, not {world}; leave out --world")
    model = find_reward(reward, world)
    with progress_bars() as show:
        return scored_by(model, many, lambda done, total: show("problems scored", done, total, ""))


def _source(prefixes: Path, scored: Sequence[Scored], world: str, reward: str | None, options: Sequence[str]) -> Source:
    """What the belief is fitted on, as far as the file and the command tell."""
    told = prefix_source(prefixes)
    rows = [one for _, some in scored for one, _ in some]
    command = ["rollwise", "calibrate", "--prefixes", str(prefixes)]
    command += [] if reward is None else ["--reward", reward, "--world", world]
    heat = told.get("temperature")
    return replace(
        source_of(world, float(heat) if isinstance(heat, int | float) else None, told.get("policy", ""), reward or ""),
        prefixes_digest=digest_of_files([prefixes]),
        problems=len(scored),
        prefixes=len(rows),
        completions=sum(one.completions for one in rows),
        rollwise=rollwise.__version__,
        command=shlex.join([*command, *options]),
    )


def _show(made: Calibration, out: Path, lost: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made.as_dict(), ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False)
    for sheet in belief_sheets(made):
        for table in sheet_tables(sheet, console.width):
            console.print(table)
            console.print()
    if lost:
        console.print(f"{lost} prefixes were left out: the reward model failed on them.", style="yellow")
    for note in belief_notes(made):
        console.print(note)
    console.print(f"written to {out}", style="bold")
