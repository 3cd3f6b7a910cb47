"""Why a path got that many rollouts, and what would have changed it: the facts behind one plain sentence.

What would have changed it is found out by handing out the same width again, with that one thing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rollwise.core import Candidates, Directions, key_text
from rollwise.report.account import Account, Fate, Group, Node
from rollwise.search import Allocated


@dataclass(frozen=True)
class Reason:
    """The name of a sentence, or of several in a row, and the values that it mentions."""

    names: tuple[str, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Case:
    """A candidate, its direction, and the round in which the width was handed out."""

    account: Account
    node: Node
    place: int
    allocated: Allocated
    group: Group
    repeatable: bool

    @property
    def candidates(self) -> Candidates:
        return self.allocated.candidates

    @property
    def rank(self) -> int:
        """The candidate's place by score, 1 for the best; of equal scores the earlier path comes first."""
        ranked = sorted(
            range(len(self.candidates)), key=lambda i: (-self.candidates.rewards[i], self.candidates.paths[i])
        )
        return ranked.index(self.place) + 1

    @property
    def basics(self) -> dict[str, Any]:
        """What most sentences mention."""
        return {
            "score": self.node.score,
            "chance": self.node.chance,
            "count": self.node.count,
            "width": self.allocated.width,
            "paths": len(self.candidates),
            "rank": self.rank,
            "others": self.group.paths - 1,
            "words": self.group.words,
            "given": self.group.count,
            "strategy": self.account.strategy,
        }

    def again(self, candidates: Candidates) -> int | None:
        """What this candidate gets if the width is handed out among other `candidates`; None if that is not known."""
        if self.account.allocate is None or not self.repeatable:
            return None
        return int(self.account.allocate(candidates, self.allocated.width).counts[self.place])


def reason_of(account: Account, node: Node) -> Reason:
    """Why a node got its rollouts, by the rule of the account's strategy."""
    if node.fate is Fate.FAILED:
        return Reason(("failed",), {"reason": node.reason or ""})
    if node.fate is Fate.FINISHED:
        return Reason(("finished_unkept",), {}) if account.digested and not node.cut else _finished(node)
    stage = account.stages[_position(account, node.round)]
    if node.place is None or node.direction is None or stage.allocated is None:
        return Reason(("left",), {}) if stage.stopped is None else Reason(("stopped",), {"reason": stage.stopped})
    case = _Case(account, node, node.place, stage.allocated, stage.groups[node.direction], stage.repeatable)
    return _RULES.get(account.strategy, _of_own_strategy)(case)


def _position(account: Account, index: int) -> int:
    return next(place for place, stage in enumerate(account.stages) if stage.index == index)


def _finished(node: Node) -> Reason:
    if node.cut:
        return Reason(("cut",), {})
    if node.answer is None:
        return Reason(("unread",), {})
    name = "finished" if node.vote is not None else "finished_unweighed"
    return Reason((name,), {"answer": node.answer, "vote": node.vote})


def _of_temperature(case: _Case) -> Reason:
    name = "plain_one" if case.allocated.width == len(case.candidates) else "plain_even"
    return Reason((name,), case.basics)


