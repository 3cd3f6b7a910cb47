"""`rollwise solve`: one question, one search, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rollwise.allocation import key_values
from rollwise.answers import BELIEVED
from rollwise.cli.options import check_writable
from rollwise.core import Problem, whole_steps
from rollwise.directions import step_label
from rollwise.errors import InputError
from rollwise.registry import refuse_idle_belief, refuse_idle_directions
from rollwise.report import Flow, explanation, flow, ledger_table, round_line, search_svg, verdict_text, where_table
from rollwise.search import Config, Runner, Solution, run_to_end


def solve(
    question: Annotated[
        str | None, typer.Argument(help="A question of the world; without one, --level and --seed draw one.")
    ] = None,
    world: Annotated[
        str | None,
        typer.Option(
            help="The world the question belongs to: countdown, stories, stories-even, text for any question, or "
            "your own as file.py:name.",
            show_default="countdown; text with a policy's URL",
        ),
    ] = None,
    level: Annotated[int | None, typer.Option(help="Level of a drawn question.", show_default="5")] = None,
    seed: Annotated[int, typer.Option(help="Draws the question and all randomness of the search.")] = 0,
    strategy: Annotated[
        str,
        typer.Option(
            help="temperature, beam, dvts, rebase, dora, dora_two_stage, optimal, optimal_directions, or your own as "
            "file.py:function; auto: optimal_directions where a belief says what the reward is worth, else dora."
        ),
    ] = "auto",
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the strategy as name=value, e.g. reward_temperature=0.2.")
    ] = None,
    budget: Annotated[int, typer.Option(help="N: how many rollouts to spend.")] = 64,
    temperature: Annotated[float, typer.Option(help="Sampling temperature of the policy; 0 is greedy.")] = 0.8,
    vote: Annotated[
        str,
        typer.Option(
            help="verified, weighted_majority, believed_majority (by what a belief makes of the rewards), majority, "
            "best_of_n; auto: verified where answers can be checked, else by belief where there is one."
        ),
    ] = "auto",
    aggregate: Annotated[str, typer.Option(help="A path's reward from its steps': last, min, product, mean.")] = "last",
    reward: Annotated[
        str | None,
        typer.Option(
            help="trained, weak, a model's FOLDER or family:FOLDER, family@URL, judge@URL, file.py:function, "
            "confidence (the policy's own), dial(SIZE,SHARED): on course or not, plus noise, or worth(...).",
            show_default="trained; confidence with a policy's URL",
        ),
    ] = None,
    directions: Annotated[
        str | None,
        typer.Option(
            help="Who goes together: hidden, state, lineage, text, minilm, the URL of a server that embeds, or "
            "your own as file.py:name.",
            show_default="hidden; with a policy's URL minilm where installed, else text",
        ),
    ] = None,
    belief: Annotated[
        str | None,
        typer.Option(help="What a reward is worth: a file made by rollwise calibrate.", show_default="the world's own"),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="URL of a server, or URL,URL of several; trained, small, large, demonstrator (stories), the folder of "
            "a causal language model, or your own as file.py:name."
        ),
    ] = "trained",
    step_rule: Annotated[
        str | None,
        typer.Option(
            help="A step ends at: separator, separator(TEXT), sentence or tokens(64).", show_default="separator"
        ),
    ] = None,
    window: Annotated[str, typer.Option(help="What is embedded: whole, step or tail(64), words.")] = "whole",
    instruction: Annotated[
        str, typer.Option(help="Where the instruction to box an answer stands: system, user or none.")
    ] = "system",
    concurrency: Annotated[int, typer.Option(help="Requests that one server has at once.")] = 64,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder of the served model's tokenizer, where its server renders no chat.")
    ] = None,
    overlap: Annotated[
        str,
        typer.Option(
            help="Score and embed paths while others still grow: always where the parts allow it, never, or auto: not "
            "where both compute in this process."
        ),
    ] = "auto",
    max_step_tokens: Annotated[
        int, typer.Option(help="Tokens after which a step is cut, and goes on as the next.")
    ] = 256,
    max_tokens: Annotated[int, typer.Option(help="Tokens after which a path ends without an answer.")] = 2048,
    constant_width: Annotated[
        bool, typer.Option("--constant-width", help="As in the paper: N paths stay active until N have finished.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each round's directions, shares and counts.")
    ] = False,
    draw: Annotated[Path | None, typer.Option(help="Write a picture of the search to this SVG file.")] = None,
) -> None:
    """Search for an answer and show where the rollouts went.

    Examples:
    * `rollwise solve --seed 2` draws a question of the numbers game and spends 64 rollouts on it

    * `rollwise solve "Use 18, 1, 13, 22, 7 to make 132" --strategy rebase --budget 16`

    * `rollwise solve --seed 2 --reward "dial(0.5,1)" --directions state --explain`

    * `rollwise solve --world stories --policy demonstrator --reward "dial(0.3,1)" --directions state`

    * `rollwise solve "What is 12 × 13?" --policy http://127.0.0.1:8000` asks the model that a server holds
    """
    told = {name: value for name, value in locals().items() if value is not None and name in Config.model_fields}
    if question is not None and level is not None:
        raise InputError("--level is that of a question that is drawn; leave it out, or the question")
    if draw is not None:
        check_writable(draw, "--draw")
    runner = Runner(Config.of(**told, options=key_values(option or [])))
    _refuse_idle(runner, told)
    home = runner.world
    problem = home.problem(5 if level is None else level, seed) if question is None else home.parse(question)
    if as_json:
        solution = run_to_end(runner.solve(problem))
        typer.echo(json.dumps(_as_json(solution, runner, explain), ensure_ascii=False, indent=2))
    else:
        console = Console(highlight=False)
        solution = _solve_aloud(runner, problem, console, chosen=strategy != "auto")
        _show(solution, _flow(solution, runner), console, explain)
    if draw is not None:
        picture = search_svg(_flow(solution, runner), f"{problem.question}  {runner.strategy.name}, N = {budget}")
        draw.write_text(picture, encoding="utf-8")


def _refuse_idle(runner: Runner, told: Mapping[str, Any]) -> None:
    """Raise InputError for evidence that was asked for and that nothing in this search reads."""
    if "directions" in told:
        refuse_idle_directions(runner.strategy, f"--directions {told['directions']}")
    if "belief" in told and runner.vote != BELIEVED:
        refuse_idle_belief(runner.strategy, f"--belief {told['belief']}")


TRUSTING = (
    "nothing says what this reward is worth, so the strategy is dora, which trusts it whatever it is worth; `rollwise "
    "calibrate` fits a belief, and --belief FILE then makes the strategy optimal_directions"
)


def _solve_aloud(runner: Runner, problem: Problem, console: Console, chosen: bool) -> Solution:
    console.print(problem.question, style="bold")
    console.print(f"{runner.strategy.name}, N = {runner.config.budget}", style="dim")
    trusting = None if chosen or "belief" in runner.strategy.needs else TRUSTING
    for note in filter(None, [runner.world.remark(problem), trusting, *runner.notes]):
        console.print(f"note: {note}", style="yellow", markup=False)
    return run_to_end(runner.solve(problem, lambda happened: console.print(round_line(happened))))


def _show(solution: Solution, searched: Flow, console: Console, explain: bool) -> None:
    console.print()
    if explain:
        console.print(explanation(searched, solution))
    console.print(where_table(searched, solution))
    console.print()
    console.print(ledger_table(solution))
    console.print()
    if solution.text:
        console.print(solution.text.strip().replace("\n\n", "\n"), style="cyan", markup=False)
        console.print()
    console.print(verdict_text(solution))


def _flow(solution: Solution, runner: Runner) -> Flow:
    def label(text: str) -> Hashable:
        if runner.world.levels:
            return runner.world.state(solution.problem, whole_steps(text, runner.world.separator))
        return step_label(text)

    right = [path.key for path, good in zip(solution.finished, solution.rights, strict=True) if good]
    return flow(solution.events, label, right)


def _as_json(solution: Solution, runner: Runner, explain: bool) -> dict[str, object]:
    shown: dict[str, object] = solution.as_dict()
    if explain:
        columns = _flow(solution, runner).columns
        shown["rounds"] = [[{**vars(band), "label": str(band.label)} for band in column] for column in columns]
    return shown
