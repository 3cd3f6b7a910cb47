"""Every strategy, one pure function each: candidates and a width → how many copies of each candidate go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from rollwise.core import Allocation, Allocator, Belief, Candidates, FloatArray, IntArray
from rollwise.directions import check_directions, contiguous_order, take, uniqueness
from rollwise.errors import AllocationError, InputError
from rollwise.numerics import apportion, check_rounding, keyed_generator, largest_remainder, softmax

LARGEST = 10**8
"""The largest width and the largest number of children a path."""


def _require_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} has to be at least {least:g}, not {value}")


@dataclass(frozen=True)
class NoOptions:
    """This strategy has no options."""


@dataclass(frozen=True)
class TreeOptions:
    """Beam and DVTS: how many children each kept path has (the paper's M)."""

    beam_width: int = 4

    def __post_init__(self) -> None:
        _require_at_least("beam_width", self.beam_width, 1)
        if self.beam_width > LARGEST:
            raise InputError(f"beam_width has to be at most {LARGEST:,}")


@dataclass(frozen=True)
class RebaseOptions:
    """REBASE: the temperature T_b of the softmax over rewards, and how shares become counts."""

    reward_temperature: float = 0.1
    rounding: str = "largest_remainder"

    def __post_init__(self) -> None:
        _require_at_least("reward_temperature", self.reward_temperature, 0)
        check_rounding(self.rounding)


@dataclass(frozen=True)
class DoraOptions:
    """DORA: T_b over rewards, T_s over similarity, and how shares become counts."""

    reward_temperature: float = 0.1
    similarity_temperature: float = 0.01
    rounding: str = "cumulative"

    def __post_init__(self) -> None:
        _require_at_least("reward_temperature", self.reward_temperature, 0)
        _require_at_least("similarity_temperature", self.similarity_temperature, 0)
        check_rounding(self.rounding)


def temperature(candidates: Candidates, width: int, options: NoOptions) -> Allocation:
    """One rollout each; a width other than k is spread evenly. Plain sampling, the baseline of every table."""
    weights = np.full(len(candidates), 1 / len(candidates))
    return Allocation(largest_remainder(weights * width, width), weights)


def beam(candidates: Candidates, width: int, options: TreeOptions) -> Allocation:
    """M rollouts to each of the ⌈width / M⌉ best rewards, the last of them what remains (Snell et al., 2408.03314).

    Where fewer candidates than that exist, the width is spread evenly over all of them.
    """
    kept = -(-width // options.beam_width)
    counts = np.zeros(len(candidates), dtype=np.int64)
    best = _best_first(candidates.rewards)[:kept]
    if len(best) < kept:
        counts[best] = largest_remainder(np.full(len(best), width / len(best)), width)
    else:
        counts[best] = options.beam_width
        counts[best[-1:]] -= kept * options.beam_width - width
    return Allocation(counts, _shares(counts))


def dvts(candidates: Candidates, width: int, options: TreeOptions) -> Allocation:
    """Subtree = root index // M; each subtree's remaining rollouts go to its best path (Beeching et al., 2024).

    A subtree's remaining rollouts are its active paths; a width other than k is spread over subtrees in proportion.
    """
    assert candidates.lineage is not None
    trees, members = np.unique(candidates.lineage // options.beam_width, return_inverse=True)
    sizes = np.bincount(members)
    slots = largest_remainder(sizes.astype(np.float64) * (width / len(candidates)), width)
    best_first = _best_first(candidates.rewards)
    counts = np.zeros(len(candidates), dtype=np.int64)
    for tree in range(len(trees)):
        counts[best_first[members[best_first] == tree][0]] = slots[tree]
    return Allocation(counts, _shares(counts))


def rebase(candidates: Candidates, width: int, options: RebaseOptions) -> Allocation:
    """Shares softmax(R / T_b) of the width (REBASE, Wu et al., arXiv 2408.00724, section 3). Reads no directions: the
    cumulative roundings go along the paths' keys.
    """
    weights = softmax(candidates.rewards, options.reward_temperature)
    counts = apportion(weights, width, options.rounding, np.arange(len(weights)), _generator(candidates))
    return Allocation(counts, weights)


def dora(candidates: Candidates, width: int, options: DoraOptions) -> Allocation:
    """Shares w·γ / Σw·γ, w = softmax(R / T_b), γ the uniqueness of each candidate's direction (DORA, Wang et al.,
    arXiv 2506.15707, section 4), so that a direction is paid for its quality and not for its size.
    """
    unique, weights = _direction_weights(candidates, options)
    order = contiguous_order(candidates.directions, len(candidates))
    counts = apportion(weights, width, options.rounding, order, _generator(candidates))
    return Allocation(counts, weights, unique)


def dora_two_stage(candidates: Candidates, width: int, options: DoraOptions) -> Allocation:
    """What DORA's released code does instead of the paper: REBASE's counts prune first, then DORA's weights, with the
    softmax and the uniqueness taken anew among the survivors.

    With rounding "paper" the first counts are rounded half to even as there; otherwise by largest remainder.
    """
    shares = softmax(candidates.rewards, options.reward_temperature) * width
    first = np.round(shares).astype(np.int64) if options.rounding == "paper" else largest_remainder(shares, width)
    survivors = np.flatnonzero(first) if first.any() else np.arange(len(candidates))
    second = dora(_subset(candidates, survivors), width, options)
    counts, weights, unique = np.zeros_like(first), np.zeros(len(first)), np.zeros(len(first))
    counts[survivors], weights[survivors] = second.counts, second.weights
    unique[survivors] = second.uniqueness
    return Allocation(counts, weights, unique, first_counts=first)


def _direction_weights(candidates: Candidates, options: DoraOptions) -> tuple[FloatArray, FloatArray]:
    assert candidates.directions is not None
    unique = uniqueness(candidates.directions, options.similarity_temperature)
    weights = softmax(candidates.rewards, options.reward_temperature) * unique
    return unique, weights / weights.sum()


def _best_first(rewards: FloatArray) -> IntArray:
    return np.argsort(-rewards, kind="stable")


def _shares(counts: IntArray) -> FloatArray:
    return counts / max(1, int(counts.sum()))


def _generator(candidates: Candidates) -> np.random.Generator:
    return keyed_generator(candidates.seed, candidates.question, candidates.paths[0], "rounding")


def _subset(candidates: Candidates, order: IntArray) -> Candidates:
    return Candidates(
        paths=tuple(candidates.paths[index] for index in order),
        rewards=candidates.rewards[order],
        directions=take(candidates.directions, order),
        lineage=None if candidates.lineage is None else candidates.lineage[order],
        depth=None if candidates.depth is None else candidates.depth[order],
        question=candidates.question,
        seed=candidates.seed,
        belief=None if candidates.belief is None else _believed(candidates.belief, order),
    )


def _believed(belief: Belief, order: IntArray) -> Belief:
    spent = None if belief.spent is None else belief.spent[order]
    return replace(belief, mean=belief.mean[order], concentration=belief.concentration[order], spent=spent)


@dataclass(frozen=True)
class Strategy:
    """A named allocator, the dataclass of its options (None: any mapping), and what evidence it reads.

    `needs` is a subset of {"rewards", "directions", "lineage"}. Directions that are not needed are not looked for;
    every path is scored all the same, since the vote reads the rewards.
    """

    name: str
    allocate: Callable[[Candidates, int, Any], Allocation | IntArray]
    options: type | None = NoOptions
    needs: frozenset[str] = frozenset()

    def bind(self, options: Mapping[str, Any] | None = None) -> Allocator:
        """The allocator with its options fixed: checked, and given its candidates sorted by path key, so that ties
        never depend on position. Raises InputError for an option it does not have.
        """
        given = dict(options or {})
        bound = given if self.options is None else _build_options(self.options, given, self.name)

        def run(candidates: Candidates, width: int) -> Allocation:
            self._check_evidence(candidates, width)
            order = np.array(sorted(range(len(candidates)), key=lambda index: candidates.paths[index]), dtype=np.int64)
            made = self.allocate(_subset(candidates, order), width, bound)
            return _restore(self._check_result(made, len(candidates), width), order)

        return run

    def _check_evidence(self, candidates: Candidates, width: int) -> None:
        count = len(candidates)
        if count == 0:
            raise InputError("there is nothing to allocate among; give at least one score")
        if width < 0 or int(width) != width:
            raise InputError(f"the width is how many rollouts to hand out, a whole number of at least 0, not {width}")
        if width > LARGEST:
            raise InputError(f"the width has to be at most {LARGEST:,}; hand out so many in several allocations")
        if len(set(candidates.paths)) != count:
            raise InputError("two candidates carry the same path key; keys name candidates, make them differ")
        if candidates.rewards.shape != (count,) or not np.all(np.isfinite(candidates.rewards)):
            raise InputError("every candidate needs one finite score; replace NaN and infinity, or leave the path out")
        for name, known in (("lineage", candidates.lineage), ("depth", candidates.depth)):
            if known is not None and known.shape != (count,):
                raise InputError(f"{count} scores need {count} {name} entries, not {known.shape}")
        if candidates.directions is not None:
            check_directions(candidates.directions, count)
        for name in ("directions", "lineage"):
            if name in self.needs and getattr(candidates, name) is None:
                raise InputError(f"strategy {self.name!r} needs {_EVIDENCE[name]}")

    def _check_result(self, made: Allocation | IntArray, count: int, width: int) -> Allocation:
        counts = made.counts if isinstance(made, Allocation) else np.asarray(made)
        numbers = counts.shape == (count,) and counts.dtype.kind in "iuf"
        if not numbers or not np.all(counts == np.floor(counts)) or np.any(counts < 0):
            raise AllocationError(f"strategy {self.name!r} has to return {count} whole numbers of at least 0")
        if int(counts.sum()) != width:
            raise AllocationError(f"strategy {self.name!r} handed out {int(counts.sum())} rollouts of {width}")
        if not isinstance(made, Allocation):
            return Allocation(counts, _shares(counts))
        reasons = (made.weights, made.uniqueness, made.first_counts)
        if any(reason is not None and reason.shape != (count,) for reason in reasons):
            raise AllocationError(f"strategy {self.name!r} has to return weights for each of {count} candidates")
        return made


_EVIDENCE = {
    "directions": "directions: give embeddings, similarity or direction labels",
    "lineage": "the lineage: give the index of the root copy that each path descends from",
}


def _restore(made: Allocation, order: IntArray) -> Allocation:
    """The allocation in the order in which the candidates were given."""
    back = np.argsort(order)
    return Allocation(
        counts=made.counts[back].astype(np.int64),
        weights=made.weights[back],
        uniqueness=None if made.uniqueness is None else made.uniqueness[back],
        first_counts=None if made.first_counts is None else made.first_counts[back],
    )


def _build_options(kind: type, given: dict[str, Any], name: str) -> Any:
    known = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise InputError(f"strategy {name!r} has no option {key!r}; it has: {', '.join(known) or 'none'}")
        wanted = known[key]
        right = isinstance(value, str) if wanted == "str" else _is_number(value, whole=wanted == "int")
        if not right:
            raise InputError(f"option {key!r} of strategy {name!r} is a {wanted}, not {value!r:.60}")
    numbers: dict[str, type] = {"int": int, "float": float}
    return kind(**{key: numbers.get(known[key], lambda same: same)(value) for key, value in given.items()})


def _is_number(value: Any, whole: bool) -> bool:
    """Whether a value is a number that a float can hold; with `whole`, a whole one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(value).is_integer() or not whole
    except OverflowError:
        return False


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("temperature", temperature),
        Strategy("beam", beam, TreeOptions, frozenset({"rewards"})),
        Strategy("dvts", dvts, TreeOptions, frozenset({"rewards", "lineage"})),
        Strategy("rebase", rebase, RebaseOptions, frozenset({"rewards"})),
        Strategy("dora", dora, DoraOptions, frozenset({"rewards", "directions"})),
        Strategy("dora_two_stage", dora_two_stage, DoraOptions, frozenset({"rewards", "directions"})),
    )
}
