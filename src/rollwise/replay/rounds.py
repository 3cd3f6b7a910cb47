"""What another allocator would have given at the rounds of a recorded search, without a model.

It answers round by round on the tree that was recorded. It does not say what the search would have become: after the
first round that gives other counts, another search would have grown other paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rollwise.allocation import Strategy, success_chance
from rollwise.core import Belief, Candidates, Directions, FloatArray, IntArray, PathKey
from rollwise.errors import InputError


@dataclass(frozen=True)
class RecordedRound:
    """A round in which rollouts were handed out: the candidates as they were recorded, and the counts that they got.

    `labels` (k,) are the directions that the strategy put the candidates in, `uniqueness` (k,) what it read of them;
    None if it read none. `texts` (k,) numbers equal last steps.
    """

    round: int
    width: int
    candidates: Candidates
    counts: IntArray
    labels: IntArray | None
    uniqueness: FloatArray | None
    texts: IntArray


@dataclass(frozen=True)
class OtherCounts:
    """Another allocator at a recorded round: its counts beside those given.

    `moved` rollouts went to other paths: half the sum of the differences. `directions` is the effective number of
    directions among the rollouts, 1 / Σ share², and `chance` the predicted chance that one of them ends right, each
    for the counts given and for the other counts. None if no belief, or no direction, is known.
    """

    round: int
    width: int
    given: tuple[int, ...]
    other: tuple[int, ...]
    moved: int
    directions: tuple[float, float]
    chance: tuple[float, float] | None


def recorded_rounds(
    events: Sequence[Mapping[str, Any]], problem: str, seed: int, believe: Callable[..., Belief] | None = None
) -> list[RecordedRound]:
    """The rounds of the events of one search, as `rollwise.search.event_records` writes them.

    `believe` makes a belief of rewards and depths; without it the recorded belief stands. Raises InputError for events
    that were written otherwise.
    """
    try:
        texts = {event["path"]: event["text"].strip() for event in events if event["event"] == "grown"}
        handed_out = [event for event in events if event["event"] == "allocated"]
        return [_round(event, texts, problem, seed, believe) for event in handed_out]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"the events of {problem} cannot be read ({told}); record them again by --events") from None


def _round(
    event: Mapping[str, Any],
    texts: Mapping[str, str],
    problem: str,
    seed: int,
    believe: Callable[..., Belief] | None,
) -> RecordedRound:
    paths: tuple[PathKey, ...] = tuple(tuple(map(int, path.split("."))) for path in event["paths"])
    rewards = np.array(event["rewards"], dtype=np.float64)
    depth = np.array([len(path) for path in paths])
    belief = believe(rewards, depth) if believe else _belief(event.get("belief"))
    candidates = Candidates(
        paths=paths,
        rewards=rewards,
        lineage=np.array([path[0] for path in paths]),
        depth=depth,
        question=problem,
        seed=seed,
        belief=belief,
    )
    return RecordedRound(
        round=int(event["round"]),
        width=int(event["width"]),
        candidates=candidates,
        counts=np.array(event["counts"], dtype=np.int64),
        labels=_numbers(event["directions"], np.int64),
        uniqueness=_numbers(event["uniqueness"], np.float64),
        texts=np.unique([texts[path] for path in event["paths"]], return_inverse=True)[1].reshape(-1),
    )


def _numbers(values: Any, kind: Any) -> Any:
    return None if values is None else np.array(values, dtype=kind)


def _belief(values: Mapping[str, Any] | None) -> Belief | None:
    if values is None:
        return None
    mean, concentration = (np.array(values[name], dtype=np.float64) for name in ("mean", "concentration"))
    return Belief(mean, concentration, values["correlation"], size_exponent=values["size_exponent"])


def replay_round(happened: RecordedRound, strategy: Strategy, options: Mapping[str, Any]) -> OtherCounts:
    """What the strategy with these options would have given at a recorded round.

    Directions are the recorded ones: their labels, or the recorded uniqueness for a strategy that reads no belief and
    a search that measured it softly. If the search read none, equal last steps stand in. Raises InputError if the
    strategy needs a belief and there is none.
    """
    candidates = happened.candidates
    if "belief" in strategy.needs and candidates.belief is None:
        raise InputError(
            f"strategy {strategy.name!r} needs a belief, and the strategy that was recorded here read none: fit one by "
            "rollwise calibrate and give it by --set belief=FILE"
        )
    if "directions" in strategy.needs:
        candidates = replace(candidates, directions=_directions(happened, "belief" in strategy.needs))
    other = strategy.bind(options)(candidates, happened.width).counts
    labels = happened.texts if happened.labels is None else happened.labels
    given, belief = happened.counts, candidates.belief
    return OtherCounts(
        round=happened.round,
        width=happened.width,
        given=tuple(given.tolist()),
        other=tuple(other.tolist()),
        moved=int(np.abs(given - other).sum()) // 2,
        directions=(effective_number(given, labels), effective_number(other, labels)),
        chance=None
        if belief is None
        else (success_chance(belief, given, labels), success_chance(belief, other, labels)),
    )


def _directions(happened: RecordedRound, hard: bool) -> Directions:
    if happened.labels is None:
        return Directions(labels=happened.texts)
    sizes = np.bincount(happened.labels)[happened.labels]
    if hard or happened.uniqueness is None or np.allclose(happened.uniqueness, 1 / sizes):
        return Directions(labels=happened.labels)
    return Directions(weights=happened.uniqueness)


def effective_number(counts: IntArray, labels: IntArray) -> float:
    """1 / Σ share²: how many equally large directions would hold the rollouts as evenly. 0 without rollouts."""
    sums = np.bincount(labels, counts)
    return float(sums.sum() ** 2 / np.square(sums).sum()) if sums.sum() else 0.0


@dataclass(frozen=True)
class RoundsSummary:
    """An allocator over all recorded rounds of one strategy at one budget.

    `moved` is the share of all rollouts that it would have given to other paths (the total variation between the two
    allocations, weighted by width). `directions` and `chance` are means over rounds, as in `OtherCounts`.
    """

    recorded: str
    budget: int
    strategy: str
    searches: int
    rounds: int
    rollouts: int
    moved: float
    changed: int
    directions: tuple[float, float]
    chance: tuple[float, float] | None


def summarise_rounds(
    recorded: str, budget: int, strategy: str, searches: int, others: Sequence[OtherCounts]
) -> RoundsSummary:
    """The summary of an allocator over recorded rounds, of which there is at least one."""
    rollouts = sum(each.width for each in others)
    chances = [each.chance for each in others if each.chance is not None]
    return RoundsSummary(
        recorded=recorded,
        budget=budget,
        strategy=strategy,
        searches=searches,
        rounds=len(others),
        rollouts=rollouts,
        moved=sum(each.moved for each in others) / rollouts if rollouts else 0.0,
        changed=sum(each.moved > 0 for each in others),
        directions=_means([each.directions for each in others]),
        chance=_means(chances) if chances else None,
    )


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = np.mean(pairs, axis=0)
    return float(first), float(second)
