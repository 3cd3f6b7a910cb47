"""One allocation over candidates whose chances are known: what a strategy's choice costs against the best there is."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.core import Allocator, Belief, Candidates, Directions, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.simulation.failure import allocation_failures, least_failure
from rollwise.simulation.informed import can_inform, informed_counts
from rollwise.simulation.play import Played, check_chance, check_noise, check_told, noisy, shifted, zipf

CALIBRATION = 300
"""So many instances, apart from those that are played, are what a fitted belief is fitted to."""


@dataclass(frozen=True)
class OneShot:
    """Candidates in directions, each with a true mean; all that an instance draws, and what strategies are told of it.

    `candidates` k, 0 for as many as the budget (a step of a search). Their directions are drawn from `directions` many
    by Zipf's law with exponent `imbalance`, or, with `crowd` above 0, that share of them is one direction and each
    other path its own. Direction j has mean m_j ~ Beta(s·worth, s·(1 - worth)) with s = `spread`; then its log-odds
    gain `popularity` · log(size / mean size). The chances are Beta with concentration κ = `concentration` and
    correlation ρ = `correlation` inside a direction (`rollwise.simulation.failure`).

    A score is clip(m + bias + noise · (√shared · z_direction + √(1 - shared) · z_path), 0, 1). With chance `merge` a
    direction is told under another's label, with chance `split` a path as a direction of its own. The belief is the
    score as mean with κ' = `told_concentration` and ρ' = `told_correlation` (None: the true ones; ρ' is at least
    0.001); `told` = "fitted" instead fits m (isotonic), κ' and ρ' (moments) to other instances.
    """

    candidates: int = 0
    directions: int = 16
    imbalance: float = 1.0
    crowd: float = 0.0
    worth: float = 0.03
    spread: float = 4.0
    popularity: float = 0.0
    concentration: float = 8.0
    correlation: float = 1.0
    noise: float = 0.1
    shared: float = 1.0
    bias: float = 0.0
    merge: float = 0.0
    split: float = 0.0
    told: str = "observed"
    told_concentration: float | None = None
    told_correlation: float | None = None

    def __post_init__(self) -> None:
        if self.candidates < 0 or self.directions < 1 or not 0 <= self.imbalance < math.inf:
            raise InputError(
                "candidates and imbalance are at least 0 (0 candidates: the budget), directions at least 1"
            )
        if not 0 < self.worth < 1 or not 0 < self.spread < math.inf or not 0 < self.concentration < math.inf:
            raise InputError("worth lies between 0 and 1; spread and concentration are finite and above 0")
        if not math.isfinite(self.popularity):
            raise InputError(f"popularity is a finite number, not {self.popularity}")
        for name in ("crowd", "correlation", "merge", "split"):
            check_chance(name, getattr(self, name))
        check_noise(self.noise, self.shared, self.bias)
        check_told(self.told_concentration, self.told_correlation)
        if self.told not in ("observed", "fitted"):
            raise InputError(f"told is 'observed' or 'fitted', not {self.told!r}")
        if self.told == "fitted" and (self.told_concentration, self.told_correlation) != (None, None):
            raise InputError("told=fitted finds concentration and correlation itself: leave the told ones out")
        if self.crowd > 0 and (self.directions, self.imbalance) != (OneShot.directions, OneShot.imbalance):
            raise InputError("a crowd says how large the directions are: leave out directions and imbalance")

    def ceiling(self, width: int) -> str:
        """What regret is measured against."""
        return "the exact optimum that knows m, κ and ρ"

    def play(self, seed: int, indices: Sequence[int], width: int, allocators: Sequence[Allocator]) -> list[Played]:
        """Instances under every allocator: exact failures, the least there is, the share of right rollouts."""
        instances = [draw(self, seed, "instance", index, self.candidates or width) for index in indices]
        seen = [
            one.candidates(self.belief(seed, width, one.scores), seed, index)
            for one, index in zip(instances, indices, strict=True)
        ]
        counts = [[allocate(candidates, width).counts for candidates in seen] for allocate in allocators]
        if can_inform(self):
            counts.append([informed_counts(self, one, width) for one in instances])
        rows = map(np.array, zip(*counts, strict=True))
        return [self._judge(one, width, row, len(allocators)) for one, row in zip(instances, rows, strict=True)]

    def _judge(self, instance: Instance, width: int, counts: IntArray, allocators: int) -> Played:
        """What the allocators' counts (a, k) come to; a row more is that of the best by scores."""
        truth = (self.concentration, self.correlation)
        failure = allocation_failures(counts, instance.labels, instance.means, *truth)
        return Played(
            failure=failure[:allocators],
            informed=float(failure[-1]) if len(failure) > allocators else None,
            least=least_failure(instance.means, np.bincount(instance.labels), width, *truth),
            right_share=counts[:allocators] @ instance.means[instance.labels] / max(1, width),
        )

    def belief(self, seed: int, width: int, scores: FloatArray) -> Belief:
        """What strategies are told of the chances behind scores (k,)."""
        if self.told == "fitted":
            return fitted(self, seed, self.candidates or width).of(scores)
        concentration = self.concentration if self.told_concentration is None else self.told_concentration
        correlation = max(0.001, self.correlation) if self.told_correlation is None else self.told_correlation
        return Belief(scores, np.full(len(scores), concentration), correlation)


