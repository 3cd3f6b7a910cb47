"""The gain of one way to search over another on the same questions, with an interval that few questions do not fool."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from rollwise.core import IntArray
from rollwise.errors import InputError
from rollwise.numerics import wilson_interval

CONFIDENCE = 0.95
CAUTION = 0.8
"""The one-sided confidence of the rate that plans are made with."""


@dataclass(frozen=True)
class Gain:
    """The mean gain in accuracy, as a share, with its 95 % interval.

    `chance` is the chance of a gain at least this large if every difference could as well have had the other sign.
    `won` and `lost` count the questions that the first way answers better or worse. `lost_rate` is an upper bound, at a
    confidence of 80 %, of the share of questions that it would lose without any gain: Wilson's, with the fewer of won
    and lost as the losses. A plan that is made with it is rather too careful than too bold. `design` is how many times
    larger the variance is than that of independent questions, at least 1.
    """

    mean: float
    low: float
    high: float
    chance: float
    questions: int
    groups: int
    won: int
    lost: int
    lost_rate: float
    design: float


def paired_gain(differences: IntArray, seeds: int = 1, groups: IntArray | None = None) -> Gain:
    """The gain of differences (n,): right answers of one way minus those of the other, over `seeds` searches each.

    The interval is the adjusted Wald interval for paired data (Bonett and Price, 2012): a won and a lost question are
    added, and the variance is (p₊ + p₋ - Δ²) / n. It is never without width, so that few questions without any
    difference prove nothing. Differences of several seeds enter by their mean. `groups` (n,) numbers the group of each
    question: questions of one group, such as those about one text, count as dependent, and the variance is that of the
    groups' sums. The quantile is Student's with one degree of freedom fewer than groups.

    Raises InputError for fewer than two questions, or if a difference exceeds `seeds`.
    """
    count = len(differences)
    if count < 2:
        raise InputError(f"a gain needs at least two questions, not {count}")
    if seeds < 1 or np.abs(differences).max() > seeds:
        raise InputError("a difference lies between minus and plus the number of seeds")
    labels = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(labels)
    sums = np.rint(np.bincount(labels, weights=differences)).astype(np.int64)
    shares = differences / seeds
    centre, variance = _adjusted(sums / seeds, sizes)
    half = float(student.ppf(0.5 + CONFIDENCE / 2, max(1, len(sums) - 1))) * math.sqrt(variance)
    _, independent = _adjusted(shares, np.ones(count))
    net = abs(float(shares.sum()))
    return Gain(
        mean=float(shares.mean()),
        low=max(-1.0, centre - half),
        high=min(1.0, centre + half),
        chance=sign_flip_chance(sums),
        questions=count,
        groups=len(sums),
        won=int((differences > 0).sum()),
        lost=int((differences < 0).sum()),
        lost_rate=wilson_interval(max(0.0, float((shares**2).sum()) - net) / 2, count, 2 * CAUTION - 1)[1],
        design=max(1.0, variance / independent),
    )


def _adjusted(sums: np.ndarray[tuple[int], np.dtype[np.float64]], sizes: np.ndarray) -> tuple[float, float]:
    """The mean over all questions and its variance, of groups with these sums and sizes, +1 and -1 added."""
    sums, sizes = np.append(sums, [1.0, -1.0]), np.append(sizes, [1.0, 1.0])
    total = float(sizes.sum())
    centre = float(sums.sum()) / total
    return centre, float(((sums - sizes * centre) ** 2).sum()) / total**2


def sign_flip_chance(sums: IntArray) -> float:
    """The chance that Σ ±|s| is at least Σ s, each sign being plus or minus with chance ½; exact.

    With sums (g,) of -1, 0 and 1 this is McNemar's exact test, one-sided.
    """
    weights = np.abs(sums[sums != 0])
    if not len(weights):
        return 1.0
    positive = int((int(weights.sum()) + int(sums.sum())) // 2)  # what the positive signs sum to
    if (weights == weights[0]).all():
        return float(binom.sf(positive // int(weights[0]) - 1, len(weights), 0.5))
    chances = np.zeros(int(weights.sum()) + 1)
    chances[0] = 1.0
    for weight in map(int, weights):
        shifted = np.zeros_like(chances)
        shifted[weight:] = chances[:-weight]
        chances = (chances + shifted) / 2
    return min(1.0, float(chances[positive:].sum()))
