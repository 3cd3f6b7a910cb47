"""`rollwise replay votes`: what votes and stop rules would have given on answers that were sampled elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table

from rollwise.answers import STOP_RULES, StopRule, find_stop_rule
from rollwise.cli.console import echo_json
from rollwise.cli.grade import json_records
from rollwise.cli.options import document
from rollwise.cli.progress import Show, progress_bars
from rollwise.errors import InputError
from rollwise.replay import Played, Recorded, VotesReplay, orders_of, play, read_recorded, summarise_votes
from rollwise.report.sheets import number_column
from rollwise.search import OUTPUT, QUESTIONS, START, Names, Options, Shown, validated

_BUDGETS = (1, 4, 16, 64)
RULES = (
    *("lossless", "predictive(0.99)", "predictive(0.95)", "likely(0.99)", "likely(0.95)", "likely(0.9)"),
    "window(5)",
    *(f"first({count})" for count in _BUDGETS),
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
    if "rules" not in given:
        rules = _shorter(rules, max(len(one.answers) for questions in recorded.values() for one in questions))
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
    console.print(_LEGEND + (_INTERVALS if console.width >= _WIDE else _NARROW), style="dim")


_WIDE = 110
_LEGEND = (
    "saved: all samples or tokens divided by those used, both summed over the questions. agreement: how often the "
    "winner is that of all answers in the same order. "
)
_INTERVALS = "In brackets: 95 % intervals over questions."
_NARROW = f"A terminal of {_WIDE} columns shows 95 % intervals; --json holds them too."


def _shorter(rules: Sequence[StopRule], most: int) -> list[StopRule]:
    """The rules without budgets that take all answers of every question."""
    whole = {f"first({count})" for count in _BUDGETS if count >= most}
    return [rule for rule in rules if rule.name not in whole]


def _read(file: str) -> list[Recorded]:
    if Path(file).is_dir():
        raise InputError(
            f"{file} is a folder: give a file of recorded answers; the folder of a bench is for rollwise replay {file} "
            "--strategy NAME"
        )
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
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stop rule", no_wrap=True)
    for column in ("samples saved", "tokens saved", "agreement", "accuracy"):
        number_column(table, column)
    for row in replay.rules:
        factors = (row.samples_saved, row.samples_saved_interval), (row.tokens_saved, row.tokens_saved_interval)
        shares = (row.agreement, row.agreement_interval), (row.accuracy, row.accuracy_interval)
        cells = [_cell(*each, "{:.2f} ×", 1, wide) for each in factors]
        table.add_row(row.rule, *cells, *(_cell(*each, "{:.4f}", 3, wide) for each in shares))
    console.print(table)
    console.print()


def _words(vote: str) -> str:
    return vote.replace("_", " ")


def _cell(value: float | None, interval: tuple[float, float] | None, form: str, digits: int, wide: bool) -> str:
    """A figure with its interval, if there is room for it; a dash for what is unknown."""
    if value is None or interval is None:
        return "-"
    bounds = ", ".join(f"{bound:.{digits}f}" for bound in interval)
    return f"{form.format(value)} [{bounds}]" if wide else form.format(value)