@dataclass(frozen=True)
class Instance:
    """One draw: direction (k,) and score (k,) of each path, the label (k,) it is told under, each direction's mean."""

    labels: IntArray
    scores: FloatArray
    told_labels: IntArray
    means: FloatArray

    def candidates(self, belief: Belief, seed: int, index: int) -> Candidates:
        """The instance as strategies see it."""
        count = len(self.labels)
        return Candidates(
            paths=tuple((path,) for path in range(count)),
            rewards=self.scores,
            directions=Directions(labels=self.told_labels),
            lineage=np.arange(count),
            depth=np.ones(count, dtype=np.int64),
            question=str(index),
            seed=seed,
            belief=belief,
        )


def draw(world: OneShot, seed: int, purpose: str, index: int, count: int) -> Instance:
    """Instance `index` with `count` candidates.

    Worlds that differ in what the means, the noise or the told labels are like share the numbers behind them.
    """
    generator = keyed_generator(seed, purpose, index)
    places, merging, splitting = generator.random((3, count))
    common, own = generator.standard_normal((2, count))
    if world.crowd > 0:
        ranks = np.argsort(np.argsort(places))
        drawn = np.maximum(ranks - round(world.crowd * count) + 1, 0)
    else:
        drawn = np.searchsorted(np.cumsum(zipf(world.directions, world.imbalance))[:-1], places, side="right")
    sizes = np.bincount(drawn)
    labels = ((sizes > 0).cumsum() - 1)[drawn]
    sizes = sizes[sizes > 0]
    means = generator.beta(world.spread * world.worth, world.spread * (1 - world.worth), len(sizes))
    if world.popularity:
        means = shifted(means, world.popularity * np.log(sizes / sizes.mean()))
    scores = noisy(means[labels], common[labels], own, world.noise, world.shared, world.bias)
    return Instance(labels, scores, _told_labels(world, labels, merging, splitting), means)


def _told_labels(world: OneShot, labels: IntArray, merging: FloatArray, splitting: FloatArray) -> IntArray:
    if world.merge == world.split == 0:
        return labels
    directions = int(labels.max()) + 1
    names = np.arange(directions)
    merged = merging[:directions] < world.merge
    if merged.any() and directions > 1:
        step = 1 + np.floor(merging[:directions] / world.merge * (directions - 1)).astype(np.int64)
        names = np.where(merged, (names + step) % directions, names)
    return np.where(splitting < world.split, directions + np.arange(len(labels)), names[labels])


@dataclass(frozen=True)
class Fitted:
    """A calibration: means (n,) at increasing scores (n,), joined by lines; one concentration, one correlation."""

    scores: FloatArray
    means: FloatArray
    concentration: float
    correlation: float

    def of(self, scores: FloatArray) -> Belief:
        """The belief about paths of these scores (k,)."""
        means = np.interp(scores, self.scores, self.means)
        return Belief(means, np.full(len(scores), self.concentration), self.correlation)


@functools.lru_cache(maxsize=64)
def fitted(world: OneShot, seed: int, count: int) -> Fitted:
    """The belief that a calibration on very many completions would find for a world's scores.

    m is the isotonic regression of the true means on the scores of `CALIBRATION` other instances. With r = p - m̂, the
    moments are 1 / (κ̂ + 1) = E[r²] / E[m̂(1 - m̂)] over paths and ρ̂ = E[r r'] / E[r²] over pairs of paths of one
    direction; of p given the true mean the moments are known, so none of them is sampled.
    """
    from scipy.optimize import isotonic_regression

    instances = [draw(world, seed, "calibration", index, count) for index in range(CALIBRATION)]
    scores = np.concatenate([one.scores for one in instances])
    truth = np.concatenate([one.means[one.labels] for one in instances])
    order = np.argsort(scores, kind="stable")
    rising = isotonic_regression(truth[order])
    blocks = np.repeat(np.arange(len(rising.weights)), rising.weights.astype(np.int64))
    at = np.bincount(blocks, scores[order]) / np.bincount(blocks)
    at, first = np.unique(at, return_index=True)
    means = np.clip(rising.x[np.unique(blocks, return_index=True)[1]][first], 1e-3, 1 - 1e-3)
    doubt = truth * (1 - truth) / (world.concentration + 1)
    found = np.interp(scores, at, means)
    spread, square = float(np.mean(found * (1 - found))), float(np.mean((truth - found) ** 2 + doubt))
    share = _pair_correlation(instances, truth - found, doubt, world.correlation)
    return Fitted(at, means, max(1e-3, spread / square - 1), min(1.0, max(1e-3, share)))


def _pair_correlation(instances: Sequence[Instance], error: FloatArray, doubt: FloatArray, correlation: float) -> float:
    """E[r r'] / E[r²] over the ordered pairs of different paths of one direction; 0 where there are none.

    r = m - m̂ + (p - m): the first part is `error`, the second has variance `doubt`, of which `correlation` is common.
    """
    sizes = np.concatenate([np.bincount(one.labels)[one.labels] for one in instances])
    starts = np.cumsum([0, *(len(one.means) for one in instances)])[:-1]
    rows = np.concatenate([start + one.labels for start, one in zip(starts.tolist(), instances, strict=True)])
    others = np.bincount(rows, error)[rows] - error
    square = float(((sizes - 1) * (error**2 + doubt)).sum())
    product = float((error * others + correlation * (sizes - 1) * doubt).sum())
    return product / square if square > 0 else 0.0
