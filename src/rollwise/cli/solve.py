"""`rollwise solve`: one question, one search, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.console import Console

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable, document, settings
from rollwise.core import CheckedProblems, Problem, key_text, whole_steps
from rollwise.data import QuestionFields, read_questions
from rollwise.errors import InputError
from rollwise.report import (
    Account,
    Flow,
    account_of,
    explanation,
    fold_flow,
    ledger_table,
    reason_of,
    round_line,
    search_html,
    search_svg,
    sentence,
    verdict_text,
    where_table,
)
from rollwise.search import OUTPUT, QUESTIONS, Config, Runner, Shown, Solution, run_to_end, validated

LEVEL = 5
"""The level of a question that is drawn."""


class SolveOptions(QuestionFields, Config):
    """The options of `rollwise solve`: those of a search, the question, and what is shown."""

    question: Annotated[str | None, Shown(QUESTIONS, argument=True)] = Field(
        default=None, description="A question. Left out, --level and --seed draw a question of the world."
    )
    level: Annotated[int | None, Shown(QUESTIONS, str(LEVEL))] = Field(
        default=None, description="Level of a drawn question."
    )
    row: Annotated[str | None, Shown(QUESTIONS)] = Field(
        default=None, description="The row of --data to ask: its number from 1 on, or its id."
    )
    explain: Annotated[bool, Shown(OUTPUT)] = Field(
        default=False, description="Show the directions, shares and counts of every round, and why."
    )
    draw: Annotated[Path | None, Shown(OUTPUT)] = Field(
        default=None, description="Write a picture of the search to this SVG file."
    )
    html: Annotated[Path | None, Shown(OUTPUT)] = Field(
        default=None, description="Write the search as a page to this HTML file; it opens without a network."
    )
    language: Annotated[Literal["en", "ja"], Shown(OUTPUT)] = Field(
        default="en", description="Language of explanations and of the page: en or ja."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the result as JSON and nothing else."
    )


def solve(given: dict[str, Any]) -> None:
    """Search for an answer and show where the rollouts went.

    Examples:
    * `rollwise solve --seed 2` draws a question of the numbers game and spends 64 rollouts on it

    * `rollwise solve "What is 12 × 13?" --policy http://127.0.0.1:8000` asks the model that a server holds

    * `rollwise solve --data questions.jsonl --row 3 --policy http://127.0.0.1:8000` asks a question of your own file

    * `rollwise solve "Use 18, 1, 13, 22, 7 to make 132" --strategy rebase --budget 16`

    * `rollwise solve --seed 2 --reward "dial(0.5,1)" --directions state --explain`

    * `rollwise solve --world stories --policy demonstrator --reward "dial(0.3,1)" --directions state`
    """
    options = validated(SolveOptions, settings(given, "options"))
    _refuse_two_questions(options)
    if options.data is not None:
        options = options.model_copy(update={"world": "text"})
    row = None if options.data is None else _row(options, options.data)
    for file, flag in ((options.draw, "--draw"), (options.html, "--html")):
        if file is not None:
            check_writable(file, flag)
    runner = Runner(options)
    for evidence in ("directions", "belief"):
        if evidence in given:
            runner.parts.refuse_idle(evidence, f"--{evidence} {given[evidence]}")
    problem = row or _problem(options, runner)
    if options.as_json:
        solution = run_to_end(runner.solve(problem))
        echo_json(document(_as_json(solution, runner, options)))
    else:
        console = Console(highlight=False)
        solution = _solve_aloud(runner, problem, console, chosen=options.strategy != "auto")
        account = account_of(solution, runner.parts) if options.explain else None
        _show(solution, _flow(solution, runner), console, account, options.language)
    if options.html is not None:
        options.html.write_text(search_html(account_of(solution, runner.parts), options.language), encoding="utf-8")
    if options.draw is not None:
        title = f"{problem.question}  {runner.parts.strategy.name}, N = {options.budget}"
        options.draw.write_text(search_svg(_flow(solution, runner), title), encoding="utf-8")


def _refuse_two_questions(options: SolveOptions) -> None:
    """Raise InputError if the question is given in two ways, or an option is for another way."""
    options.refuse_fields_without_data()
    if options.level is not None and (options.question is not None or options.data is not None):
        raise InputError("--level is for a question that is drawn; leave out --level or the question")
    if options.data is not None and options.question is not None:
        raise InputError("--data brings its own questions; leave out --data or the question")
    if options.data is not None and options.world not in (None, "text"):
        raise InputError(f"--data brings its own questions: leave --world {options.world} out")
    if options.row is not None and options.data is None:
        raise InputError("--row names a row of --data: give --data FILE too")


def _row(options: SolveOptions, data: str) -> Problem:
    """The problem in the row of --data that --row names, the first row without it."""
    questions = read_questions(data, grader=options.grader, fields=options.field_names(), golds=False)
    for remark in questions.remarks:
        print(f"rollwise: {remark}", file=sys.stderr)
    return questions.pick(options.row or str(questions.rows[0]))


def _problem(options: SolveOptions, runner: Runner) -> Problem:
    problems = runner.parts.problems
    if options.question is not None:
        return runner.parts.parse(options.question)
    return problems.problem(LEVEL if options.level is None else options.level, options.seed)


TRUSTING = (
    "nothing says what this reward is worth, so the strategy is dora, which trusts any reward; `rollwise calibrate` "
    "fits a belief, and --belief FILE then makes the strategy optimal_directions"
)


def _solve_aloud(runner: Runner, problem: Problem, console: Console, chosen: bool) -> Solution:
    parts = runner.parts
    console.print(problem.question, style="bold")
    console.print(f"{parts.strategy.name}, N = {parts.config.budget}", style="dim")
    trusting = None if chosen or parts.reads("belief") else TRUSTING
    for note in filter(None, [parts.problems.remark(problem), trusting, *parts.notes]):
        console.print(f"note: {note}", style="yellow", markup=False)
    return run_to_end(runner.solve(problem, lambda happened: console.print(round_line(happened))))


def _show(solution: Solution, searched: Flow, console: Console, account: Account | None, language: str) -> None:
    console.print()
    if account is not None:
        console.print(explanation(searched, solution, account, language))
    console.print(where_table(searched, solution))
    console.print()
    console.print(ledger_table(solution))
    console.print()
    if solution.text:
        console.print(solution.text.strip().replace("\n\n", "\n"), style="cyan", markup=False)
        console.print()
    console.print(verdict_text(solution))


def _flow(solution: Solution, runner: Runner) -> Flow:
    """The search by the directions that its strategy used, and the world's true states if it knows them."""
    problems = runner.parts.problems
    right = [path.key for path, good in zip(solution.finished, solution.rights, strict=True) if good]
    if not isinstance(problems, CheckedProblems):
        return fold_flow(solution.events, right)

    def state(text: str) -> Hashable:
        return problems.state(solution.problem, whole_steps(text, problems.separator))

    try:
        return fold_flow(solution.events, right, state)
    except Exception as error:  # a user's world may raise anything, and the search is done
        print(f"rollwise: the world's states are not shown: {type(error).__name__}: {error}", file=sys.stderr)
        return fold_flow(solution.events, right)


def _as_json(solution: Solution, runner: Runner, options: SolveOptions) -> dict[str, object]:
    shown: dict[str, object] = solution.as_dict()
    if options.explain:
        searched = _flow(solution, runner)
        shown["by_strategy"] = searched.by_strategy
        shown["rounds"] = [[{**vars(band), "label": str(band.label)} for band in column] for column in searched.columns]
        account = account_of(solution, runner.parts)
        reasons = ((key, reason_of(account, node)) for key, node in account.nodes.items())
        shown["reasons"] = {key_text(key): sentence(reason, options.language) for key, reason in reasons}
    return shown
