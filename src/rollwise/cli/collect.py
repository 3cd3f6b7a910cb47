"""Completed prefixes of your own questions, for `rollwise calibrate --data`: what they will cost, then the work."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from rollwise.calibration import Completer, Cost, Plan, collect_scored_prefixes, measure, stored_problems
from rollwise.cli.progress import progress_bars
from rollwise.data import QuestionFile
from rollwise.errors import InputError
from rollwise.names import digest_of_files
from rollwise.search import (
    QUESTIONS,
    START,
    ClusterOptions,
    Config,
    Parts,
    Shown,
    completer_of,
    completers,
    find_parts,
)

_COLLECT = "Rollouts of --data"
_DECIDING = {
    *("temperature", "top_p", "seed", "max_step_tokens", "max_tokens", "max_steps", "answer"),
    *("step_rule", "instruction", "template", "shots", "stop", "concurrency", "tokenizer", "dtype"),
}
"""The fields of a search that decide a rollout."""


class CollectOptions(ClusterOptions, QuestionFile):
    """The options that complete prefixes of your own questions."""

    policy: Annotated[str | None, Shown(START)] = Field(
        default=None,
        description="With --data: the model that writes solutions, a server's URL or the folder of a causal language "
        "model.",
    )
    reward: Annotated[str | None, Shown(START, "the rewards in --prefixes; with --data confidence")] = Field(
        default=None,
        description="Reward model that scores the prefixes: trained, weak, a model's folder, family@URL, judge@URL, "
        "file.py:function, confidence (with --data), dial(SIZE,SHARED) or worth(...).",
    )
    limit: Annotated[int | None, Shown(QUESTIONS, "all")] = Field(
        default=None, ge=1, description="How many questions of --data are asked."
    )
    grader: Annotated[str, Shown(QUESTIONS)] = Field(
        default="auto",
        description="How answers to --data are graded: math (auto), integer, number or number(TOLERANCE), choice (A to "
        "E), text (exact), or your own as file.py:function.",
    )
    paths: Annotated[int, Shown(_COLLECT)] = Field(default=Plan.paths, ge=1, description="Plain samples per question.")
    points: Annotated[int, Shown(_COLLECT)] = Field(
        default=Plan.points, ge=1, description="Prefixes of each sample that are completed, at depths drawn at random."
    )
    completions: Annotated[int, Shown(_COLLECT)] = Field(
        default=Plan.completions, ge=2, description="Fresh completions of each of these prefixes."
    )
    search: Annotated[dict[str, Any], Shown(_COLLECT, flag="set")] = Field(
        default_factory=dict,
        description="A field of the search that the belief is for, as in rollwise bench: temperature=0.6, "
        "max_tokens=4096, step_rule=sentence.",
    )
    dry_run: Annotated[bool, Shown(_COLLECT)] = Field(
        default=False, description="Try a few questions, say what all will cost, and stop."
    )


def collect(options: CollectOptions, file: Path) -> Cost | None:
    """Complete the prefixes of --data into `file`, and return None; with --dry-run only return what it will cost.

    Questions that the file holds already are not asked again.
    """
    options.refuse_idle_cluster()
    questions, config = options.questions(options.grader), _config(options)
    parts = find_parts(config)
    if len(questions.problems) < 2:
        raise InputError("a belief needs several questions, at best dozens: raise --limit, or give more by --data")
    for remark in (*questions.remarks, *parts.notes):
        print(f"rollwise: {remark}", file=sys.stderr)
    completer = completer_of(parts, Plan(options.paths, options.points, options.completions))
    source = _source(options, parts)
    held = stored_problems(file, "prefixes", source)
    waiting = [problem for problem in questions.problems if problem.id not in held]
    if not waiting and not options.dry_run:
        return None
    try:
        with completers(completer, config, options.cluster) as do:
            with progress_bars() as show:
                measured = measure(
                    completer,
                    waiting or questions.problems,
                    do,
                    lambda done, total: show("questions sampled to estimate the cost", done, total, ""),
                )
            if options.dry_run:
                return measured.cost
            print(f"rollwise: {cost_text(measured.cost)}; they go to {file}", file=sys.stderr)
            with progress_bars() as show:
                collect_scored_prefixes(
                    completer,
                    questions.problems,
                    source,
                    file,
                    lambda done, total: show("questions", done, total, ""),
                    do,
                    measured.solutions,
                    measured.prefixes,
                )
    except KeyboardInterrupt:
        print(
            f"rollwise: interrupted, finished questions are kept in {file}; the same command goes on", file=sys.stderr
        )
        raise typer.Exit(130) from None
    _tell_faults(completer)
    return None


def cost_text(cost: Cost) -> str:
    """What a run will cost, as people read it."""
    time = str(timedelta(seconds=round(cost.seconds)))
    return (
        f"the prefixes of {cost.questions} questions will take about {cost.tokens:,.0f} tokens in {cost.steps:,.0f} "
        f"steps, a request each, and {time} (h:mm:ss), by a measure on a few of them"
    )


def _config(options: CollectOptions) -> Config:
    """The config of the search that the belief is for. Raises InputError for a field that decides no rollout."""
    if options.policy is None:
        raise InputError("--policy: give the URL of a server, or the folder of a model, that answers --data")
    if unread := [name for name in options.search if name not in _DECIDING]:
        raise InputError(
            f"--set {unread[0]}: nothing reads it here; the fields that decide a rollout are "
            f"{', '.join(sorted(_DECIDING))}"
        )
    reward = {} if options.reward is None else {"reward": options.reward}
    fixed = {"policy": options.policy, "grader": options.grader, "world": "text", "strategy": "rebase"}
    return Config.of(**options.search, **reward, **fixed)


def _source(options: CollectOptions, parts: Parts) -> dict[str, Any]:
    """What decides the prefixes beside each question, as JSON holds it."""
    decided = {name: getattr(parts.config, name) for name in sorted(_DECIDING - {"concurrency"})}
    source = {
        "world": "text",
        "policy": options.policy,
        "reward": parts.config.reward,
        "data": options.data,
        "grader": parts.grader.name,
        **asdict(Plan(options.paths, options.points, options.completions)),
        **decided,
        "files": {what: digest_of_files(files) for what, files in parts.files.items()},
    }
    return dict(json.loads(json.dumps(source)))


def _tell_faults(completer: Completer) -> None:
    """Say which questions could not be asked, and what the grader raised."""
    if completer.unasked:
        first = next(iter(completer.unasked.values()))
        print(
            f"rollwise: questions that could not be asked: {len(completer.unasked)}, the first: {first}; the same "
            "command tries them again",
            file=sys.stderr,
        )
    if completer.broken:
        print(
            f"rollwise: answers that could not be graded and count as wrong: {len(completer.broken)}, the first: "
            f"{completer.broken[0]}",
            file=sys.stderr,
        )
