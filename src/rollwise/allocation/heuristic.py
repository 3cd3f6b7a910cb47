"""The strategies of the literature as pure functions: from the candidates and a width to how many copies go on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rollwise.allocation.rounding import apportion, check_rounding, largest_remainder
from rollwise.core import Allocation, Belief, Candidates, FloatArray, IntArray
from rollwise.directions import contiguous_order, kernel_groups, take, uniqueness
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator, softmax

LARGEST = 10**8
"""The largest width, and the largest number of children of a path."""


def require_at_least(name: str, value: float, least: float) -> None:
    """Raises InputError if the value of the option `name` is below `least`."""
    if not value >= least:
        raise InputError(f"{name} has to be at least {least:g}, not {value}")


@dataclass(frozen=True)
class NoOptions:
    """The options of a strategy that has none."""


@dataclass(frozen=True)
class TreeOptions:
    """The options of beam and DVTS: how many children each kept path gets (the paper's M)."""

    beam_width: int = 4

    def __post_init__(self) -> None:
        require_at_least("beam_width", self.beam_width, 1)
        if self.beam_width > LARGEST:
            raise InputError(f"beam_width has to be at most {LARGEST:,}")


@dataclass(frozen=True)
class RebaseOptions:
    """The options of REBASE: the temperature T_b of the softmax over rewards, and how shares become counts."""

    reward_temperature: float = 0.1
    rounding: str = "largest_remainder"

    def __post_init__(self) -> None:
        require_at_least("reward_temperature", self.reward_temperature, 0)
        check_rounding(self.rounding)


@dataclass(frozen=True)
class DoraOptions:
    """The options of DORA: the temperatures T_b over rewards and T_s over similarity, and how shares become counts.

    With `size_exponent` α in [0, 1], a direction of k members gets k^α times the weight that DORA gives it: 0 is DORA,
    1 is REBASE.
    """

    reward_temperature: float = 0.1
    similarity_temperature: float = 0.01
    rounding: str = "cumulative"
    size_exponent: float = 0.0

    def __post_init__(self) -> None:
        require_at_least("reward_temperature", self.reward_temperature, 0)
        require_at_least("similarity_temperature", self.similarity_temperature, 0)
        check_rounding(self.rounding)
        if not 0 <= self.size_exponent <= 1:
            raise InputError(f"size_exponent lies in [0, 1], 0 as DORA and 1 as REBASE, not {self.size_exponent}")


def temperature(candidates: Candidates, width: int, options: NoOptions) -> Allocation:
    """Gives every candidate one rollout, or an even share of a width other than k: plain sampling, the baseline."""
    weights = np.full(len(candidates), 1 / len(candidates))
    return Allocation(largest_remainder(weights * width, width), weights)


def beam(candidates: Candidates, width: int, options: TreeOptions) -> Allocation:
    """Gives M rollouts to each of the ⌈width / M⌉ best rewards (Snell et al., 2408.03314); the last gets the rest.

    If there are fewer candidates than that, the width is spread evenly over all of them.
    """
    kept = -(-width // options.beam_width)
    counts = np.zeros(len(candidates), dtype=np.int64)
    best = _best_first(candidates.rewards)[:kept]
    if len(best) < kept:
        counts[best] = largest_remainder(np.full(len(best), width / len(best)), width)
    else:
        counts[best] = options.beam_width
        counts[best[-1:]] -= kept * options.beam_width - width
    return Allocation(counts, shares_of(counts))


def dvts(candidates: Candidates, width: int, options: TreeOptions) -> Allocation:
    """Gives each subtree's remaining rollouts to its best path (Beeching et al., 2024); subtree = root index // M.

    A subtree has as many rollouts left as it has active paths. A width other than k is divided among the subtrees in
    that proportion.
    """
    assert candidates.lineage is not None
    trees, members = np.unique(candidates.lineage // options.beam_width, return_inverse=True)
    sizes = np.bincount(members)
    slots = largest_remainder(sizes.astype(np.float64) * (width / len(candidates)), width)
    best_first = _best_first(candidates.rewards)
    counts = np.zeros(len(candidates), dtype=np.int64)
    for tree in range(len(trees)):
        counts[best_first[members[best_first] == tree][0]] = slots[tree]
    return Allocation(counts, shares_of(counts))


def rebase(candidates: Candidates, width: int, options: RebaseOptions) -> Allocation:
    """Gives shares softmax(R / T_b) of the width (REBASE, Wu et al., arXiv 2408.00724, section 3).

    It reads no directions: the cumulative roundings follow the order of the paths' keys.
    """
    weights = softmax(candidates.rewards, options.reward_temperature)
    counts = apportion(weights, width, options.rounding, np.arange(len(weights)), lambda: _generator(candidates))
    return Allocation(counts, weights)


def dora(candidates: Candidates, width: int, options: DoraOptions) -> Allocation:
    """Gives shares w·γ / Σw·γ of the width (DORA, Wang et al., arXiv 2506.15707, section 4).

    w = softmax(R / T_b), and γ is the uniqueness of each candidate. So a direction is paid for its quality and not for
    its size.
    """
    unique, weights = _unique_and_weights(candidates, options)
    order = contiguous_order(candidates.directions, len(candidates))
    counts = apportion(weights, width, options.rounding, order, lambda: _generator(candidates))
    return Allocation(counts, weights, unique, directions=_groups(candidates, options))


def dora_two_stage(candidates: Candidates, width: int, options: DoraOptions) -> Allocation:
    """Does what DORA's released code does instead of the paper: prunes with REBASE's counts, then applies DORA.

    The second stage computes the softmax and the uniqueness among the survivors alone. With rounding "paper", the first
    counts are rounded half to even as in that code; otherwise by largest remainder.
    """
    shares = softmax(candidates.rewards, options.reward_temperature) * width
    first = np.round(shares).astype(np.int64) if options.rounding == "paper" else largest_remainder(shares, width)
    survivors = np.flatnonzero(first) if first.any() else np.arange(len(candidates))
    second = dora(subset(candidates, survivors), width, options)
    counts, weights, unique = np.zeros_like(first), np.zeros(len(first)), np.zeros(len(first))
    counts[survivors], weights[survivors] = second.counts, second.weights
    unique[survivors] = second.uniqueness
    return Allocation(counts, weights, unique, first_counts=first, directions=_groups(candidates, options))


def _groups(candidates: Candidates, options: DoraOptions) -> IntArray | None:
    """Returns the direction (k,) that DORA's kernel puts each candidate in."""
    assert candidates.directions is not None
    return kernel_groups(candidates.directions, options.similarity_temperature)


def _unique_and_weights(candidates: Candidates, options: DoraOptions) -> tuple[FloatArray, FloatArray]:
    """Returns the uniqueness (k,) and the share of the width (k,) of each candidate."""
    assert candidates.directions is not None
    unique = uniqueness(candidates.directions, options.similarity_temperature)
    factors = unique if options.size_exponent == 0 else unique ** (1 - options.size_exponent)
    weights = softmax(candidates.rewards, options.reward_temperature) * factors
    return unique, weights / weights.sum()


def _best_first(rewards: FloatArray) -> IntArray:
    return np.argsort(-rewards, kind="stable")


def shares_of(counts: IntArray) -> FloatArray:
    """Returns counts (k,) as shares of their sum; zeros if the sum is 0."""
    return counts / max(1, int(counts.sum()))


def _generator(candidates: Candidates) -> np.random.Generator:
    return keyed_generator(candidates.seed, candidates.question, candidates.paths[0], "rounding")


def subset(candidates: Candidates, order: IntArray) -> Candidates:
    """Returns the candidates at the indices `order`, in that order, with all their evidence."""
    return Candidates(
        paths=tuple(map(candidates.paths.__getitem__, order.tolist())),
        rewards=candidates.rewards[order],
        directions=take(candidates.directions, order),
        lineage=None if candidates.lineage is None else candidates.lineage[order],
        depth=None if candidates.depth is None else candidates.depth[order],
        question=candidates.question,
        seed=candidates.seed,
        belief=None if candidates.belief is None else _subset_of_belief(candidates.belief, order),
    )


def _subset_of_belief(belief: Belief, order: IntArray) -> Belief:
    spent = None if belief.spent is None else belief.spent[order]
    return Belief(belief.mean[order], belief.concentration[order], belief.correlation, spent, belief.size_exponent)
