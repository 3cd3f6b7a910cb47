"""Name → strategy: its function, options and needs; what it is given and what it returns are checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

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
from rollwise.core import Allocation, Allocator, Candidates, IntArray
from rollwise.directions import check_directions
from rollwise.errors import AllocationError, InputError


@dataclass(frozen=True)
class Strategy:
    """A named allocator, the dataclass of its options (None: any mapping), and what evidence it reads.

    `needs` is a subset of {"rewards", "directions", "lineage", "belief"}. Directions that are not needed are not looked
    for; every path is scored all the same, since the vote reads the rewards.
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
            order = np.array(sorted(range(len(candidates)), key=candidates.paths.__getitem__), dtype=np.int64)
            made = self.allocate(subset(candidates, order), width, bound)
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
        if candidates.rewards.shape != (count,) or not np.isfinite(candidates.rewards).all():
            raise InputError("every candidate needs one finite score; replace NaN and infinity, or leave the path out")
        for name, known in (("lineage", candidates.lineage), ("depth", candidates.depth)):
            if known is not None and known.shape != (count,):
                raise InputError(f"{count} scores need {count} {name} entries, not {known.shape}")
        if candidates.directions is not None:
            check_directions(candidates.directions, count)
        if candidates.belief is not None:
            check_belief(candidates.belief, count)
        for name in _EVIDENCE:
            if name in self.needs and getattr(candidates, name) is None:
                raise InputError(f"strategy {self.name!r} needs {_EVIDENCE[name]}")

    def _check_result(self, made: Allocation | IntArray, count: int, width: int) -> Allocation:
        counts = made.counts if isinstance(made, Allocation) else np.asarray(made)
        numbers = counts.shape == (count,) and counts.dtype.kind in "iuf"
        if not numbers or (counts.dtype.kind == "f" and np.any(counts != np.floor(counts))) or counts.min() < 0:
            raise AllocationError(f"strategy {self.name!r} has to return {count} whole numbers of at least 0")
        if int(counts.sum()) != width:
            raise AllocationError(f"strategy {self.name!r} handed out {int(counts.sum())} rollouts of {width}")
        if not isinstance(made, Allocation):
            return Allocation(counts, shares_of(counts))
        reasons = (made.weights, made.uniqueness, made.first_counts)
        if any(reason is not None and reason.shape != (count,) for reason in reasons):
            raise AllocationError(f"strategy {self.name!r} has to return weights for each of {count} candidates")
        return made


_EVIDENCE = {
    "directions": "directions: give embeddings, similarity or direction labels",
    "lineage": "the lineage: give the index of the root copy that each path descends from",
    "belief": "a belief: for each score a calibrated mean and its concentration; for a search, make one by "
    "`rollwise calibrate` and give it as --belief FILE",
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
    taken = {}
    for key, value in given.items():
        if key not in known:
            raise InputError(f"strategy {name!r} has no option {key!r}; it has: {', '.join(known) or 'none'}")
        wanted = known[key].removesuffix(" | None")
        if value is None and wanted != known[key]:
            continue
        right = isinstance(value, str) if wanted == "str" else _is_number(value, whole=wanted == "int")
        if not right:
            raise InputError(f"option {key!r} of strategy {name!r} is a {wanted}, not {value!r:.60}")
        taken[key] = {"int": int, "float": float, "str": str}[wanted](value)
    return kind(**taken)


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
        Strategy("optimal", optimal, OptimalOptions, frozenset({"belief"})),
        Strategy(
            "optimal_directions", optimal_directions, OptimalDirectionsOptions, frozenset({"belief", "directions"})
        ),
    )
}
