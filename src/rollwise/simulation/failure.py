"""The exact chance that every rollout of an allocation fails if the truth is a Beta belief, and the least chance.

The model (docs/theory.md, "The optimum"): the paths of direction j have one mean m_j; a path's chance p_i has marginal
concentration κ, and the share ρ of its doubt is common to the direction. With κ_j and τ as in
`rollwise.allocation.sharing`, the direction's chance is p_j ~ Beta(κ_j m_j, κ_j (1 - m_j)) and p_i | p_j ~
Beta(τ p_j, τ (1 - p_j)); ρ = 1 is one shared chance, ρ = 0 independent chances. Nothing is sampled, and there is no
quadrature: given q = 1 - p_j, the failure of counts B is the polynomial Π_i Π_{s < B_i} (τ q + s) / (τ + s), whose
coefficients are all positive, and the moments of q are products. So sums lose no digits, whatever the counts.

`rollwise.allocation` uses the same polynomial for one direction at a time and in logs, so that it can go on to a
million rollouts. Here it is computed in plain numbers for all directions of many allocations together, which is fast
for the budgets of a search.
"""

from __future__ import annotations

import numpy as np

from rollwise.allocation import log_failures, sharing
from rollwise.core import FloatArray, IntArray


def even_log_failures(
    mean: FloatArray, sizes: IntArray, concentration: float, correlation: float, most: int
) -> FloatArray:
    """Returns the log failure of S = 0 .. most rollouts of each direction, spread evenly over its paths.

    `mean` (J,) and `sizes` (J,) of the directions → (J, most + 1).
    """
    if correlation == 1:
        return log_failures(mean, concentration, most)
    if correlation == 0:
        return _even_and_independent(log_failures(mean, concentration, most), sizes, most)
    used = np.arange(most) // sizes[:, None]
    with np.errstate(divide="ignore"):
        return np.log(_partly_shared(mean, used, np.full(len(mean), most), concentration, correlation, True))


def _even_and_independent(single: FloatArray, sizes: IntArray, most: int) -> FloatArray:
    """Returns `even_log_failures` of independent paths, from the table `single` (J, most + 1) of one path."""
    totals = np.arange(most + 1)
    each, rest = totals // sizes[:, None], totals % sizes[:, None]
    row = np.arange(len(sizes))[:, None]
    with np.errstate(invalid="ignore"):
        ahead = np.where(rest > 0, rest * single[row, np.minimum(each + 1, most)], 0.0)
        return np.where(each > 0, (sizes[:, None] - rest) * single[row, each], 0.0) + ahead


def allocation_failures(
    counts: IntArray, labels: IntArray, mean: FloatArray, concentration: float, correlation: float
) -> FloatArray:
    """Returns the chance that all rollouts fail, for each of a allocations: (a,).

    `counts` (a, k) are the rollouts of each path, `labels` (k,) in 0 .. J - 1 its direction, and `mean` (J,) the means
    of the directions.
    """
    directions, most = len(mean), int(counts.sum(axis=1).max(initial=0))
    if correlation == 0:
        table = log_failures(mean, concentration, int(counts.max(initial=0)))
        return np.exp(table[labels, counts].sum(axis=1))
    rows = (np.arange(len(counts))[:, None] * directions + labels).ravel()
    totals = np.bincount(rows, counts.ravel(), len(counts) * directions).astype(np.int64).reshape(-1, directions)
    if correlation == 1:
        table = log_failures(mean, concentration, most)
        return np.exp(table[np.arange(directions), totals].sum(axis=1))
    flat = totals.ravel()
    used = _used_before(counts, labels, flat, directions)
    failures = _partly_shared(np.tile(mean, len(counts)), used, flat, concentration, correlation, False)
    return failures.reshape(totals.shape).prod(axis=1)


def least_failure(mean: FloatArray, sizes: IntArray, width: int, concentration: float, correlation: float) -> float:
    """Returns the least chance that all of `width` rollouts fail, over every allocation of them.

    The log failure of a direction is convex in its rollouts, so the best allocation takes the `width` largest single
    gains over all directions (docs/theory.md). Inside a direction an even split is best, because its paths are
    exchangeable.
    """
    table = even_log_failures(mean, sizes, concentration, correlation, width)
    return float(np.exp(table[np.arange(len(mean)), least_counts(table, width)].sum()))


def least_counts(table: FloatArray, width: int) -> IntArray:
    """Returns the totals (J,) that sum to `width` and minimise Σ_j table[j, S_j].

    The rows of `table` (J, width + 1) are convex in S.
    """
    with np.errstate(invalid="ignore"):
        losses = (table[:, 1:] - table[:, :-1]).T.ravel()
    losses[np.isnan(losses)] = 0.0  # -inf - -inf: the failure is already 0, so another rollout gains nothing
    best = losses.argsort(kind="stable")[:width]
    return np.bincount(best % len(table), minlength=len(table))


def _used_before(counts: IntArray, labels: IntArray, totals: IntArray, directions: int) -> IntArray:
    """Returns how many rollouts its path had before each rollout, by direction of each allocation: (a·J, most)."""
    rows = np.arange(len(counts))[:, None] * directions + labels
    flat = counts.ravel()
    row = np.repeat(rows.ravel(), flat)
    before = np.arange(len(row)) - np.repeat(np.cumsum(flat) - flat, flat)
    order = np.argsort(row, kind="stable")
    position = np.arange(len(row)) - np.repeat(np.cumsum(totals) - totals, totals)
    used = np.zeros((len(totals), int(totals.max(initial=0))), dtype=np.int64)
    used[row[order], position] = before[order]
    return used


def _partly_shared(
    mean: FloatArray, used: IntArray, totals: IntArray, concentration: float, correlation: float, every: bool
) -> FloatArray:
    """Returns E[Π (τ q + s) / (τ + s)] over the first `totals` (r,) entries s of each row of `used` (r, most): (r,).

    With `every`, it returns the value after each number of entries, (r, most + 1); all totals must then be equal.
    """
    joint, tau = sharing(concentration, correlation)
    most = used.shape[1]
    order = np.argsort(-totals, kind="stable")  # the longest first, so that the rows still growing are a slice
    used, ordered = used[order], totals[order]
    moments = np.exp(log_failures(mean[order], joint, most))
    coefficients = np.zeros((len(mean), most + 1))
    coefficients[:, 0] = 1.0
    expected = np.ones((len(mean), most + 1 if every else 1))
    for step in range(most):
        live = int(np.searchsorted(-ordered, -step))
        before = used[:live, step, None]
        old = coefficients[:live, : step + 1] / (tau + before)
        coefficients[:live, : step + 1] = old * before
        coefficients[:live, 1 : step + 2] += old * tau
        if every:
            expected[:, step + 1] = np.einsum("rn,rn->r", coefficients[:, : step + 2], moments[:, : step + 2])
    if not every:
        expected[:, 0] = np.einsum("rn,rn->r", coefficients, moments)
    back = np.empty_like(expected)
    back[order] = expected
    return back if every else back[:, 0]
