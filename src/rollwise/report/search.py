"""Tables and text about one search: its rounds, where the rollouts went and why, its cost, its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rollwise.core import PathKey, key_text
from rollwise.report.account import Account, Node
from rollwise.report.flow import Band, Flow
from rollwise.report.reasons import Reason, reason_of
from rollwise.report.sheets import number_column
from rollwise.report.words import sentence
from rollwise.search import Allocated, Grown, Round, Solution

_SHOWN = 8
_NAMED, _MOST_STEPS = 3, 7
"""More steps than the first are numbers only; more than the second are thinned out. Names keep room at 80 columns."""


def round_line(happened: Round) -> Text:
    """One line on a finished round: what grew, what ended, and how the width was handed out."""
    rewards = [event.reward for event in happened.grown]
    mean = f"{sum(rewards) / len(rewards):.2f}" if rewards else "-"
    line = Text(f"step {happened.index + 1:>2}: {len(happened.grown):>3} grown at reward {mean}")
    if happened.allocated is not None:
        counts = happened.allocated.allocation.counts
        most = int(counts.max())
        line.append(f", {int((counts > 0).sum()):>3} go on {f'at most {most} times' if most > 1 else 'once each'}")
        effective = happened.allocated.allocation.effective_directions
        if effective is not None:
            line.append(f", {effective:.1f} directions")
    if mended := sum(event.step.wrote is not None for event in happened.grown):
        line.append(f", {mended} put right")
    if unplaced := [event.unplaced for event in happened.grown if event.unplaced is not None]:
        line.append(f", {len(unplaced)} unplaced: {unplaced[0]}", style="yellow")
    if happened.finished:
        line.append(f", {len(happened.finished)} finished", style="green")
    if happened.stopped is not None:
        line.append(f", stopped: {happened.stopped.reason}", style="green")
    if happened.failed:
        line.append(f", {len(happened.failed)} failed: {happened.failed[0].reason}", style="red")
    return line


def verdict_text(solution: Solution) -> Text:
    """The answer and what supports it, or an honest account of why there is none; then notes on how it was read."""
    text = _verdict(solution)
    for note in solution.afterwards:
        text.append(f"\nnote: {note}", style="yellow")
    return text


def _verdict(solution: Solution) -> Text:
    finished, lost = len(solution.finished), len(solution.failures)
    ledger = f"{finished} paths finished" + (f", {lost} rollouts lost" if lost else "")
    ledger += f", {solution.saved} rollouts saved" if solution.saved else ""
    if silent := _silent(solution):
        ledger = f"{ledger} ({silent})"
    if solution.answer is not None:
        word = _support(solution.vote)
        text = Text.assemble("answer  ", (solution.answer, "bold"), f"   ({_judgement(solution)})")
        return text.append(f"\nsupport {solution.support:.0%} {word}; {ledger}")
    if solution.attempt is None and lost and not finished:
        (reason, count), *_ = Counter(solution.failures).most_common(1)
        most = "all of them" if count == lost else f"{count} of them"
        return Text(f"no path reached an answer; {ledger}, {most}: {reason}")
    if solution.attempt is None:
        return Text(f"no path reached an answer; {ledger}{_last_words(solution)}. {_advice(solution)}")
    text = Text.assemble("no path verified", style="yellow")
    return text.append(
        f"; the best attempt, which is wrong: {solution.attempt}\n{ledger}. The question may have no solution; "
        "if it has one, a larger --budget or another --seed may find it.",
        style="default",
    )


def _silent(solution: Solution) -> str:
    """How many finished paths gave no answer, and why; empty if each gave one."""
    reasons = {"without a readable answer": solution.unread, "cut off by a limit": solution.cut}
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)


def _last_words(solution: Solution) -> str:
    return "" if solution.example is None else f"; the last line of one of them: {solution.example!r}"


def _advice(solution: Solution) -> str:
    """What helps a search without an answer."""
    advice = []
    if solution.unread:
        advice.append(
            "Say where the answer stands with --answer (boxed, gsm8k, answer-is, bold, last-number or REGEX)."
        )
    if solution.cut:
        advice.append("Give cut paths room with --max-tokens or --max-steps, or end them with --stop TEXT.")
    return " ".join(advice or ["Raise --budget."])


def _support(vote: str) -> str:
    """What the support of a vote's winner is a share of."""
    if vote == "verified":
        return "of the answers are right"
    return "of the vote's weight" if vote.endswith("_majority") else "of the answers agree"


