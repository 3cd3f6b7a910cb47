"""What a strategy promises: all of the width, by evidence that it declares, the same for the same candidates."""

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

LARGE = 5000


def check_strategy(
    strategy: str | Callable[..., Any] | Strategy,
    options: Mapping[str, Any] | None = None,
    draws: int = 60,
    seed: int = 0,
    kinds: Sequence[str] = ("labels", "similarity"),
) -> None:
    """Raises ContractError unless an allocator keeps its contract on `draws` random sets of candidates.

    Counts are whole, at least 0 and sum to the width, of 0, 1, about the number of candidates, and 5000; weights are
    shares; the same candidates get the same counts, in whatever order they come, whatever was allocated in between and
    however directions are numbered; evidence that is not declared (`needs`) changes nothing, nor may it be missed; a
    score that is no number is refused. `kinds` are the kinds of directions it reads. Raises InputError for what is no
    allocator.
    """
    found = find_strategy(strategy)
    allocate, again = found.bind(options), found.bind(options)
    rng = np.random.default_rng(seed)
    for index in range(draws):
        kind = kinds[index % len(kinds)]
        candidates = _candidates(rng, kind)
        for width in (0, 1, int(rng.integers(2, 40)), LARGE if index % 10 == 0 else len(candidates)):
            made = _allocated(allocate, candidates, width)
            _check_shares(made, width)
            _check_repeats(rng, again, candidates, width, made)
            _check_needs(rng, found, allocate, candidates, width, made)
    _check_refusal(allocate, _candidates(rng, kinds[0]))


def _candidates(rng: np.random.Generator, kind: str) -> Candidates:
    """One to twelve candidates about which everything is known; scores are often equal."""
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
    raise InputError(f"kinds of directions are labels, similarity and weights, not {kind!r}")


def _belief(rng: np.random.Generator, count: int) -> Belief:
    return Belief(rng.uniform(0.02, 0.98, count), rng.uniform(0.5, 20, count))


def _allocated(allocate: Allocator, candidates: Candidates, width: int) -> Allocation:
    with promised(
        f"an allocator returns for {len(candidates)} candidates as many whole numbers of at least 0 that sum to the "
        f"width, here {width}"
    ):
        return allocate(candidates, width)


def _check_shares(made: Allocation, width: int) -> None:
    weights = made.weights
    total = float(weights.sum())
    require(
        np.all(np.isfinite(weights))
        and np.all(weights >= 0)
        and (abs(total - 1) < 1e-6 or (width == 0 and total == 0)),
        "weights are the shares before rounding: finite, at least 0, and 1 together",
        f"found {weights}",
    )
    if made.uniqueness is not None:
        require(
            np.all(np.isfinite(made.uniqueness)) and np.all(made.uniqueness >= 0),
            "uniqueness is finite and at least 0",
            f"found {made.uniqueness}",
        )


def _check_repeats(
    rng: np.random.Generator, allocate: Allocator, candidates: Candidates, width: int, made: Allocation
) -> None:
    """Called again, on the same candidates in another order and with other names of the directions."""
    counts = by_path(candidates, made)
    again = by_path(candidates, _allocated(allocate, candidates, width))
    require(
        counts == again,
        "the same candidates get the same counts: all randomness comes of their seed, and nothing is remembered",
        f"{counts} and then {again}",
    )
    order = rng.permutation(len(candidates))
    turned = subset(candidates, order)
    other = by_path(turned, _allocated(allocate, turned, width))
    require(counts == other, "counts follow the path and not its place", f"{counts} and, in another order, {other}")
    directions = candidates.directions
    if directions is not None and directions.labels is not None:
        renamed = replace(candidates, directions=Directions(labels=rng.permutation(9)[directions.labels]))
        other = by_path(candidates, _allocated(allocate, renamed, width))
        require(
            counts == other,
            "labels say who goes together and nothing else: other numbers for them change no count",
            f"{counts} and {other}",
        )


def _check_needs(
    rng: np.random.Generator,
    strategy: Strategy,
    allocate: Allocator,
    candidates: Candidates,
    width: int,
    made: Allocation,
) -> None:
    """Evidence that is not declared may be missing or say anything else: the counts are the same."""
    for name, other in _others(rng, candidates):
        if name in strategy.needs:
            continue
        declare = f"a strategy reads no {name} unless its `needs` name them"
        with promised(f"{declare}, so it works where they are other or missing"):
            found = allocate(other, width)
        require(
            by_path(candidates, made) == by_path(other, found),
            declare,
            "counts changed when they did: decorate the function by rollwise.strategy_needs, or leave them unread",
        )


def _others(rng: np.random.Generator, candidates: Candidates) -> Iterator[tuple[str, Candidates]]:
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
    require(False, "a score that is no number is refused with an InputError, and nothing is allocated")


def by_path(candidates: Candidates, made: Allocation) -> dict[PathKey, int]:
    """The counts by path key."""
    return dict(zip(candidates.paths, made.counts.tolist(), strict=True))
