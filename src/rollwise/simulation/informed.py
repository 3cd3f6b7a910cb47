"""The best allocation given what strategies see, scores and directions, and the law that drew them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.numerics import products, shift_log_odds
from rollwise.simulation.failure import even_log_failures, least_counts
from rollwise.simulation.instances import Instance, InstanceLaw

FINEST = 0.01
"""The smallest noise above 0 that the grid of means resolves."""
_CELLS = 300


def can_inform(law: InstanceLaw) -> bool:
    """Whether `informed_counts` works for this law.

    The noise has to be all common or all own, and at least 0.01; noise 0 works if there is no bias either.
    """
    return (law.noise == 0 and law.bias == 0) or (law.noise >= FINEST and law.shared in (0, 1))


def informed_counts(law: InstanceLaw, instance: Instance, width: int) -> IntArray:
    """Returns the allocation (k,) that is best given scores and directions, for a law that `can_inform`.

    Given those, directions are independent, so the expected failure is Π_j E[F_j(S_j; m_j) | scores of j]. Each factor
    is log-convex in S_j for every posterior of m_j (Cauchy-Schwarz), so greedy is exact. No strategy fails less on
    average over instances, though a strategy may fail less on some. The posterior is that of the law's prior on a grid
    of means, with the chances of clipped scores.
    """
    sizes = np.bincount(instance.labels)
    if law.noise == 0:
        table = even_log_failures(instance.means, sizes, law.concentration, law.correlation, width)
    else:
        table = expected_log_failures(law, instance.scores, instance.labels, width)
    return spread_evenly(least_counts(table, width), instance.labels)


def spread_evenly(totals: IntArray, labels: IntArray) -> IntArray:
    """Returns counts (k,) that divide each direction's total (J,) among its paths, equal to within one."""
    sizes = np.bincount(labels)
    order = labels.argsort(kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - (sizes.cumsum() - sizes)[labels[order]]
    return (totals // sizes)[labels] + (place < (totals % sizes)[labels])


def expected_log_failures(law: InstanceLaw, scores: FloatArray, labels: IntArray, width: int) -> FloatArray:
    """Returns log E[F_j(S; m_j) | scores of j] for S = 0 .. width: scores (k,) and labels (k,) → (J, width + 1).

    Directions of one size share a grid; if the size does not matter, all directions do.
    """
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    one_grid = law.correlation == 1 and not law.popularity
    mean_size = len(labels) / len(sizes) if law.popularity else 1.0
    table = np.empty((len(sizes), width + 1))
    for size in [0] if one_grid else np.unique(sizes).tolist():
        which = np.arange(len(sizes)) if one_grid else np.flatnonzero(sizes == size)
        grid = _grid(law, max(1, size), mean_size, width)
        if law.shared == 1:
            distinct, back = np.unique(scores[order[starts[which]]], return_inverse=True)
            weights = _log_likelihood(law, distinct, grid)
        else:
            back, members = np.arange(len(which)), np.isin(labels, which)
            each = _log_likelihood(law, scores[order[members[order]]], grid)
            weights = np.add.reduceat(each, np.cumsum(sizes[which]) - sizes[which], axis=0)
        weights += grid.prior
        posterior = np.exp(weights - weights.max(axis=1, keepdims=True))
        table[which] = np.log(products(posterior, grid.failures) / posterior.sum(axis=1, keepdims=True))[back]
    return table


def _log_likelihood(law: InstanceLaw, scores: FloatArray, grid: _Grid) -> FloatArray:
    """Returns the log likelihood (n, cells) of each score (n,), normal around a true mean and clipped to [0, 1]."""
    each = -0.5 * ((scores[:, None] - grid.means - law.bias) / law.noise) ** 2
    each[scores <= 0] = grid.clipped_to_0
    each[scores >= 1] = grid.clipped_to_1
    return each


@dataclass(frozen=True)
class _Grid:
    """A grid of means (cells,), with the log prior of each cell and the log chances that a score there is clipped.

    `failures` (cells, width + 1) are F(S) for S = 0 .. width.
    """

    means: FloatArray
    prior: FloatArray
    clipped_to_0: FloatArray
    clipped_to_1: FloatArray
    failures: FloatArray


@functools.lru_cache(maxsize=512)
def _grid(law: InstanceLaw, size: int, mean_size: float, width: int) -> _Grid:
    """Returns the grid for a direction of this size.

    Cells lie between quantiles of the prior and at steps of 1/300, so that the grid resolves both prior and noise.
    """
    from scipy.special import betainc, betaincinv, log_ndtr

    shape = law.spread * law.worth, law.spread * (1 - law.worth)
    steps = np.linspace(0, 1, _CELLS + 1)
    edges = np.unique(np.concatenate([steps, betaincinv(*shape, steps)]))
    mass = np.diff(betainc(*shape, edges))
    cells = mass > 0
    means = ((edges[1:] + edges[:-1]) / 2)[cells]
    if law.popularity:
        means = shift_log_odds(means, np.full(1, law.popularity * math.log(size / mean_size)))
    sizes = np.full(len(means), size)
    failures = even_log_failures(means, sizes, law.concentration, law.correlation, width)
    below = -(means + law.bias) / law.noise
    return _Grid(means, np.log(mass[cells]), log_ndtr(below), log_ndtr(-below - 1 / law.noise), np.exp(failures))