def _judgement(solution: Solution) -> str:
    if not solution.judged:
        return "not checked"
    if not solution.right:
        return "wrong"
    return "checked to be right" if solution.vote == "verified" else "right"


def _cut(name: str) -> Text:
    """A name that ends in an ellipsis if the table is too narrow, so that numbers keep their room."""
    return Text(" ".join(name.split()), no_wrap=True, overflow="ellipsis")


def where_table(searched: Flow, solution: Solution) -> Table:
    """Directions × rounds: how many paths descend from each direction of the first round, and how they ended.

    Directions are those that the strategy used. For a strategy that reads none, equal text of the first step stands in.
    """
    rounds = max(map(len, searched.labels), default=1)
    title = "where the rollouts went" + (", step by step" if rounds > _NAMED else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("direction of the first step" if searched.by_strategy else "first step")
    ends = _ends(searched, solution)
    placed = {ends.place(band): band for column in reversed(searched.columns) for band in reversed(column)}
    bands = [band for place, band in reversed(placed.items()) if place in ends.roots]
    with_states = searched.by_strategy and any(band.states is not None for band in bands)
    if with_states:
        number_column(table, "true\nstates")
    shown = range(0, rounds, -(-rounds // _MOST_STEPS))
    for index in shown:
        number_column(table, f"step {index + 1}" if rounds <= _NAMED else f"{index + 1:>2}")
    number_column(table, "finished")
    number_column(table, "right", style="green")
    ranked = sorted(bands, key=lambda band: (-ends.finished[ends.place(band)], -band.paths))
    for band in ranked[:_SHOWN]:
        states = [str(band.states)] if with_states else []
        table.add_row(_cut(band.name), *states, *ends.cells([band], shown))
    if rest := ranked[_SHOWN:]:
        states = [str(sum(band.states or 0 for band in rest))] if with_states else []
        more = f"{len(rest)} more " + ("directions" if searched.by_strategy else "first steps")
        table.add_row(_cut(more), *states, *ends.cells(rest, shown), style="dim")
    return table


@dataclass(frozen=True)
class _Ends:
    """What became of the paths that descend from each direction of a first step.

    A direction goes by its round and its label, since each round numbers its own. Equal text is the same in any round.
    """

    by_strategy: bool
    roots: Collection[Hashable]
    alive: Counter[tuple[Hashable, int]]
    finished: Counter[Hashable]
    right: Counter[Hashable]

    def place(self, band: Band) -> Hashable:
        """What a band goes by."""
        return (band.round, band.label) if self.by_strategy else band.label

    def cells(self, bands: Sequence[Band], steps: Iterable[int]) -> list[str]:
        """Paths alive at each of the steps, finished and right, over these bands; a dot for zero."""
        labels = list(map(self.place, bands))
        counts = [sum(self.alive[label, step + 1] for label in labels) for step in steps]
        counts += [sum(ended[label] for label in labels) for ended in (self.finished, self.right)]
        return [str(count or "·") for count in counts]


def _ends(searched: Flow, solution: Solution) -> _Ends:
    grown = (event for event in solution.events if isinstance(event, Grown))
    began: dict[PathKey, int] = {event.path: event.round for event in grown if len(event.path) == 1}

    def home(root: PathKey) -> Hashable:
        label = searched.labels[root]
        return (began[root], label) if searched.by_strategy else label

    rights = zip(solution.finished, solution.rights, strict=True)
    return _Ends(
        by_strategy=searched.by_strategy,
        roots=set(map(home, began)),
        alive=Counter((home(path[:1]), len(path)) for path in searched.labels),
        finished=Counter(home(path.key[:1]) for path in solution.finished),
        right=Counter(home(path.key[:1]) for path, right in rights if right),
    )


def ledger_table(solution: Solution) -> Table:
    """Tokens by role, FLOPs, seconds."""
    account = solution.ledger
    title = f"ledger: {account.rounds} rounds, {account.seconds:.1f} s"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("role")
    for name in ("generated", "read", "from cache", "FLOPs"):
        number_column(table, name)
    for role, usage in account.usage.items():
        counts = (usage.generated, usage.prefilled, usage.cached)
        if usage.calls or any(counts):
            flops = f"{account.flops(role):.2e}" if account.parameters[role] else "unknown"
            table.add_row(role, *(f"{count:,}" for count in counts), flops)
    return table


def explanation(searched: Flow, solution: Solution, account: Account | None = None, language: str = "en") -> Group:
    """Why the rollouts went where they went: for each round its directions, what each got, and on what grounds.

    The directions are those that the strategy used; the number of true states in each stands beside it if the world
    knows them. With an `account`, sentences in that language say why the most telling paths got what they got.
    """
    tables: list[RenderableType] = []
    for event in solution.events:
        if isinstance(event, Allocated):
            tables += [_explain_round(event, searched), *_sentences(event, account, language), Text()]
    return Group(*tables)


def _sentences(event: Allocated, account: Account | None, language: str) -> list[Text]:
    if account is None:
        return []
    told = [(account.nodes[key], reason_of(account, account.nodes[key])) for key in event.candidates.paths]
    return [
        Text.assemble((f"path {key_text(node.key)}  ", "bold"), sentence(reason, language))
        for node, reason in telling(told)
    ]


def telling(told: Sequence[tuple[Node, Reason]]) -> list[tuple[Node, Reason]]:
    """The paths of a round that tell most, each once: the one with most rollouts, the one that would have gained most
    alone in its direction, and the best-scored one that got nothing.
    """
    by_score = sorted(told, key=lambda item: -(item[0].score or 0.0))
    most = max(by_score, key=lambda item: item[0].count)
    crowded = max(by_score, key=_gain_alone)
    dropped = [item for item in by_score if not item[0].count]
    picked = [most, *([crowded] if _gain_alone(crowded) > 0 else []), *dropped[:1]]
    return list({node.key: (node, reason) for node, reason in picked}.values())


def _gain_alone(item: tuple[Node, Reason]) -> int:
    return int(item[1].values.get("alone", item[0].count)) - item[0].count


def _explain_round(event: Allocated, searched: Flow) -> Table:
    title = f"step {event.round + 1}: {event.width} rollouts to hand out"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("direction" if searched.by_strategy else "step (this strategy reads no directions)")
    continued = [band for band in searched.columns[event.round] if band.label is not None]
    with_states = searched.by_strategy and any(band.states is not None for band in continued)
    names = ("paths", "mean reward", "Σ uniqueness", "share", "rollouts")
    for name in ("true states", *names) if with_states else names:
        number_column(table, name)
    bands = sorted(continued, key=lambda band: (-band.given, -band.share))
    for band in bands[: 2 * _SHOWN]:
        unique = "-" if band.unique is None else f"{band.unique:.2f}"
        figures = (str(band.paths), f"{band.reward:.3f}", unique, f"{band.share:.1%}", str(band.given))
        table.add_row(_cut(band.name), *([str(band.states)] if with_states else []), *figures)
    if rest := bands[2 * _SHOWN :]:
        paths, share, given = (sum(getattr(band, name) for band in rest) for name in ("paths", "share", "given"))
        figures = (str(paths), "", "", f"{share:.1%}", str(given))
        table.add_row(f"{len(rest)} more", *([""] if with_states else []), *figures, style="dim")
    return table
