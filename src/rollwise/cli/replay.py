"""`rollwise replay`: what other votes, stop rules or allocators would have given on what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table

from rollwise.answers import STOP_RULES, StopRule, find_stop_rule
from rollwise.cli.console import echo_json
from rollwise.cli.grade import json_records
from rollwise.cli.options import command, document
from rollwise.cli.progress import Show, progress_bars
from rollwise.errors import InputError
from rollwise.replay import Played, Recorded, VotesReplay, orders_of, play, read_recorded, summarise_votes
from rollwise.report.sheets import number_column
from rollwise.search import OUTPUT, QUESTIONS, START, Names, Options, Shown, validated

RULES = (
    *("lossless", "predictive(0.99)", "predictive(0.95)", "likely(0.99)", "likely(0.95)", "likely(0.9)"),
    *("window(5)", "first(1)", "first(4)", "first(16)", "first(64)"),
)


class VotesOptions(Options):
    """The options of `rollwise replay votes`."""

    files: Annotated[tuple[Path, ...], Shown(START, argument=True, repeatable=True)] = Field(
        description="JSON lines, a question each; - reads standard input."
    )
    rules: Annotated[Names, Shown(START)] = Field(
        default=RULES, description=f"The stop rules to compare, of the forms {STOP_RULES}."
    )
    group: Annotated[Literal["mathematics", "text"], Shown(QUESTIONS)] = Field(
        default="mathematics", description="Which answers are one: those that are the same mathematics, or equal text."
    )
    shuffles: Annotated[int, Shown(QUESTIONS)] = Field(
        default=20, ge=1, le=10_000, description="Random orders of each question's answers."
    )
    seed: Annotated[int, Shown(QUESTIONS)] = Field(default=0, ge=0, description="Seeds the random orders.")
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the result as JSON and nothing else."
    )


def votes(given: dict[str, Any]) -> None:
    """Say what stop rules would have saved on answers that were sampled before, and at what accuracy.

    A line of a file is {"answers": [...], "tokens": [...], "gold": ...}, or {"all_answers": [[answer, tokens], ...],
    "gold_answer": ...}. Tokens and gold may be left out. Factors are sums over all questions: all samples divided by
    those used.

    Examples:
    * `rollwise replay votes answers.jsonl`

    * `rollwise replay votes a.jsonl b.jsonl --rules "lossless,likely(0.95),first(16)" --json`
    """
    options = validated(VotesOptions, given)
    rules = [find_stop_rule(name) for name in options.rules]
    if not rules:
        raise InputError(f"--rules: give at least one, of the forms {STOP_RULES}")
    recorded = {str(file): _read(str(file)) for file in dict.fromkeys(options.files)}
    with progress_bars() as show:
        played = {file: _play(file, questions, rules, options, show) for file, questions in recorded.items()}
    replays = {file: summarise_votes(each, rules) for file, each in played.items()}
    pooled = summarise_votes([one for each in played.values() for one in each], rules)
    if options.as_json:
        settings = {"group": options.group, "shuffles": options.shuffles, "seed": options.seed}
        files = [{"file": file, **replay.as_dict()} for file, replay in replays.items()]
        echo_json(document({**settings, **pooled.as_dict(), "files": files}))
        return
    console = Console(highlight=False)
    for file, replay in replays.items():
        _show(file, replay, console)
    if len(replays) > 1:
        _show(f"all {len(replays)} files", pooled, console)
    console.print(_LEGEND, style="dim")


_LEGEND = (
    "saved: all samples or tokens divided by those used, both summed over the questions. agreement: how often the "
    "winner is that of all answers in the same order. In brackets: 95 % intervals over questions."
)


def _read(file: str) -> list[Recorded]:
    questions = []
    try:
        for number, record in json_records(file):
            try:
                questions.append(read_recorded(record))
            except InputError as error:
                raise InputError(f"line {number}: {error}") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if not questions:
        raise InputError(f"{file} holds no question; give JSON lines, a question each")
    return questions


def _play(
    file: str, questions: Sequence[Recorded], rules: Sequence[StopRule], options: VotesOptions, show: Show
) -> list[Played]:
    played = []
    for place, question in enumerate(questions):
        orders = orders_of(question, options.shuffles, options.seed, place)
        played.append(play(question, rules, orders, options.group))
        show(Path(file).name, place + 1, len(questions), "")
    return played


def _show(name: str, replay: VotesReplay, console: Console) -> None:
    tokens = "" if replay.tokens is None else f", {replay.tokens:,} tokens"
    console.print(f"{name}: {replay.questions} questions, {replay.samples:,} answers{tokens}", style="bold")
    if replay.graded < replay.questions:
        missing = replay.questions - replay.graded
        console.print(f"{missing} questions have no gold answer and count in no accuracy", style="yellow")
    if replay.accuracy is not None:
        figures = ", ".join(f"{_words(vote)} {share:.1%}" for vote, share in replay.votes.items())
        console.print(f"all answers: {figures}; one answer {replay.single:.1%}; any right {replay.coverage:.1%}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stop rule")
    for column in ("samples saved", "tokens saved", "agreement", "accuracy"):
        number_column(table, column)
    for row in replay.rules:
        table.add_row(
            row.rule,
            _factor(row.samples_saved, row.samples_saved_interval),
            _factor(row.tokens_saved, row.tokens_saved_interval),
            _share(row.agreement, row.agreement_interval),
            _share(row.accuracy, row.accuracy_interval),
        )
    console.print(table)
    console.print()


def _words(vote: str) -> str:
    return vote.replace("_", " ")


def _factor(value: float | None, interval: tuple[float, float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.2f} × [{interval[0]:.1f}, {interval[1]:.1f}]"


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def app() -> typer.Typer:
    """The group `rollwise replay`."""
    group = typer.Typer(
        help="Replay what was recorded, without a model.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    group.command("votes")(command(VotesOptions, votes))
    return group
