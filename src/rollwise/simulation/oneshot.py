"""A world with one allocation over candidates of known chances, which shows what a strategy's choice costs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.core import Allocator, Belief, FloatArray, IntArray
from rollwise.simulation.failure import allocation_failures, least_failure
from rollwise.simulation.informed import can_inform, informed_counts
from rollwise.simulation.instances import Instance, InstanceLaw, draw
from rollwise.simulation.play import Outcome

CALIBRATION = 300
"""How many instances a fitted belief is fitted to; they are never played."""


@dataclass(frozen=True)
class OneShot(InstanceLaw):
    """The world that draws its instances as `InstanceLaw` says and allocates once in each."""

    def ceiling(self, width: int) -> str:
        """Returns the name of the ceiling that regret is measured against."""
        return "the exact optimum that knows m, κ and ρ"

    def play(self, seed: int, indices: Sequence[int], width: int, allocators: Sequence[Allocator]) -> list[Outcome]:
        """Plays instances under every allocator, and returns exact failures and shares of right rollouts."""
        instances = [draw(self, seed, "instance", index, self.candidates or width) for index in indices]
        inputs = [
            instance.candidates(self.belief(seed, width, instance.scores), seed, index)
            for instance, index in zip(instances, indices, strict=True)
        ]
        counts = [[allocate(candidates, width).counts for candidates in inputs] for allocate in allocators]
        if can_inform(self):
            counts.append([informed_counts(self, instance, width) for instance in instances])
        rows = map(np.array, zip(*counts, strict=True))
        return [
            self._judge(instance, width, row, len(allocators)) for instance, row in zip(instances, rows, strict=True)
        ]

    def _judge(self, instance: Instance, width: int, counts: IntArray, allocators: int) -> Outcome:
        """Returns the outcome of the allocators' counts (a, k); an extra row holds the best allocation by scores."""
        truth = (self.concentration, self.correlation)
        failure = allocation_failures(counts, instance.labels, instance.means, *truth)
        return Outcome(
            failure=failure[:allocators],
            informed=float(failure[-1]) if len(failure) > allocators else None,
            least=least_failure(instance.means, np.bincount(instance.labels), width, *truth),
            right_share=counts[:allocators] @ instance.means[instance.labels] / max(1, width),
        )

    def belief(self, seed: int, width: int, scores: FloatArray) -> Belief:
        """Returns the belief that strategies get about paths of these scores (k,)."""
        if self.told == "fitted":
            return fitted(self, seed, self.candidates or width).of(scores)
        concentration = self.concentration if self.told_concentration is None else self.told_concentration
        correlation = max(0.001, self.correlation) if self.told_correlation is None else self.told_correlation
        return Belief(scores, np.full(len(scores), concentration), correlation)


@dataclass(frozen=True)
class Fitted:
    """A calibration: means (n,) at increasing scores (n,), joined by lines; one concentration, one correlation."""

    scores: FloatArray
    means: FloatArray
    concentration: float
    correlation: float

    def of(self, scores: FloatArray) -> Belief:
        """Returns the belief about paths of these scores (k,)."""
        means = np.interp(scores, self.scores, self.means)
        return Belief(means, np.full(len(scores), self.concentration), self.correlation)


@functools.lru_cache(maxsize=64)
def fitted(law: InstanceLaw, seed: int, count: int) -> Fitted:
    """Returns the belief that a calibration on very many completions would find for the scores of a law.

    m̂ is the isotonic regression of the true means on the scores of `CALIBRATION` other instances. With r = p - m̂, the
    moments are 1 / (κ̂ + 1) = E[r²] / E[m̂(1 - m̂)] over paths, and ρ̂ = E[r r'] / E[r²] over pairs of paths of one
    direction. The moments of p given the true mean are known, so p is not sampled.
    """
    instances = [draw(law, seed, "calibration", index, count) for index in range(CALIBRATION)]
    scores = np.concatenate([instance.scores for instance in instances])
    truth = np.concatenate([instance.means[instance.labels] for instance in instances])
    knots, means = _isotonic(scores, truth)
    doubt = truth * (1 - truth) / (law.concentration + 1)
    believed = np.interp(scores, knots, means)
    spread, square = float(np.mean(believed * (1 - believed))), float(np.mean((truth - believed) ** 2 + doubt))
    share = _pair_correlation(instances, truth - believed, doubt, law.correlation)
    return Fitted(knots, means, max(1e-3, spread / square - 1), min(1.0, max(1e-3, share)))


def _isotonic(scores: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the blocks of the isotonic regression of truth (n,) on scores (n,): their mean scores and their means."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    rising = isotonic_regression(truth[order])
    blocks = np.repeat(np.arange(len(rising.weights)), rising.weights.astype(np.int64))
    knots = np.bincount(blocks, scores[order]) / np.bincount(blocks)
    knots, first = np.unique(knots, return_index=True)
    block_means = rising.x[np.unique(blocks, return_index=True)[1]]
    return knots, np.clip(block_means[first], 1e-3, 1 - 1e-3)


def _pair_correlation(instances: Sequence[Instance], error: FloatArray, doubt: FloatArray, correlation: float) -> float:
    """Returns E[r r'] / E[r²] over the ordered pairs of different paths of one direction; 0 without such pairs.

    r = m - m̂ + (p - m): the first part is `error`; the second has variance `doubt`, a share `correlation` of it common.
    """
    sizes = np.concatenate([np.bincount(instance.labels)[instance.labels] for instance in instances])
    starts = np.cumsum([0, *(len(instance.means) for instance in instances)])[:-1]
    rows = np.concatenate([start + instance.labels for start, instance in zip(starts.tolist(), instances, strict=True)])
    others = np.bincount(rows, error)[rows] - error
    square = float(((sizes - 1) * (error**2 + doubt)).sum())
    product = float((error * others + correlation * (sizes - 1) * doubt).sum())
    return product / square if square > 0 else 0.0
