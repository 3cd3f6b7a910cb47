"""Single questions on which the chosen setting helped or hurt, each with the facts that say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rollwise.allocation import STRATEGIES, split_settings
from rollwise.bench import Cell
from rollwise.core import Problem
from rollwise.pilot.costs import Searches
from rollwise.report import LANGUAGES, Told, fold_account, reason_of, sentence
from rollwise.search import read_events

if TYPE_CHECKING:
    from rollwise.pilot.findings import Results

SHOWN = 3


@dataclass(frozen=True)
class Case:
    """A question, the answers of plain sampling and of the setting, and why they differ.

    `why` names a sentence: "found" (only the setting found a right path), "voted" (both found one, and the votes
    differ), "missed" (only plain sampling found one), "outvoted" (both found one, and the setting's vote chose another)
    or "raised". `values` are what it mentions. `reason` says in each language why one path got most of a round's
    rollouts, where that was decisive.
    """

    question: str
    gold: str | None
    plain: str | None
    ours: str | None
    why: str
    values: Mapping[str, Any]
    reason: Mapping[str, str] = field(default_factory=dict)


def cases_of(results: Results, base: Searches, best: Searches) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Up to three questions that the setting won, and up to three that it lost, the clearest first."""
    shared = [trial for trial in best.outcomes if trial in base.outcomes]
    won = [trial for trial in shared if best.outcomes[trial].right and not base.outcomes[trial].right]
    lost = [trial for trial in shared if base.outcomes[trial].right and not best.outcomes[trial].right]
    texts = {problem.id: problem for problem in results.settings.problems}

    def case(trial: tuple[str, int], helped: bool) -> Case:
        ours, plain, problem = best.outcomes[trial], base.outcomes[trial], texts[trial[0]]
        events = results.settings.events(Cell(best.label, best.budget, trial[1]), trial[0]) or []
        both = (plain if helped else ours).right_paths > 0
        why = {True: "voted" if both else "found", False: "outvoted" if both else "missed"}[helped]
        if ours.error is not None or plain.error is not None:
            why = "raised"
        values = {
            "ours_right": ours.right_paths,
            "ours": ours.finished,
            "plain_right": plain.right_paths,
            "plain": plain.finished,
        }
        turning = turning_point(events, right=helped)
        reason = _reason(events, best, problem, trial[1], turning["path"]) if turning else {}
        return Case(problem.question, problem.answer, plain.answer, ours.answer, why, values | turning, reason)

    def clearness(trial: tuple[str, int]) -> float:
        ours, plain = best.outcomes[trial], base.outcomes[trial]
        return -abs(ours.right_paths / max(1, ours.finished) - plain.right_paths / max(1, plain.finished))

    return (
        tuple(case(trial, True) for trial in sorted(won, key=clearness)[:SHOWN]),
        tuple(case(trial, False) for trial in sorted(lost, key=clearness)[:SHOWN]),
    )


def turning_point(events: Sequence[Mapping[str, Any]], right: bool) -> dict[str, Any]:
    """The largest share of a round's rollouts that went to one path whose descendants ended right, or all wrong.

    `events` are those of a search as plain values. The result holds the `path`, the `step`, the `count` of rollouts
    among the `width`, and the path's `rank` by reward among `paths`; it is empty if no path got more than one rollout.
    """
    ended = {event["path"]: bool(event.get("right")) for event in events if event.get("event") == "finished"}
    best: tuple[float, dict[str, Any]] = (0.0, {})
    for event in events:
        if event.get("event") != "allocated":
            continue
        rewards = event["rewards"]
        for path, count, reward in zip(event["paths"], event["counts"], rewards, strict=True):
            led = [good for key, good in ended.items() if key.startswith(f"{path}.")]
            if count > 1 and led and any(led) == right and count / event["width"] > best[0]:
                rank = 1 + sum(other > reward for other in rewards)
                told = {"path": path, "step": event["round"], "count": int(count), "width": event["width"]}
                best = count / event["width"], told | {"rank": rank, "paths": len(rewards)}
    return best[1]


def _reason(
    events: Sequence[Mapping[str, Any]], searches: Searches, problem: Problem, seed: int, path: str
) -> dict[str, str]:
    """Why a path got its rollouts, in each language."""
    strategy, settings = split_settings(searches.label)
    options = {name: value for name, value in settings.items() if name != "vote"}
    told = Told(problem.question, strategy, searches.budget, STRATEGIES[strategy].bind(options))
    account = fold_account(read_events(list(events), problem.id, seed), told, compare=())
    node = account.nodes.get(tuple(map(int, path.split("."))))
    return {} if node is None else {one: sentence(reason_of(account, node), one) for one in LANGUAGES}
