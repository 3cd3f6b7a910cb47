"""The strategies by name, with their options and needs, and the checks of what they receive and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.allocation.failure import check_belief
from rollwise.allocation.heuristic import (
    LARGEST,
    DoraOptions,
    NoOptions,
    RebaseOptions,
    TreeOptions,
    beam,
    dora,
    dora_two_stage,
    dvts,
    rebase,
    shares_of,
    subset,
    temperature,
)
from rollwise.allocation.optimal import OptimalDirectionsOptions, OptimalOptions, optimal, optimal_directions
from rollwise.core import Allocation, Allocator, Candidates, IntArray, read_fields
from rollwise.directions import check_directions, kernel_groups
from rollwise.errors import AllocationError, InputError


@dataclass(frozen=True)
class Strategy:
    """A named allocator, the dataclass of its options (None accepts any mapping), and the evidence that it reads.

    `needs` is a subset of {"rewards", "directions", "lineage", "belief"}. A search looks for directions only if the
    strategy needs them. It scores every path in any case, since the vote reads the rewards.

    `independent` says that every rollout goes on by itself, whatever is known of it and of the others.
    """

    name: str
    allocate: Callable[[Candidates, int, Any], Allocation | IntArray]
    options: type | None = NoOptions
    needs: frozenset[str] = frozenset()
    independent: bool = False

    def bind(self, options: Mapping[str, Any] | None = None) -> Allocator:
        """Returns the allocator with its options fixed.

        It checks the candidates and the result, and passes the candidates on sorted by path key, so that ties never
        depend on position. Raises InputError for an unknown option and for a value of the wrong type.
        """
        given = dict(options or {})
        bound: Any = given
        if self.options is not None:
            bound = read_fields(self.options, given, f"strategy {self.name!r}", noun="option")

        def run(candidates: Candidates, width: int) -> Allocation:
            self._check_evidence(candidates, width)
            order = np.array(sorted(range(len(candidates)), key=candidates.paths.__getitem__), dtype=np.int64)
            result = self.allocate(subset(candidates, order), width, bound)
            checked = self._check_result(result, len(candidates), width)
            if checked.directions is None and candidates.directions is not None and "directions" in self.needs:
                groups = kernel_groups(candidates.directions)
                checked = replace(checked, directions=None if groups is None else groups[order])
            return _restore(checked, order)

        return run

    def _check_evidence(self, candidates: Candidates, width: int) -> None:
        count = len(candidates)
        if count == 0:
            raise InputError("there is nothing to allocate to; give at least one score")
        if width < 0 or int(width) != width:
            raise InputError(
                f"the width is the number of rollouts to hand out: a whole number of at least 0, not {width}"
            )
        if width > LARGEST:
            raise InputError(f"the width has to be at most {LARGEST:,}; hand out more rollouts in several allocations")
        if len(set(candidates.paths)) != count:
            raise InputError("two candidates have the same path key; give each candidate its own key")
        if candidates.rewards.shape != (count,) or not np.isfinite(candidates.rewards).all():
            raise InputError("every candidate needs one finite score; replace NaN and infinity, or leave the path out")
        for name, values in (("lineage", candidates.lineage), ("depth", candidates.depth)):
            if values is not None and values.shape != (count,):
                raise InputError(f"{count} scores need {count} {name} entries, not {values.shape}")
        if candidates.directions is not None:
            check_directions(candidates.directions, count)
        if candidates.belief is not None:
            check_belief(candidates.belief, count)
        for name in _EVIDENCE:
            if name in self.needs and getattr(candidates, name) is None:
                raise InputError(f"strategy {self.name!r} needs {_EVIDENCE[name]}")

    def _check_result(self, result: Allocation | IntArray, count: int, width: int) -> Allocation:
        counts = result.counts if isinstance(result, Allocation) else np.asarray(result)
        if counts.shape != (count,) or not _are_whole(counts) or counts.min() < 0:
            raise AllocationError(f"strategy {self.name!r} has to return {count} whole numbers of at least 0")
        if int(counts.sum()) != width:
            raise AllocationError(f"strategy {self.name!r} handed out {int(counts.sum())} rollouts of {width}")
        if not isinstance(result, Allocation):
            return Allocation(counts, shares_of(counts))
        reasons = (result.weights, result.uniqueness, result.first_counts, result.directions)
        if any(reason is not None and reason.shape != (count,) for reason in reasons):
            raise AllocationError(f"strategy {self.name!r} has to return weights for each of {count} candidates")
        return result


def _are_whole(numbers: NDArray[Any]) -> bool:
    """Whether an array holds whole numbers, as integers or as floats."""
    if numbers.dtype.kind == "f":
        return bool(np.all(numbers == np.floor(numbers)))
    return numbers.dtype.kind in "iu"


_EVIDENCE = {
    "directions": "directions: give embeddings, similarity or direction labels",
    "lineage": "the lineage: give the index of the root copy that each path descends from",
    "belief": "a belief: for each score a calibrated mean and its concentration; for a search, make a belief with "
    "`rollwise calibrate` and give it as --belief FILE",
}


def _restore(result: Allocation, order: IntArray) -> Allocation:
    """Returns the allocation in the order in which the candidates were given."""
    back = np.argsort(order)
    return Allocation(
        counts=result.counts[back].astype(np.int64),
        weights=result.weights[back],
        uniqueness=None if result.uniqueness is None else result.uniqueness[back],
        first_counts=None if result.first_counts is None else result.first_counts[back],
        directions=None if result.directions is None else result.directions[back],
    )


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("temperature", temperature, independent=True),
        Strategy("beam", beam, TreeOptions, frozenset({"rewards"})),
        Strategy("dvts", dvts, TreeOptions, frozenset({"rewards", "lineage"})),
        Strategy("rebase", rebase, RebaseOptions, frozenset({"rewards"})),
        Strategy("dora", dora, DoraOptions, frozenset({"rewards", "directions"})),
        Strategy("dora_two_stage", dora_two_stage, DoraOptions, frozenset({"rewards", "directions"})),
        Strategy("optimal", optimal, OptimalOptions, frozenset({"belief"})),
        Strategy(
            "optimal_directions", optimal_directions, OptimalDirectionsOptions, frozenset({"belief", "directions"})
        ),
    )
}
