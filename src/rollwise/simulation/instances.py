"""The law of one-shot instances: candidates in directions, their chances, and the scores that strategies see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rollwise.core import Belief, Candidates, Directions, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator, shift_log_odds
from rollwise.simulation.play import check_chance, check_noise, check_told, noisy, zipf


@dataclass(frozen=True)
class InstanceLaw:
    """How an instance is drawn: candidates in directions, each direction with a true mean, and what strategies see.

    There are `candidates` k of them, or as many as the budget if that is 0, as in a step of a search. Each candidate's
    direction is one of `directions` many, drawn by Zipf's law with exponent `imbalance`. With `crowd` above 0 instead,
    that share of the candidates is one direction, and every other candidate is a direction of its own. Direction j has
    mean m_j ~ Beta(s·worth, s·(1 - worth)) with s = `spread`; then its log-odds gain `popularity` · log(size / mean
    size). The chances are Beta with concentration κ = `concentration` and correlation ρ = `correlation` inside a
    direction (see `rollwise.simulation.failure`).

    A score is clip(m + bias + noise · (√shared · z_direction + √(1 - shared) · z_path), 0, 1). With chance `merge`
    strategies see a direction under another's label, with chance `split` they see a path as a direction of its own. The
    belief that they get has the score as its mean, with κ' = `told_concentration` and ρ' = `told_correlation` (if None,
    the true ones; ρ' is at least 0.001). With `told` = "fitted" it has m (isotonic), κ' and ρ' (moments) fitted to
    other instances.
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
            raise InputError(
                "told=fitted fits concentration and correlation: leave told_concentration and told_correlation out"
            )
        if self.crowd > 0 and (self.directions, self.imbalance) != (InstanceLaw.directions, InstanceLaw.imbalance):
            raise InputError("a crowd sets how large the directions are: leave out directions and imbalance")


@dataclass(frozen=True)
class Instance:
    """A drawn instance of k candidates in J directions.

    Each candidate has its direction in `labels` (k,), its score in `scores` (k,), and in `seen_labels` (k,) the
    direction that strategies see. `means` (J,) are the directions' true means.
    """

    labels: IntArray
    scores: FloatArray
    seen_labels: IntArray
    means: FloatArray

    def candidates(self, belief: Belief, seed: int, index: int) -> Candidates:
        """Returns the instance as strategies see it."""
        count = len(self.labels)
        return Candidates(
            paths=tuple((path,) for path in range(count)),
            rewards=self.scores,
            directions=Directions(labels=self.seen_labels),
            lineage=np.arange(count),
            depth=np.ones(count, dtype=np.int64),
            question=str(index),
            seed=seed,
            belief=belief,
        )


def draw(law: InstanceLaw, seed: int, purpose: str, index: int, count: int) -> Instance:
    """Draws instance `index` with `count` candidates.

    Laws that differ in their means, their noise or the labels that strategies see share the random numbers behind them.
    """
    generator = keyed_generator(seed, purpose, index)
    places, merging, splitting = generator.random((3, count))
    common, own = generator.standard_normal((2, count))
    labels, sizes = _directions(law, places)
    means = generator.beta(law.spread * law.worth, law.spread * (1 - law.worth), len(sizes))
    if law.popularity:
        means = shift_log_odds(means, law.popularity * np.log(sizes / sizes.mean()))
    scores = noisy(means[labels], common[labels], own, law.noise, law.shared, law.bias)
    return Instance(labels, scores, _seen_labels(law, labels, merging, splitting), means)


def _directions(law: InstanceLaw, places: FloatArray) -> tuple[IntArray, IntArray]:
    """Returns the direction (k,) of each candidate from its uniform number (k,), and the directions' sizes (J,)."""
    if law.crowd > 0:
        ranks = np.argsort(np.argsort(places))
        drawn = np.maximum(ranks - round(law.crowd * len(places)) + 1, 0)
    else:
        drawn = np.searchsorted(np.cumsum(zipf(law.directions, law.imbalance))[:-1], places, side="right")
    sizes = np.bincount(drawn)
    return ((sizes > 0).cumsum() - 1)[drawn], sizes[sizes > 0]


def _seen_labels(law: InstanceLaw, labels: IntArray, merging: FloatArray, splitting: FloatArray) -> IntArray:
    """Returns the labels (k,) that strategies see, given each candidate's uniform numbers (k,)."""
    if law.merge == law.split == 0:
        return labels
    directions = int(labels.max()) + 1
    names = np.arange(directions)
    merged = merging[:directions] < law.merge
    if merged.any() and directions > 1:
        step = 1 + np.floor(merging[:directions] / law.merge * (directions - 1)).astype(np.int64)
        names = np.where(merged, (names + step) % directions, names)
    return np.where(splitting < law.split, directions + np.arange(len(labels)), names[labels])
