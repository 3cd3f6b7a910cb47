"""The best that anyone can do who sees the scores and the directions, and knows by what law they were drawn."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.numerics import products
from rollwise.simulation.failure import even_log_failures, least_counts
from rollwise.simulation.play import shifted

if TYPE_CHECKING:
    from rollwise.simulation.oneshot import Instance, OneShot

FINEST = 0.01
"""The smallest noise above 0 that the grid of means resolves."""
_CELLS = 300


def can_inform(world: OneShot) -> bool:
    """Whether `informed_counts` can be told: noise is all common or all own, and 0 without bias or at least 0.01."""
    return (world.noise == 0 and world.bias == 0) or (world.noise >= FINEST and world.shared in (0, 1))


def informed_counts(world: OneShot, instance: Instance, width: int) -> IntArray:
    """The allocation (k,) that is best given scores and directions.

    Given those, directions are independent, so the expected failure is Π_j E[F_j(S_j; m_j) | scores of j], and each
    factor is log-convex in S_j whatever the posterior of m_j (Cauchy and Schwarz): greedy is exact. No strategy fails
    less on average over instances, though one may on some. The posterior is that of the world's prior on a grid of
    means, with the chances of scores that were clipped. Only where `can_inform` says so.
    """
    sizes = np.bincount(instance.labels)
    if world.noise == 0:
        table = even_log_failures(instance.means, sizes, world.concentration, world.correlation, width)
    else:
        table = expected_log_failures(world, instance.scores, instance.labels, width)
    return spread_evenly(least_counts(table, width), instance.labels)


def spread_evenly(totals: IntArray, labels: IntArray) -> IntArray:
    """Each direction's total (J,) over its paths (k,), to within one."""
    sizes = np.bincount(labels)
    order = labels.argsort(kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - (sizes.cumsum() - sizes)[labels[order]]
    return (totals // sizes)[labels] + (place < (totals % sizes)[labels])


def expected_log_failures(world: OneShot, scores: FloatArray, labels: IntArray, width: int) -> FloatArray:
    """The log of E[F_j(S; m_j) | scores of j] for S = 0 .. width: (J, width + 1), of scores (k,) and labels (k,)."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    same = world.correlation == 1 and not world.popularity
    mean_size = len(labels) / len(sizes) if world.popularity else 1.0
    found = np.empty((len(sizes), width + 1))
    for kind in [0] if same else np.unique(sizes).tolist():
        which = np.arange(len(sizes)) if same else np.flatnonzero(sizes == kind)
        grid = _grid(world, max(1, kind), mean_size, width)
        if world.shared == 1:
            seen, back = np.unique(scores[order[starts[which]]], return_inverse=True)
            weights = _log_likelihood(world, seen, grid)
        else:
            back, members = np.arange(len(which)), np.isin(labels, which)
            each = _log_likelihood(world, scores[order[members[order]]], grid)
            weights = np.add.reduceat(each, np.cumsum(sizes[which]) - sizes[which], axis=0)
        weights += grid.prior
        posterior = np.exp(weights - weights.max(axis=1, keepdims=True))
        found[which] = np.log(products(posterior, grid.failures) / posterior.sum(axis=1, keepdims=True))[back]
    return found


def _log_likelihood(world: OneShot, scores: FloatArray, grid: _Grid) -> FloatArray:
    """Of scores (n,), normal around a true mean and clipped to [0, 1], one by one: (n, cells)."""
    each = -0.5 * ((scores[:, None] - grid.means - world.bias) / world.noise) ** 2
    each[scores <= 0] = grid.nothing
    each[scores >= 1] = grid.all
    return each


@dataclass(frozen=True)
class _Grid:
    """Means (cells,), the log prior of their cells, the log chances of scores clipped to 0 and to 1 there, and F(S)
    (cells, width + 1).
    """

    means: FloatArray
    prior: FloatArray
    nothing: FloatArray
    all: FloatArray
    failures: FloatArray


@functools.lru_cache(maxsize=512)
def _grid(world: OneShot, size: int, mean_size: float, width: int) -> _Grid:
    """The grid for a direction of that size.

    Cells lie between quantiles of the prior and at steps of 1/300, so that both it and the noise are resolved.
    """
    from scipy.special import betainc, betaincinv, log_ndtr

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
    below = -(means + world.bias) / world.noise
    return _Grid(means, np.log(mass[cells]), log_ndtr(below), log_ndtr(-below - 1 / world.noise), np.exp(failures))
