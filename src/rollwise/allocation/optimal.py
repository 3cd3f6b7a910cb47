"""The strategies that read a belief: the counts that make the chance of no right answer least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollwise.allocation.exact_counts import greedy_counts, optimal_counts, relaxed_counts
from rollwise.allocation.failure import shared_log_failures
from rollwise.allocation.heuristic import require_at_least, shares_of
from rollwise.core import Allocation, Belief, Candidates, FloatArray, IntArray
from rollwise.directions import check_cut, hard_labels, pool
from rollwise.errors import InputError


@dataclass(frozen=True)
class OptimalOptions:
    """The least and the most rollouts that any path may get; a cap of 0 is none."""

    floor: int = 0
    cap: int = 0

    def __post_init__(self) -> None:
        require_at_least("floor", self.floor, 0)
        require_at_least("cap", self.cap, 0)
        if 0 < self.cap < self.floor:
            raise InputError(f"a cap of {self.cap} is below the floor of {self.floor}; raise it, or 0 for none")


@dataclass(frozen=True)
class OptimalDirectionsOptions:
    """How directions share one chance to be right; what is None is the belief's.

    `correlation` ρ in (0, 1] is the members' common part of the doubt. `size_exponent` α adds α (log k - the mean of
    log k over the directions) to the log-odds of a direction of k members: that the policy goes there more often than
    elsewhere is evidence too, which a mean calibrated path by path may not hold. Below 0 crowds are held against. `cut`
    makes clusters of a similarity.
    """

    correlation: float | None = None
    size_exponent: float | None = None
    cut: float = 0.05

    def __post_init__(self) -> None:
        if self.correlation is not None and not 0 < self.correlation <= 1:
            raise InputError(f"a correlation lies in (0, 1], not {self.correlation}; leave it out for the belief's")
        if self.size_exponent is not None and not np.isfinite(self.size_exponent):
            raise InputError(f"size_exponent is a finite number, not {self.size_exponent}")
        check_cut(self.cut)


def optimal(candidates: Candidates, width: int, options: OptimalOptions) -> Allocation:
    """The exact least of Π E[(1 - p_i)^B_i] over counts, the paths' p_i ~ Beta(κm, κ(1 - m)) independent: the chance
    that no rollout ends right. See `optimal_counts`; `weights` are the shares where rollouts can be divided.
    """
    belief = _belief(candidates)
    floors = np.full(len(candidates), options.floor, dtype=np.int64) if options.floor else None
    caps = np.full(len(candidates), options.cap, dtype=np.int64) if options.cap else None
    told = belief.mean, belief.concentration, width, floors, caps, belief.spent
    relaxed = relaxed_counts(*told)
    return Allocation(optimal_counts(*told, relaxed), _normalised(relaxed))


def optimal_directions(candidates: Candidates, width: int, options: OptimalDirectionsOptions) -> Allocation:
    """The exact least of Π_j E[failure of the S_j rollouts of direction j] over the directions' totals S_j, where the
    members of a direction share their chance to end right, wholly (ρ = 1) or in part (see `sharing`).

    A direction has one mean and one κ, pooled from its members. Its rollouts go to them as `optimal` would hand them
    out: evenly, with those each has had already, where their beliefs are alike, which is best for ρ < 1 and of no
    matter to the objective for ρ = 1; and where their beliefs differ to the better ones, since then the direction may
    be none. `weights` are the directions' shares, spread evenly: where rollouts can be divided for ρ = 1, those of the
    totals for ρ < 1, where there is no such form. `uniqueness` is 1 / size.
    """
    assert candidates.directions is not None
    belief = _belief(candidates)
    labels = hard_labels(candidates.directions, options.cut)
    sizes = np.bincount(labels)
    mean, concentration = pool(belief.mean, belief.concentration, labels)
    exponent = belief.size_exponent if options.size_exponent is None else options.size_exponent
    if exponent:
        mean = _shifted(mean, exponent * (np.log(sizes) - np.log(sizes).mean()))
    spent = np.zeros(len(candidates), dtype=np.int64) if belief.spent is None else belief.spent
    correlation = belief.correlation if options.correlation is None else options.correlation
    if correlation == 1:
        had = np.bincount(labels, spent).astype(np.int64)
        relaxed = relaxed_counts(mean, concentration, width, spent=had)
        totals = optimal_counts(mean, concentration, width, spent=had, relaxed=relaxed)
        shares = _normalised(relaxed)
    else:
        _refuse_many(width + int(spent.sum()))
        members = [spent[labels == label].tolist() for label in range(len(sizes))]
        told = zip(mean.tolist(), concentration.tolist(), members, strict=True)
        totals = greedy_counts([shared_log_failures(m, k, correlation, had) for m, k, had in told], width)
        shares = shares_of(totals)
    counts = _handed_down(totals, labels, belief, spent)
    return Allocation(counts, (shares / sizes)[labels], (1 / sizes)[labels])


LARGEST_SHARED = 10**6
"""The most rollouts, had and to come, that directions may share in part: they are gone through one by one."""


def _refuse_many(rollouts: int) -> None:
    if rollouts > LARGEST_SHARED:
        raise InputError(
            f"a correlation below 1 takes time for each of {rollouts:,} rollouts and is computed for up to "
            f"{LARGEST_SHARED:,}; set correlation to 1, or lower the width and what is spent"
        )


def _belief(candidates: Candidates) -> Belief:
    assert candidates.belief is not None
    return candidates.belief


def _normalised(counts: FloatArray) -> FloatArray:
    total = float(counts.sum())
    return counts / total if total > 0 else counts


def _shifted(mean: FloatArray, log_odds: FloatArray) -> FloatArray:
    """The mean with so much added to its log-odds; 0 and 1 stay."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        shifted = 1 / (1 + (1 - mean) / mean * np.exp(-log_odds))
    return np.where((log_odds == 0) | (mean == 0) | (mean == 1), mean, shifted)


