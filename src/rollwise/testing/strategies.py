"""The contract of a strategy: it spends the whole width, reads declared evidence only, and repeats itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rollwise.allocation import Strategy, subset
from rollwise.core import Allocation, Allocator, Belief, Candidates, Directions, PathKey
from rollwise.errors import InputError
from rollwise.numerics import cosine_similarity
from rollwise.registry import find_strategy
from rollwise.testing.contract import promised, require

LARGE_WIDTH = 5000


def check_strategy(
    strategy: str | Callable[..., Any] | Strategy,
    options: Mapping[str, Any] | None = None,
    draws: int = 60,
    seed: int = 0,
    kinds: Sequence[str] = ("labels", "similarity"),
) -> None:
    """Raise ContractError unless an allocator keeps its contract on `draws` random sets of candidates.

    - Counts are whole numbers of at least 0 that sum to the width, for widths of 0, 1, about the number of candidates,
      and 5000. Weights are shares.
    - The same candidates get the same counts in every order, after other calls, and for every numbering of directions.
    - Evidence that the strategy does not declare in `needs` changes nothing, and the strategy works without it.
    - A reward that is not a number is refused.

    `kinds` are the kinds of directions that the candidates carry: "labels", "similarity" or "weights". Raises
    InputError if `strategy` is not an allocator.
    """
    checked = find_strategy(strategy)
    allocate, again = checked.bind(options), checked.bind(options)
    rng = np.random.default_rng(seed)
    for index in range(draws):
        kind = kinds[index % len(kinds)]
        candidates = _candidates(rng, kind)
        for width in (0, 1, int(rng.integers(2, 40)), LARGE_WIDTH if index % 10 == 0 else len(candidates)):
            allocation = _allocated(allocate, candidates, width)
            _check_shares(allocation, width)
            _check_repeats(rng, again, candidates, width, allocation)
            _check_needs(rng, checked, allocate, candidates, width, allocation)
    _check_refusal(allocate, _candidates(rng, kinds[0]))


def _candidates(rng: np.random.Generator, kind: str) -> Candidates:
    """One to twelve random candidates with all evidence; their rewards are often equal."""
    count = int(rng.integers(1, 13))
    roots = rng.integers(0, 6, count)
    copies = rng.integers(0, 9, (2, count)).tolist()
    paths = sorted(set(zip(roots.tolist(), *copies, strict=True)))
    count = len(paths)
    return Candidates(
        paths=tuple(paths),
        rewards=rng.choice([0.0, 0.25, 0.5, 1.0], count) if rng.random() < 0.5 else rng.random(count),
        directions=_directions(rng, count, kind),
        lineage=np.array([path[0] for path in paths]),
        depth=np.full(count, 3),
        question=f"question {rng.integers(1000)}",
        seed=int(rng.integers(1000)),
        belief=_belief(rng, count),
    )


def _directions(rng: np.random.Generator, count: int, kind: str) -> Directions:
    labels = rng.integers(0, 4, count)
    if kind == "labels":
        return Directions(labels=labels)
    if kind == "similarity":
        return Directions(similarity=cosine_similarity(np.eye(4)[labels] + 0.02 * rng.standard_normal((count, 4))))
    if kind == "weights":
        return Directions(weights=rng.uniform(0.1, 1, count))
    raise InputError(f"give labels, similarity or weights as a kind of directions, not {kind!r}")


def _belief(rng: np.random.Generator, count: int) -> Belief:
    return Belief(rng.uniform(0.02, 0.98, count), rng.uniform(0.5, 20, count))


def _allocated(allocate: Allocator, candidates: Candidates, width: int) -> Allocation:
    with promised(
        f"an allocator returns one whole number of at least 0 for each of {len(candidates)} candidates, and they sum "
        f"to the width, here {width}"
    ):
        return allocate(candidates, width)


def _check_shares(allocation: Allocation, width: int) -> None:
    weights = allocation.weights
    total = float(weights.sum())
    require(
        np.all(np.isfinite(weights))
        and np.all(weights >= 0)
        and (abs(total - 1) < 1e-6 or (width == 0 and total == 0)),
        "weights are the shares before rounding: finite, at least 0, with sum 1",
        f"found {weights}",
    )
    if allocation.uniqueness is not None:
        require(
            np.all(np.isfinite(allocation.uniqueness)) and np.all(allocation.uniqueness >= 0),
            "uniqueness is finite and at least 0",
            f"found {allocation.uniqueness}",
        )


def _check_repeats(
    rng: np.random.Generator, allocate: Allocator, candidates: Candidates, width: int, allocation: Allocation
) -> None:
    """Allocate again: as before, with the candidates in another order, and with other labels for the directions."""
    counts = by_path(candidates, allocation)
    again = by_path(candidates, _allocated(allocate, candidates, width))
    require(
        counts == again,
        "the same candidates get the same counts: all randomness comes from their seed, and no call changes the next",
        f"{counts} and then {again}",
    )
    order = rng.permutation(len(candidates))
    reordered = subset(candidates, order)
    other = by_path(reordered, _allocated(allocate, reordered, width))
    require(counts == other, "counts depend on the path, not on its place", f"{counts} and, in another order, {other}")
    directions = candidates.directions
    if directions is not None and directions.labels is not None:
        renamed = replace(candidates, directions=Directions(labels=rng.permutation(9)[directions.labels]))
        other = by_path(candidates, _allocated(allocate, renamed, width))
        require(
            counts == other,
            "labels only say which paths share a direction: other numbers for them change no count",
            f"{counts} and {other}",
        )


def _check_needs(
    rng: np.random.Generator,
    strategy: Strategy,
    allocate: Allocator,
    candidates: Candidates,
    width: int,
    allocation: Allocation,
) -> None:
    """Change or remove the evidence that the strategy does not declare: the counts have to stay the same."""
    for name, changed in _with_other_evidence(rng, candidates):
        if name in strategy.needs:
            continue
        declare = f"a strategy reads no {name} unless its `needs` name them"
        with promised(f"{declare}, so it works if they differ or are missing"):
            other = allocate(changed, width)
        require(
            by_path(candidates, allocation) == by_path(changed, other),
            declare,
            "the counts changed with them: decorate the function with rollwise.strategy_needs, or do not read them",
        )


def _with_other_evidence(rng: np.random.Generator, candidates: Candidates) -> Iterator[tuple[str, Candidates]]:
    """(kind of evidence, the candidates with other evidence of that kind or without it)."""
    count = len(candidates)
    yield "rewards", replace(candidates, rewards=rng.random(count))
    yield "directions", replace(candidates, directions=None)
    yield "directions", replace(candidates, directions=Directions(labels=rng.integers(0, 3, count)))
    yield "lineage", replace(candidates, lineage=None)
    yield "lineage", replace(candidates, lineage=rng.integers(0, 3, count))
    yield "belief", replace(candidates, belief=None)
    yield "belief", replace(candidates, belief=_belief(rng, count))


def _check_refusal(allocate: Allocator, candidates: Candidates) -> None:
    rewards = candidates.rewards.copy()
    rewards[0] = np.nan
    try:
        allocate(replace(candidates, rewards=rewards), 4)
    except InputError:
        return
    require(False, "a reward that is not a number is refused with an InputError")


def by_path(candidates: Candidates, allocation: Allocation) -> dict[PathKey, int]:
    """The counts by path key."""
    return dict(zip(candidates.paths, allocation.counts.tolist(), strict=True))
