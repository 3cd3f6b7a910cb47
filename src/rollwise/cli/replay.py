"""`rollwise replay`: what other allocators, votes and stop rules would have given on what was recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from rollwise.allocation import Strategy, split_settings, split_variants
from rollwise.bench import Place, begun, read_place, recorded
from rollwise.calibration import read_belief
from rollwise.cli.console import echo_json
from rollwise.cli.options import command, document, settings
from rollwise.cli.progress import progress_bars
from rollwise.cli.replay_votes import VotesOptions, votes
from rollwise.core import Belief
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.replay import OtherCounts, RoundsSummary, recorded_rounds, replay_round, summarise_rounds
from rollwise.report.sheets import number_column
from rollwise.search import OUTPUT, START, Options, Shown, validated


class RoundsOptions(Options):
    """The options of `rollwise replay RUN`."""

    run: Annotated[str, Shown(START, argument=True)] = Field(
        description="The folder of a bench that was run with --events, or URL#NAME of one in a --store."
    )
    strategy: Annotated[str, Shown(START)] = Field(
        description="The allocators to compare, each with options if you like: dora,rebase:reward_temperature=0.2."
    )
    fields: Annotated[dict[str, Any], Shown(START, flag="set")] = Field(
        default_factory=dict,
        description="belief=FILE makes a belief of the recorded rewards; any other name is an option of all these "
        "strategies.",
    )
    problem: Annotated[str | None, Shown(OUTPUT)] = Field(
        default=None, description="Replay the searches of this question only, and show each round."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the summaries and every round as JSON and nothing else."
    )


@dataclass(frozen=True)
class _Other:
    """An allocator to replay, by its label."""

    label: str
    strategy: Strategy
    options: dict[str, Any]


@dataclass(frozen=True)
class _Replayed:
    """One recorded search under another allocator."""

    recorded: str
    budget: int
    seed: int
    problem: str
    strategy: str
    rounds: tuple[OtherCounts, ...]


def replay_rounds(given: dict[str, Any]) -> None:
    """Say what other allocators would have given at each recorded round of a bench, without a model.

    It answers round by round on the paths that were recorded. It does not say what the search would have become: other
    counts grow other paths. Each round shows the counts given and the other counts.

    Examples:
    * `rollwise replay runs/first --strategy dora,rebase`

    * `rollwise replay runs/first --strategy optimal_directions --set belief=belief.json --json`
    """
    options = validated(RoundsOptions, settings(given, "fields"))
    shared = dict(options.fields)
    believe = _believe(shared.pop("belief", None))
    others = [_other(label, shared) for label in split_variants(options.strategy)]
    if not others:
        raise InputError("--strategy: give at least one, such as dora")
    replayed = _replay(read_place(options.run), others, believe, options.problem)
    summaries = _summaries(replayed)
    if options.as_json:
        echo_json(document({"summaries": list(map(asdict, summaries)), "searches": list(map(asdict, replayed))}))
        return
    console = Console(highlight=False)
    if options.problem is not None:
        for each in replayed:
            console.print(_rounds_table(each))
            console.print()
    console.print(_summary_table(summaries))
    console.print(_LEGEND, style="dim")


_LEGEND = (
    "moved: the share of the rollouts that would have gone to other paths. directions: how many equally large "
    "directions would hold the rollouts as evenly. chance: the predicted chance that a rollout of the round ends "
    "right, by the belief. Each as given → as the other allocator would give, means over rounds. Replayed round by "
    "round on the recorded paths: it does not say what another search would have grown."
)


def _believe(file: Any) -> Callable[..., Belief] | None:
    if file is None:
        return None
    if not isinstance(file, str):
        raise InputError("--set belief=FILE takes a file made by rollwise calibrate")
    return read_belief(Path(file)).belief


def _other(label: str, shared: Mapping[str, Any]) -> _Other:
    name, own = split_settings(label)
    strategy, options = find_strategy(name), {**shared, **own}
    strategy.bind(options)
    return _Other(label, strategy, options)


def _replay(
    run: Place, others: Sequence[_Other], believe: Callable[..., Belief] | None, problem: str | None
) -> list[_Replayed]:
    if not begun(run):
        raise InputError(f"{run} holds no bench: give the folder of one that was run with --events, or `votes FILE`")
    replayed = []
    with progress_bars() as show:
        searches = list(recorded(run))
        if problem is not None:
            searches = [each for each in searches if each[0].problem == problem]
            if not searches:
                raise InputError(f"--problem: {run} holds no events of {problem!r}; --json lists its questions")
        for place, (result, events) in enumerate(searches, start=1):
            cell = result.cell
            rounds = recorded_rounds(events, result.problem, cell.seed, believe)
            for other in others:
                counts = tuple(replay_round(happened, other.strategy, other.options) for happened in rounds)
                replayed.append(_Replayed(cell.label, cell.budget, cell.seed, result.problem, other.label, counts))
            show("replay", place, len(searches), "")
    return replayed


def _summaries(replayed: Sequence[_Replayed]) -> list[RoundsSummary]:
    """One for each recorded strategy and budget and each other allocator, in the order of their first search."""
    groups: dict[tuple[str, int, str], list[_Replayed]] = defaultdict(list)
    for each in replayed:
        groups[each.recorded, each.budget, each.strategy].append(each)
    return [
        summarise_rounds(*key, len(group), rounds)
        for key, group in groups.items()
        if (rounds := [one for each in group for one in each.rounds])
    ]


def _summary_table(summaries: Sequence[RoundsSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("recorded", "would give"):
        table.add_column(name, overflow="fold")
    for name in ("N", "searches", "rounds", "changed", "moved", "directions", "chance"):
        number_column(table, name)
    for each in summaries:
        chance = "-" if each.chance is None else _pair(each.chance, 3)
        figures = (each.budget, each.searches, each.rounds, each.changed, f"{each.moved:.1%}")
        table.add_row(each.recorded, each.strategy, *map(str, figures), _pair(each.directions, 1), chance)
    return table


def _rounds_table(search: _Replayed) -> Table:
    title = f"{search.problem}, {search.recorded}, N = {search.budget}, seed {search.seed}: {search.strategy}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("step", "rollouts", "moved", "directions", "chance"):
        number_column(table, name)
    table.add_column("largest counts: given → other", overflow="fold")
    for each in search.rounds:
        chance = "-" if each.chance is None else _pair(each.chance, 3)
        order = sorted(range(len(each.given)), key=lambda index: -max(each.given[index], each.other[index]))
        counts = ", ".join(f"{each.given[index]}→{each.other[index]}" for index in order[:8])
        counts += ", …" if len(order) > 8 else ""
        figures = (each.round + 1, each.width, each.moved)
        table.add_row(*map(str, figures), _pair(each.directions, 1), chance, counts)
    return table


def _pair(values: tuple[float, float], digits: int) -> str:
    return f"{values[0]:.{digits}f} → {values[1]:.{digits}f}"


class _Replay(TyperGroup):
    """A group whose first argument may be a folder instead of a command: that is what `rounds` takes."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["rounds", *args]
        return super().parse_args(context, args)


def app() -> typer.Typer:
    """The group `rollwise replay`: `votes FILE...`, and `rounds RUN`, whose name may be left out."""
    group = typer.Typer(
        cls=_Replay,
        help="Replay what was recorded, without a model: **votes** on answers, or **rounds** of a bench. "
        "`rollwise replay RUN --strategy X` is short for `rollwise replay rounds RUN --strategy X`.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    group.command("votes")(command(VotesOptions, votes))
    group.command("rounds")(command(RoundsOptions, replay_rounds))
    return group