def _handed_down(totals: IntArray, labels: IntArray, belief: Belief, spent: IntArray) -> IntArray:
    """Each direction's total over its members (k,): by their own beliefs where these differ, else evenly."""
    counts = _spread(totals, labels, belief.mean, spent)
    mean, concentration = belief.mean, belief.concentration
    first = np.zeros(len(totals), dtype=np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]  # of several members the last that is assigned stays
    alike = first[labels]
    differ = ((mean != mean[alike]) | (concentration != concentration[alike])) & (totals[labels] > 0)
    for label in set(labels[differ].tolist()):
        members = np.flatnonzero(labels == label)
        told = mean[members], concentration[members], int(totals[label])
        counts[members] = optimal_counts(*told, spent=spent[members])
    return counts


def _spread(totals: IntArray, labels: IntArray, mean: FloatArray, spent: IntArray) -> IntArray:
    """Each direction's total over its members: the fewest had first, then the better mean, then the earlier.

    In the order of what they had, a direction's first n members take part, those that its total can raise to what the
    n-th had; together they reach an equal level, and the best of them one more where rollouts are left.
    """
    order = np.lexsort((-mean, spent, labels))
    label, had = labels[order], spent[order]
    sizes = np.bincount(labels)
    starts = sizes.cumsum() - sizes
    counts = np.zeros(len(labels), dtype=np.int64)
    rank = np.arange(len(order)) - starts[label]
    if not had.any():
        level, left = np.divmod(totals, sizes)
        counts[order] = level[label] + (rank < left[label])
        return counts
    before = np.cumsum(had) - had
    before -= before[starts][label]
    takes_part = rank * had - before <= totals[label]
    members = np.bincount(label, takes_part).astype(np.int64)
    level, left = np.divmod(totals + np.bincount(label, had * takes_part).astype(np.int64), members)
    counts[order] = np.where(takes_part, level[label] - had, 0)
    best = np.lexsort((-mean, ~takes_part[np.argsort(order)], labels))
    counts[best] += rank < left[label]
    return counts
