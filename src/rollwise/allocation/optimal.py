"""The strategies that read a belief: their counts minimise the chance that no answer is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollwise.allocation.exact_counts import greedy_counts, optimal_counts, relaxed_counts
from rollwise.allocation.failure import shared_log_failures
from rollwise.allocation.heuristic import require_at_least, shares_of
from rollwise.core import Allocation, Belief, Candidates, FloatArray, IntArray
from rollwise.directions import check_cut, hard_labels, pool
from rollwise.errors import InputError
from rollwise.numerics import shift_log_odds


@dataclass(frozen=True)
class OptimalOptions:
    """The options of `optimal`: the fewest and the most rollouts that a path may get. A cap of 0 means no cap."""

    floor: int = 0
    cap: int = 0

    def __post_init__(self) -> None:
        require_at_least("floor", self.floor, 0)
        require_at_least("cap", self.cap, 0)
        if 0 < self.cap < self.floor:
            raise InputError(f"a cap of {self.cap} is below the floor of {self.floor}; raise it, or 0 for none")


@dataclass(frozen=True)
class OptimalDirectionsOptions:
    """The options of `optimal_directions`: how the paths of a direction share one chance to end right.

    `correlation` ρ in (0, 1] is the part of the doubt that the members share. `size_exponent` α adds α (log k - the
    mean of log k over the directions) to the log-odds of a direction of k members: that the policy goes there more
    often than elsewhere is evidence too, which a mean calibrated path by path may lack. An α below 0 counts against
    crowds. If ρ or α is None, the belief's value is used. `cut` is the cosine distance up to which a similarity is
    joined into clusters.
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
    """Gives the counts B that minimise Π E[(1 - p_i)^B_i] exactly: the chance that no rollout ends right.

    The paths' chances p_i ~ Beta(κm, κ(1 - m)) are independent; see `optimal_counts`. `weights` are the shares if
    rollouts could be divided.
    """
    belief = _belief(candidates)
    floors = np.full(len(candidates), options.floor, dtype=np.int64) if options.floor else None
    caps = np.full(len(candidates), options.cap, dtype=np.int64) if options.cap else None
    problem = belief.mean, belief.concentration, width, floors, caps, belief.spent
    relaxed = relaxed_counts(*problem)
    return Allocation(optimal_counts(*problem, relaxed), _normalised(relaxed))


def optimal_directions(candidates: Candidates, width: int, options: OptimalDirectionsOptions) -> Allocation:
    """Gives the totals S_j of the directions that minimise Π_j E[all S_j rollouts of direction j fail] exactly.

    The members of a direction share their chance to end right, wholly (ρ = 1) or in part (see `sharing`). A direction
    has one mean and one κ, pooled from its members. Its total goes to its members as `optimal` would hand it out:
    - If their beliefs are equal, evenly, counting the rollouts that each has already had. For ρ < 1 that is best; for
      ρ = 1 the objective does not depend on it.
    - If their beliefs differ, to the better members, since then they may not be one direction.

    `weights` are the directions' shares, spread evenly over their members: for ρ = 1 those of rollouts that can be
    divided, for ρ < 1 those of the totals, since there is no divisible form. `uniqueness` is 1 / size.
    """
    assert candidates.directions is not None
    belief = _belief(candidates)
    labels = hard_labels(candidates.directions, options.cut)
    sizes = np.bincount(labels)
    spent = np.zeros(len(candidates), dtype=np.int64) if belief.spent is None else belief.spent
    mean, concentration = pool(belief.mean, belief.concentration, labels)
    exponent = belief.size_exponent if options.size_exponent is None else options.size_exponent
    if exponent:
        mean = shift_log_odds(mean, exponent * (np.log(sizes) - np.log(sizes).mean()))
    correlation = belief.correlation if options.correlation is None else options.correlation
    if correlation == 1:
        totals, shares = _wholly_shared(mean, concentration, width, np.bincount(labels, spent).astype(np.int64))
    else:
        members_spent = [spent[labels == label].tolist() for label in range(len(sizes))]
        totals = _partly_shared(mean, concentration, correlation, width, members_spent)
        shares = shares_of(totals)
    counts = _handed_down(totals, labels, belief, spent)
    return Allocation(counts, (shares / sizes)[labels], (1 / sizes)[labels], directions=labels)


