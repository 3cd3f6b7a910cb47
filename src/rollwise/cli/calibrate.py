"""`rollwise calibrate`: fits a belief, how much a reward can be trusted, on completed prefixes."""

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
    ScoredPrefixes,
    Source,
    load_prefixes,
    observe_prefixes,
    observe_votes,
    prefix_source,
    recorded_rewards,
    score_problems,
    source_of,
    split_by_ending,
)
from rollwise.calibration import calibrate as fit
from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable
from rollwise.cli.progress import progress_bars
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.names import digest_of_files
from rollwise.registry import find_reward, find_world
from rollwise.report import belief_notes, belief_sheets, belief_svg, sheet_tables

PrefixesByProblem = Sequence[tuple[Problem, Sequence[Prefix]]]


def calibrate(
    prefixes: Annotated[
        Path, typer.Option(help="File of completed prefixes, as rollwise world rollouts writes it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The belief file to write.")] = Path("belief.json"),
    reward: Annotated[
        str | None,
        typer.Option(
            help="Reward model that scores the prefixes: trained, weak, a model's folder, dial(SIZE,SHARED) or "
            "worth(...).",
            show_default="the rewards in the file",
        ),
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="World of the problems.", show_default="the world that the file names")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Prefixes that a depth needs for a fit of its own.")] = 100,
    method: Annotated[str, typer.Option(help="Estimate of κ to use: likelihood or moments.")] = "likelihood",
    seed: Annotated[int, typer.Option(help="Seed of the resamples behind the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the belief as JSON and nothing else.")] = False,
    draw: Annotated[
        Path | None, typer.Option(help="SVG file for a picture of the reliability and of κ by depth.")
    ] = None,
) -> None:
    """Fit a belief: a calibrated chance for each reward and depth, and how far to trust it.

    Strategies that use a belief read the file with `--belief`. The prefixes may come from any model. If each has a
    field `reward`, no world and no reward model are needed.

    Examples:
    * `rollwise world rollouts stories --policy demonstrator --out runs/prefixes.jsonl`

    * `rollwise calibrate --prefixes runs/prefixes.jsonl --reward "worth(0.1,1)" --out belief.json --draw belief.svg`

    * `rollwise calibrate --prefixes mine.jsonl --out belief.json`
    """
    if method not in get_args(Method):
        raise InputError(f"--method takes {' or '.join(get_args(Method))}, not {method!r}")
    if reward is None and world is not None:
        raise InputError("--world is for --reward, which scores the prefixes; give both, or neither")
    _check_files(prefixes, out, draw)
    problems = list(load_prefixes(prefixes))
    if all(prefix.ended for _, several in problems for prefix in several):
        raise InputError(
            f"{prefixes} holds no unfinished prefix, and a belief is fitted on unfinished prefixes; complete some with "
            "rollwise world rollouts"
        )
    home = world if world is not None else problems[0][0].world or ""
    scored = recorded_rewards(problems) if reward is None else _scored(problems, reward, home)
    unfinished, finished = split_by_ending(scored)
    options = ["--out", str(out), "--least", str(least), "--method", method]
    calibration = fit(
        observe_prefixes(unfinished),
        _source(prefixes, unfinished, home, reward, options),
        least,
        cast(Method, method),
        seed,
        observe_votes(finished) if finished else None,
    )
    text = json.dumps(calibration.as_dict(), ensure_ascii=False, separators=(",", ":"))
    out.write_text(text + "\n", encoding="utf-8")
    if draw is not None:
        draw.write_text(belief_svg(calibration), encoding="utf-8")
    failed = 0 if reward is None else _prefix_count(problems) - _prefix_count(scored)
    _show(calibration, out, failed, as_json)


def _prefix_count(problems: Sequence[tuple[Problem, Sequence[object]]]) -> int:
    return sum(len(prefixes) for _, prefixes in problems)


def _check_files(prefixes: Path, out: Path, draw: Path | None) -> None:
    if not prefixes.is_file():
        raise InputError(f"--prefixes: {prefixes} does not exist; make it with rollwise world rollouts")
    check_writable(out, "--out")
    if draw is not None:
        check_writable(draw, "--draw")
        if draw.suffix != ".svg":
            raise InputError(f"--draw writes an SVG picture; give a file that ends in .svg, not {draw}")


def _scored(problems: PrefixesByProblem, reward: str, world: str) -> list[ScoredPrefixes]:
    """Every prefix with its reward from the model named `reward`; prefixes that the model fails on are left out."""
    if not world:
        raise InputError("the prefixes do not name their world, and a reward model needs it: give --world")
    others = {problem.world for problem, _ in problems} - {world, None}
    if others and others != {find_world(world).name}:
        raise InputError(f"the prefixes are of the world {', '.join(map(str, others))}, not {world}; leave out --world")
    model = find_reward(reward, world)
    with progress_bars() as show:
        return score_problems(model, problems, lambda done, total: show("problems scored", done, total, ""))


def _source(
    file: Path, scored: Sequence[ScoredPrefixes], world: str, reward: str | None, options: Sequence[str]
) -> Source:
    """The source of the belief, as far as the file of prefixes and the command name it."""
    recorded = prefix_source(file)
    prefixes = [prefix for _, pairs in scored for prefix, _ in pairs]
    command = ["rollwise", "calibrate", "--prefixes", str(file)]
    command += [] if reward is None else ["--reward", reward, "--world", world]
    temperature = recorded.get("temperature")
    known_temperature = float(temperature) if isinstance(temperature, int | float) else None
    return replace(
        source_of(world, known_temperature, recorded.get("policy", ""), reward or ""),
        prefixes_digest=digest_of_files([file]),
        problems=len(scored),
        prefixes=len(prefixes),
        completions=sum(prefix.completions for prefix in prefixes),
        rollwise=rollwise.__version__,
        command=shlex.join([*command, *options]),
    )


def _show(calibration: Calibration, out: Path, failed: int, as_json: bool) -> None:
    """Print the belief; `failed` counts the prefixes that the reward model failed on."""
    if as_json:
        echo_json(json.dumps(calibration.as_dict(), ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False)
    for sheet in belief_sheets(calibration):
        for table in sheet_tables(sheet, console.width):
            console.print(table)
            console.print()
    if failed:
        console.print(f"{failed} prefixes were left out, because the reward model failed on them.", style="yellow")
    for note in belief_notes(calibration):
        console.print(note)
    console.print(f"written to {out}", style="bold")
