"""`rollwise calibrate`: fits a belief, how much a reward can be trusted, on completed prefixes."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from rich.console import Console

import rollwise
from rollwise.answers import AUTO, check_form
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
from rollwise.cli.collect import CollectOptions, collect, cost_text
from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable, document, flag_of, settings
from rollwise.cli.progress import progress_bars
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.names import digest_of_files
from rollwise.registry import find_problems, find_reward
from rollwise.report import belief_notes, belief_sheets, belief_svg, sheet_tables
from rollwise.search import OUTPUT, QUESTIONS, START, Shown, validated

PrefixesByProblem = Sequence[tuple[Problem, Sequence[Prefix]]]


_FIT = "Fit"
_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(fit).parameters.items()}


class CalibrateOptions(CollectOptions):
    """The options of `rollwise calibrate`."""

    prefixes: Annotated[Path | None, Shown(START, "with --data beside --out")] = Field(
        default=None,
        description="File of completed prefixes, as rollwise world rollouts writes it; with --data, where they go.",
    )
    world: Annotated[str | None, Shown(QUESTIONS, "the world that the file names")] = Field(
        default=None, description="World of the problems in --prefixes."
    )
    answer: Annotated[str | None, Shown(QUESTIONS, "as the file says, else auto")] = Field(
        default=None,
        description="Where the answer stands in a solution, as for rollwise solve. The rewards dial and worth read it.",
    )
    out: Annotated[Path, Shown(START)] = Field(default=Path("belief.json"), description="The belief file to write.")
    least: Annotated[int, Shown(_FIT)] = Field(
        default=_DEFAULTS["least"], ge=1, description="Prefixes that a depth needs for a fit of its own."
    )
    method: Annotated[Method, Shown(_FIT)] = Field(
        default=_DEFAULTS["method"], description="Estimate of κ to use: likelihood or moments."
    )
    seed: Annotated[int, Shown(_FIT)] = Field(
        default=_DEFAULTS["seed"], description="Seed of the resamples behind the intervals."
    )
    draw: Annotated[Path | None, Shown(OUTPUT)] = Field(
        default=None, description="SVG file for a picture of the reliability and of κ by depth."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the belief as JSON and nothing else."
    )


def calibrate(given: dict[str, Any]) -> None:
    """Fit a belief: a calibrated chance for each reward and depth, and how far to trust it.

    Strategies that use a belief read the file with `--belief`. With `--data`, prefixes of your own questions are
    completed first; after Ctrl-C, the same command goes on. Prefixes in a file may come from any model. If each has a
    field `reward`, no world and no reward model are needed.

    Examples:
    * `rollwise calibrate --data questions.jsonl --policy http://127.0.0.1:8000 --reward path/to/prm --dry-run`

    * `rollwise world rollouts stories --policy demonstrator --out runs/prefixes.jsonl`

    * `rollwise calibrate --prefixes runs/prefixes.jsonl --reward "worth(0.1,1)" --out belief.json --draw belief.svg`

    * `rollwise calibrate --prefixes mine.jsonl --out belief.json`
    """
    options = validated(CalibrateOptions, settings(given, "search"))
    options.refuse_fields_without_data()
    if options.data is not None:
        _calibrate_on_data(options, options.prefixes or options.out.with_suffix(".prefixes.jsonl"))
        return
    _refuse_without_data(given)
    if options.prefixes is None:
        raise InputError(
            "give your own questions by --data FILE with a --policy, or completed prefixes by --prefixes FILE"
        )
    if options.reward is None and options.world is not None:
        raise InputError("--world is for --reward, which scores the prefixes; give both, or neither")
    if options.reward is None and options.answer is not None:
        raise InputError("--answer is for --reward, which scores the prefixes; give both, or neither")
    _check_files(options.out, options.draw)
    problems = _read(options.prefixes)
    world = options.world if options.world is not None else problems[0][0].world or ""
    if options.reward is None:
        scored = recorded_rewards(problems)
    else:
        scored = _scored(problems, options.reward, world, _form(options, options.prefixes))
    failed = 0 if options.reward is None else _prefix_count(problems) - _prefix_count(scored)
    _finish(options, options.prefixes, scored, world, failed)


def _calibrate_on_data(options: CalibrateOptions, prefixes: Path) -> None:
    """Complete prefixes of --data and fit a belief on them; with --dry-run, only say what the prefixes cost."""
    if options.world not in (None, "text"):
        raise InputError(f"--data brings its own questions: leave --world {options.world} out")
    if options.answer is not None:
        options = options.model_copy(update={"search": {"answer": options.answer} | options.search})
    _check_files(options.out, options.draw)
    check_writable(prefixes, "--prefixes")
    cost = collect(options, prefixes)
    if cost is not None:
        print(document(vars(cost)) if options.as_json else cost_text(cost))
        return
    _finish(options, prefixes, recorded_rewards(_read(prefixes)), "text", 0)


def _refuse_without_data(given: dict[str, Any]) -> None:
    """Raise InputError for an option that only --data reads."""
    for name, field in CollectOptions.model_fields.items():
        if name in given and name not in ("reward", "data"):
            raise InputError(f"{flag_of(name, field)} is for --data: give --data FILE too, or leave it out")


def _finish(
    options: CalibrateOptions, prefixes: Path, scored: Sequence[ScoredPrefixes], world: str, failed: int
) -> None:
    """Fit the belief, write it and show it. `failed` counts the prefixes that the reward model failed on."""
    calibration = _fitted(options, prefixes, scored, world)
    text = json.dumps(calibration.as_dict(), ensure_ascii=False, separators=(",", ":"))
    options.out.write_text(text + "\n", encoding="utf-8")
    if options.draw is not None:
        options.draw.write_text(belief_svg(calibration), encoding="utf-8")
    _show(calibration, options.out, failed, options.as_json)


def _prefix_count(problems: Sequence[tuple[Problem, Sequence[object]]]) -> int:
    return sum(len(prefixes) for _, prefixes in problems)


def _check_files(out: Path, draw: Path | None) -> None:
    check_writable(out, "--out")
    if draw is not None:
        check_writable(draw, "--draw")
        if draw.suffix != ".svg":
            raise InputError(f"--draw writes an SVG picture; give a file that ends in .svg, not {draw}")


def _read(file: Path) -> PrefixesByProblem:
    """The problems of a file with their prefixes. Raises InputError if no prefix is unfinished."""
    if not file.is_file():
        raise InputError(f"--prefixes: {file} does not exist; make it with rollwise world rollouts or by --data")
    problems = list(load_prefixes(file))
    if all(prefix.ended for _, several in problems for prefix in several):
        raise InputError(
            f"{file} holds no unfinished prefix, and a belief is fitted on unfinished prefixes: complete some with "
            "rollwise world rollouts, or with --data and a step rule that cuts solutions into steps, such as --set "
            "step_rule=sentence and another --prefixes"
        )
    return problems


def _form(options: CalibrateOptions, prefixes: Path) -> str:
    """The form in which answers are read. Raises InputError if it is unknown."""
    form = options.answer or prefix_source(prefixes).get("answer", AUTO)
    if not isinstance(form, str):
        raise InputError(f"{prefixes} names its form of answers {form!r:.60}; give --answer")
    check_form(form)
    return form


def _scored(problems: PrefixesByProblem, reward: str, world: str, answer: str) -> list[ScoredPrefixes]:
    """Every prefix with its reward from the model named `reward`; prefixes that the model fails on are left out."""
    if not world:
        raise InputError("the prefixes do not name their world, and a reward model needs it: give --world")
    others = {problem.world for problem, _ in problems} - {world, None}
    if others and others != {find_problems(world).name}:
        raise InputError(f"the prefixes are of the world {', '.join(map(str, others))}, not {world}; leave out --world")
    model = find_reward(reward, world, answer=answer)
    with progress_bars() as show:
        return score_problems(model, problems, lambda done, total: show("problems scored", done, total, ""))


def _fitted(options: CalibrateOptions, prefixes: Path, scored: Sequence[ScoredPrefixes], world: str) -> Calibration:
    """The calibration fitted on scored prefixes; the finished ones are given apart."""
    unfinished, finished = split_by_ending(scored)
    return fit(
        observe_prefixes(unfinished),
        _source(options, prefixes, unfinished, world),
        options.least,
        options.method,
        options.seed,
        observe_votes(finished) if finished else None,
    )


def _source(options: CalibrateOptions, file: Path, scored: Sequence[ScoredPrefixes], world: str) -> Source:
    """The source of the belief, as far as the file of prefixes and the command name it."""
    recorded = prefix_source(file)
    prefixes = [prefix for _, pairs in scored for prefix, _ in pairs]
    command = ["rollwise", "calibrate", "--prefixes", str(file)]
    if options.reward is not None and options.data is None:
        command += ["--reward", options.reward, "--world", world]
        command += [] if options.answer is None else ["--answer", options.answer]
    command += ["--out", str(options.out), "--least", str(options.least), "--method", options.method]
    temperature = recorded.get("temperature")
    known_temperature = float(temperature) if isinstance(temperature, int | float) else None
    return replace(
        source_of(world, known_temperature, recorded.get("policy", ""), options.reward or recorded.get("reward", "")),
        prefixes_digest=digest_of_files([file]),
        problems=len(scored),
        prefixes=len(prefixes),
        completions=sum(prefix.completions for prefix in prefixes),
        rollwise=rollwise.__version__,
        command=shlex.join(command),
    )


def _show(calibration: Calibration, out: Path, failed: int, as_json: bool) -> None:
    """Print the belief; `failed` counts the prefixes that the reward model failed on."""
    if as_json:
        echo_json(document(calibration.as_dict()))
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
