"""The best that anyone can do who sees the scores and the directions, and knows by what law they were drawn."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.simulation.failure import allocation_failures, even_log_failures, least_counts
from rollwise.simulation.play import shifted

if TYPE_CHECKING:
    from rollwise.simulation.oneshot import Instance, OneShot

FINEST = 0.01
"""The smallest noise above 0 that the grid of means resolves."""
_CELLS = 300


def can_inform(world: OneShot) -> bool:
    """Whether `informed_failure` can be told: noise is all common or all own, and 0 without bias or at least 0.01."""
    return (world.noise == 0 and world.bias == 0) or (world.noise >= FINEST and world.shared in (0, 1))


def informed_failure(world: OneShot, instance: Instance, width: int) -> float:
    """The chance of failure, given the true means, of the allocation that is best given scores and directions.

    Given those, directions are independent, so the expected failure is Π_j E[F_j(S_j; m_j) | scores of j], and each
    factor is log-convex in S_j whatever the posterior of m_j (Cauchy and Schwarz): greedy is exact. No strategy fails
    less on average over instances, though one may on some. The posterior is that of the world's prior on a grid of
    means, with the chances of scores that were clipped. Only where `can_inform` says so.
    """
    sizes = np.bincount(instance.labels)
    truth = (world.concentration, world.correlation)
    if world.noise == 0:
        table = even_log_failures(instance.means, sizes, *truth, width)
    else:
        mean_size = len(instance.labels) / len(sizes)
        members = [instance.scores[instance.labels == label] for label in range(len(sizes))]
        table = np.stack([expected_log_failures(world, scores, mean_size, width) for scores in members])
    counts = spread_evenly(least_counts(table, width), instance.labels)
    return float(allocation_failures(counts[None], instance.labels, instance.means, *truth)[0])


def spread_evenly(totals: IntArray, labels: IntArray) -> IntArray:
    """Each direction's total (J,) over its paths (k,), to within one."""
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (totals // sizes)[labels] + (place < (totals % sizes)[labels])


def expected_log_failures(world: OneShot, scores: FloatArray, mean_size: float, width: int) -> FloatArray:
    """The log of E[F(S; m) | scores] of one direction for S = 0 .. width."""
    size = 1 if world.correlation == 1 and not world.popularity else len(scores)
    means, prior, failures = _grid(world, size, mean_size if world.popularity else 1.0, width)
    seen = scores[:1] if world.shared == 1 else scores
    weights = prior + _log_likelihood(seen, means + world.bias, world.noise)
    posterior = np.exp(weights - weights.max())
    return np.log(posterior / posterior.sum() @ failures)


def _log_likelihood(scores: FloatArray, truth: FloatArray, noise: float) -> FloatArray:
    """Of independent scores (n,), normal around each truth (cells,) and clipped to [0, 1]: (cells,)."""
    from scipy.special import log_ndtr

    inside = scores[(scores > 0) & (scores < 1)]
    found = -0.5 * (((inside[:, None] - truth) / noise) ** 2).sum(axis=0)
    low, high = int((scores <= 0).sum()), int((scores >= 1).sum())
    if low:
        found += low * log_ndtr(-truth / noise)
    if high:
        found += high * log_ndtr((truth - 1) / noise)
    return found


@functools.lru_cache(maxsize=512)
def _grid(world: OneShot, size: int, mean_size: float, width: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means (cells,), the log prior of their cells, and F(S) at each (cells, width + 1), for a direction of that size.

    Cells lie between quantiles of the prior and at steps of 1/300, so that both it and the noise are resolved.
    """
    from scipy.special import betainc, betaincinv

    shape = world.spread * world.worth, world.spread * (1 - world.worth)
    steps = np.linspace(0, 1, _CELLS + 1)
    edges = np.unique(np.concatenate([steps, betaincinv(*shape, steps)]))
    mass = np.diff(betainc(*shape, edges))
    cells = mass > 0
    means = ((edges[1:] + edges[:-1]) / 2)[cells]
    if world.popularity:
        means = shifted(means, np.full(1, world.popularity * math.log(size / mean_size)))
    sizes = np.full(len(means), size)
    failures = even_log_failures(means, sizes, world.concentration, world.correlation, width)
    return means, np.log(mass[cells]), np.exp(failures)