def _of_beam(case: _Case) -> Reason:
    size = case.account.beam_width
    kept = -(-case.allocated.width // size)
    values = case.basics | {"kept": kept, "size": size}
    if kept >= len(case.candidates):
        name = "beam_all" if kept == len(case.candidates) else "beam_even"
        return Reason((name,), values)
    ranked = np.sort(case.candidates.rewards)[::-1]
    bar = float(ranked[kept] if case.rank <= kept else ranked[kept - 1])
    return Reason(("beam_kept" if case.rank <= kept else "beam_dropped",), values | {"bar": bar})


def _of_dvts(case: _Case) -> Reason:
    size = case.account.beam_width
    tree = case.node.key[0] // size
    members = [place for place, key in enumerate(case.candidates.paths) if key[0] // size == tree]
    rewards = case.candidates.rewards
    ranked = sorted(members, key=lambda place: (-rewards[place], case.candidates.paths[place]))
    slots = int(case.allocated.allocation.counts[members].sum())
    values = case.basics | {"tree": tree + 1, "size": len(members), "slots": slots}
    if len(members) == 1:
        return Reason(("dvts_only",), values)
    if ranked[0] == case.place:
        return Reason(("dvts_best",), values | {"bar": float(rewards[ranked[1]])})
    best = key_text(case.candidates.paths[ranked[0]])
    return Reason(("dvts_dropped",), values | {"best": best, "bar": float(rewards[ranked[0]])})


def _of_rebase(case: _Case) -> Reason:
    values = case.basics | {"due": float(case.allocated.allocation.weights[case.place]) * case.allocated.width}
    return _with_other_score(case, ("rebase",), values)


def _of_dora(case: _Case) -> Reason:
    first = case.allocated.allocation.first_counts
    if first is not None and first[case.place] == 0:
        return _with_other_score(case, ("two_stage_dropped",), case.basics)
    return _by_direction(case, "dora", _with_other_score)


def _of_optimal(case: _Case) -> Reason:
    return _with_other_chance(case, ("optimal",), case.basics)


def _of_optimal_directions(case: _Case) -> Reason:
    return _by_direction(case, "directions", _with_other_chance)


def _of_own_strategy(case: _Case) -> Reason:
    return Reason(("own",), case.basics)


_RULES: dict[str, Callable[[_Case], Reason]] = {
    "temperature": _of_temperature,
    "beam": _of_beam,
    "dvts": _of_dvts,
    "rebase": _of_rebase,
    "dora": _of_dora,
    "dora_two_stage": _of_dora,
    "optimal": _of_optimal,
    "optimal_directions": _of_optimal_directions,
}

Other = Callable[[_Case, tuple[str, ...], dict[str, Any]], Reason]


def _by_direction(case: _Case, rule: str, other: Other) -> Reason:
    """The reason of a strategy that pays a direction once: how many share it, and what the path would get alone."""
    if case.group.paths == 1:
        return other(case, (f"{rule}_alone",), case.basics)
    alone = case.again(_alone(case))
    names: tuple[str, ...] = (f"{rule}_shared", "got_both")
    if alone is None:
        return Reason(names, case.basics)
    verdict = "would_more" if alone > case.node.count else "would_same" if alone == case.node.count else "would_less"
    return Reason((*names, verdict), case.basics | {"alone": alone})


def _alone(case: _Case) -> Candidates:
    """The candidates, with this one alone in its direction: a label of its own, or a cosine of 0 with every other."""
    directions = case.candidates.directions
    if directions is None:
        return case.candidates
    if directions.labels is not None:
        labels = directions.labels.copy()
        labels[case.place] = labels.max() + 1
        return replace(case.candidates, directions=Directions(labels=labels))
    if directions.similarity is not None:
        similarity = directions.similarity.copy()
        similarity[case.place, :] = similarity[:, case.place] = 0.0
        similarity[case.place, case.place] = 1.0
        return replace(case.candidates, directions=Directions(similarity=similarity))
    return case.candidates


def _with_other_score(case: _Case, names: tuple[str, ...], values: dict[str, Any]) -> Reason:
    """What the path would get with the best score of the round, or, if it has that, with the mean score."""
    rewards = case.candidates.rewards
    best, mean = float(rewards.max()), float(rewards.mean())
    if best == float(rewards.min()):
        return Reason((*names, "same_scores"), values)
    target, name = (best, "with_best_score") if rewards[case.place] < best else (mean, "with_mean_score")
    changed = rewards.copy()
    changed[case.place] = target
    count = case.again(replace(case.candidates, rewards=changed))
    return Reason(names if count is None else (*names, name), values | {"target": target, "then": count})


def _with_other_chance(case: _Case, names: tuple[str, ...], values: dict[str, Any]) -> Reason:
    """What the path would get with the best chance of the round, or, if it has that, with the mean chance."""
    belief = case.candidates.belief
    if belief is None:
        return Reason(names, values)
    best, mean = float(belief.mean.max()), float(belief.mean.mean())
    if best == float(belief.mean.min()):
        return Reason((*names, "same_chances"), values)
    target, name = (best, "with_best_chance") if belief.mean[case.place] < best else (mean, "with_mean_chance")
    changed = belief.mean.copy()
    changed[case.place] = target
    count = case.again(replace(case.candidates, belief=replace(belief, mean=changed)))
    return Reason(names if count is None else (*names, name), values | {"target": target, "then": count})