def _wholly_shared(
    mean: FloatArray, concentration: FloatArray, width: int, spent: IntArray
) -> tuple[IntArray, FloatArray]:
    """Returns the best totals (J,) of directions with one chance each, and the shares (J,) of divisible rollouts."""
    relaxed = relaxed_counts(mean, concentration, width, spent=spent)
    totals = optimal_counts(mean, concentration, width, spent=spent, relaxed=relaxed)
    return totals, _normalised(relaxed)


LARGEST_SHARED = 10**6
"""The most rollouts, spent and to come, for directions that share in part; each of them takes time."""


def _partly_shared(
    mean: FloatArray, concentration: FloatArray, correlation: float, width: int, members_spent: list[list[int]]
) -> IntArray:
    """Returns the best totals (J,) of directions whose members share in part; `members_spent` is by direction."""
    rollouts = width + sum(map(sum, members_spent))
    if rollouts > LARGEST_SHARED:
        raise InputError(
            f"a correlation below 1 takes time for each of {rollouts:,} rollouts and is computed for up to "
            f"{LARGEST_SHARED:,}; set correlation to 1, or lower the width and what is spent"
        )
    failures = [
        shared_log_failures(direction_mean, direction_concentration, correlation, spent)
        for direction_mean, direction_concentration, spent in zip(
            mean.tolist(), concentration.tolist(), members_spent, strict=True
        )
    ]
    return greedy_counts(failures, width)


def _belief(candidates: Candidates) -> Belief:
    assert candidates.belief is not None
    return candidates.belief


def _normalised(counts: FloatArray) -> FloatArray:
    total = float(counts.sum())
    return counts / total if total > 0 else counts


def _handed_down(totals: IntArray, labels: IntArray, belief: Belief, spent: IntArray) -> IntArray:
    """Returns counts (k,) that divide each direction's total evenly, or by the members' own beliefs if they differ."""
    counts = _spread(totals, labels, belief.mean, spent)
    mean, concentration = belief.mean, belief.concentration
    first = np.zeros(len(totals), dtype=np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]  # the last assignment wins, so this is the first member
    reference = first[labels]
    differ = ((mean != mean[reference]) | (concentration != concentration[reference])) & (totals[labels] > 0)
    for label in set(labels[differ].tolist()):
        members = np.flatnonzero(labels == label)
        counts[members] = optimal_counts(
            mean[members], concentration[members], int(totals[label]), spent=spent[members]
        )
    return counts


def _spread(totals: IntArray, labels: IntArray, mean: FloatArray, spent: IntArray) -> IntArray:
    """Returns counts (k,) that divide each direction's total evenly, counting what is spent.

    Members with the fewest spent rollouts come first, then those with the better mean, then the earlier ones. In order
    of what they have spent, the first n members of a direction take part: those that the total can raise to what the
    n-th has spent. Together they reach an equal level, and the best of them get one more if rollouts are left.
    """
    order = np.lexsort((-mean, spent, labels))
    label, ordered_spent = labels[order], spent[order]
    sizes = np.bincount(labels)
    starts = sizes.cumsum() - sizes
    counts = np.zeros(len(labels), dtype=np.int64)
    rank = np.arange(len(order)) - starts[label]
    if not ordered_spent.any():
        level, left = np.divmod(totals, sizes)
        counts[order] = level[label] + (rank < left[label])
        return counts
    before = np.cumsum(ordered_spent) - ordered_spent
    before -= before[starts][label]
    takes_part = rank * ordered_spent - before <= totals[label]
    members = np.bincount(label, takes_part).astype(np.int64)
    raised = totals + np.bincount(label, ordered_spent * takes_part).astype(np.int64)
    level, left = np.divmod(raised, members)
    counts[order] = np.where(takes_part, level[label] - ordered_spent, 0)
    best = np.lexsort((-mean, ~takes_part[np.argsort(order)], labels))
    counts[best] += rank < left[label]
    return counts
