"""What happened in a stored search, read from its events for a page: its rounds, and how its paths ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.core import Problem, key_text
from rollwise.errors import RollwiseError
from rollwise.report.account import Account, Node, Stage
from rollwise.report.reasons import reason_of
from rollwise.report.recorded import account_of_records
from rollwise.report.words import sentence

_MOST_ENDINGS, _MOST_TEXT = 6, 1500


@dataclass(frozen=True)
class RoundFigures:
    """A round: how many paths grew, at which mean reward, finished, were right and were lost; how many went on, and how
    many rollouts the most favoured of them got.
    """

    number: int
    grown: int
    reward: float | None
    finished: int
    right: int
    lost: int
    going_on: int
    most: int


@dataclass(frozen=True)
class Ending:
    """A finished path: its key, whether it is right (None if nobody knows), its last reward, and its text."""

    path: str
    right: bool | None
    reward: float | None
    text: str


@dataclass(frozen=True)
class SearchDetails:
    """The rounds of a search, and some of its finished paths, those with the largest rewards; `more` are left out.

    `stopped` says why the search ended before its budget was spent; None if it did not.
    """

    rounds: tuple[RoundFigures, ...]
    endings: tuple[Ending, ...]
    more: int
    stopped: str | None = None


def search_details(records: Sequence[Mapping[str, Any]]) -> SearchDetails:
    """The details of a search of which `records` are the stored events."""
    by_round: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        by_round.setdefault(int(record.get("round", 0)), []).append(record)
    endings = _endings(records)
    rounds = tuple(_round(number, by_round[number]) for number in sorted(by_round))
    stops = [str(record.get("reason", "")) for record in records if record.get("event") == "stopped"]
    shown, more = tuple(endings[:_MOST_ENDINGS]), max(0, len(endings) - _MOST_ENDINGS)
    return SearchDetails(rounds, shown, more, stops[0] if stops else None)


@dataclass(frozen=True)
class Told:
    """Why a path got its rollouts: its step, its key as text, and the sentence."""

    step: int
    path: str
    why: str


def told_reasons(account: Account, language: str = "en") -> tuple[Told, ...]:
    """For each step the sentences of up to three paths: the one with most rollouts, the best-scored one of the largest
    direction, and the best-scored one that got nothing.
    """
    return tuple(
        Told(stage.index + 1, key_text(node.key), sentence(reason_of(account, node), language))
        for stage in account.stages
        for node in _telling(account, stage)
    )


def reasons_of(
    config: Mapping[str, Any], problem: Problem, records: Sequence[Mapping[str, Any]], seed: int = 0
) -> tuple[Told, ...]:
    """The sentences about a stored search; none if its events or its config cannot be read."""
    try:
        return told_reasons(account_of_records(config, problem.question, records, problem.id, seed, compare=()))
    except (RollwiseError, LookupError, ValueError, TypeError, AttributeError):  # stored data may have any shape
        return ()


def _telling(account: Account, stage: Stage) -> list[Node]:
    if stage.allocated is None:
        return []
    nodes = [account.nodes[key] for key in stage.allocated.candidates.paths]
    ranked = sorted(nodes, key=lambda node: -(node.score or 0.0))
    most = max(ranked, key=lambda node: node.count)
    crowded = [node for node in ranked if node.direction == 0 and stage.groups[0].paths > 1]
    dropped = [node for node in ranked if not node.count]
    return list({node.key: node for node in (most, *crowded[:1], *dropped[:1])}.values())


def _round(number: int, records: Sequence[Mapping[str, Any]]) -> RoundFigures:
    def of(kind: str) -> list[Mapping[str, Any]]:
        return [record for record in records if record.get("event") == kind]

    rewards = [float(record["reward"]) for record in of("grown") if record.get("reward") is not None]
    counts = [int(count) for record in of("allocated") for count in record.get("counts") or []]
    return RoundFigures(
        number=number + 1,
        grown=len(of("grown")),
        reward=sum(rewards) / len(rewards) if rewards else None,
        finished=len(of("finished")),
        right=sum(bool(record.get("right")) for record in of("finished")),
        lost=len(of("failed")),
        going_on=sum(count > 0 for count in counts),
        most=max(counts, default=0),
    )


def _endings(records: Sequence[Mapping[str, Any]]) -> list[Ending]:
    """The finished paths, right ones first, then by reward."""
    texts: dict[str, str] = {}
    rewards: dict[str, float] = {}
    for record in sorted((each for each in records if each.get("event") == "grown"), key=lambda each: each["round"]):
        path = str(record["path"])
        texts[path] = texts.get(path.rpartition(".")[0], "") + str(record.get("text", ""))
        rewards[path] = float(record.get("reward") or 0.0)
    endings = [
        Ending(path, record.get("right"), rewards.get(path), _cut(texts.get(path, "")))
        for record in records
        if record.get("event") == "finished" and (path := str(record["path"]))
    ]
    return sorted(endings, key=lambda ending: (not ending.right, -(ending.reward or 0.0)))


def _cut(text: str) -> str:
    """A text of bounded length: its end, where the answer stands."""
    plain = text.strip()
    return plain if len(plain) <= _MOST_TEXT else f"… {plain[-_MOST_TEXT:]}"
