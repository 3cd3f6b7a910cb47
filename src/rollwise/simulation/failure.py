"""The exact chance that every rollout of an allocation fails, where the truth is a Beta belief, and the least there is.

The model (docs/theory.md, "The optimum"): the paths of direction j have one mean m_j; a path's chance p_i has marginal
concentration κ, and the share ρ of its doubt is common to the direction. With κ_j + 1 = (κ + 1) / ρ and
τ = κ / (1 - ρ), the direction's chance is p_j ~ Beta(κ_j m_j, κ_j (1 - m_j)) and p_i | p_j ~ Beta(τ p_j,
τ (1 - p_j)); ρ = 1 is one shared chance, ρ = 0 independent ones. Nothing is sampled and nothing is integrated by nodes:
given q = 1 - p_j the failure of counts B is the polynomial Π_i Π_{s < B_i} (τ q + s) / (τ + s), whose coefficients are
all positive, and the moments of q are products. So sums lose no digits, whatever the counts.
"""

from __future__ import annotations

import numpy as np

from rollwise.core import FloatArray, IntArray


def log_failures(mean: FloatArray, concentration: float, most: int) -> FloatArray:
    """The log of E[(1 - p)^B] for B = 0 .. most: (J, most + 1), p ~ Beta(κm, κ(1 - m)).

    It is Σ log((κ(1 - m) + t) / (κ + t)) over t < B. `mean` (J,) lies in [0, 1]; at m = 1 every B above 0 gives -inf.
    """
    steps = np.arange(most)
    with np.errstate(divide="ignore"):
        terms = np.log(concentration * (1.0 - mean)[:, None] + steps) - np.log(concentration + steps)
    table = np.zeros((len(mean), most + 1))
    terms.cumsum(axis=1, out=table[:, 1:])
    return table


def even_log_failures(
    mean: FloatArray, sizes: IntArray, concentration: float, correlation: float, most: int
) -> FloatArray:
    """The log failure of each direction that has S rollouts in all, S = 0 .. most, spread evenly over its paths.

    `mean` (J,) and `sizes` (J,) of the directions → (J, most + 1).
    """
    if correlation == 1:
        return log_failures(mean, concentration, most)
    if correlation == 0:
        table, totals = log_failures(mean, concentration, most), np.arange(most + 1)
        full, rest = totals // sizes[:, None], totals % sizes[:, None]
        row = np.arange(len(mean))[:, None]
        with np.errstate(invalid="ignore"):
            ahead = np.where(rest > 0, rest * table[row, np.minimum(full + 1, most)], 0.0)
            return np.where(full > 0, (sizes[:, None] - rest) * table[row, full], 0.0) + ahead
    used = np.arange(most) // sizes[:, None]
    with np.errstate(divide="ignore"):
        return np.log(_shared_failures(mean, used, np.full(len(mean), most), concentration, correlation, True))


def allocation_failures(
    counts: IntArray, labels: IntArray, mean: FloatArray, concentration: float, correlation: float
) -> FloatArray:
    """The chance that all rollouts fail, for each of a allocations: (a,).

    `counts` (a, k) are rollouts of each path, `labels` (k,) in 0 .. J - 1 its direction, `mean` (J,) the direction's
    mean.
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
    failures = _shared_failures(np.tile(mean, len(counts)), used, flat, concentration, correlation, False)
    return failures.reshape(totals.shape).prod(axis=1)


def least_failure(mean: FloatArray, sizes: IntArray, width: int, concentration: float, correlation: float) -> float:
    """The least chance that all of `width` rollouts fail, over every allocation of them.

    The log failure of a direction is convex in its rollouts, so the best are the `width` largest single gains, whatever
    direction they are in (docs/theory.md); an even split inside is best because its paths are exchangeable.
    """
    table = even_log_failures(mean, sizes, concentration, correlation, width)
    return float(np.exp(table[np.arange(len(mean)), least_counts(table, width)].sum()))


def least_counts(table: FloatArray, width: int) -> IntArray:
    """The totals (J,) that sum to `width` and make Σ_j table[j, S_j] least, for rows (J, width + 1) convex in S."""
    with np.errstate(invalid="ignore"):
        losses = (table[:, 1:] - table[:, :-1]).T.ravel()
    losses[np.isnan(losses)] = 0.0  # nothing can be gained any more
    best = losses.argsort(kind="stable")[:width]
    return np.bincount(best % len(table), minlength=len(table))


def _used_before(counts: IntArray, labels: IntArray, totals: IntArray, directions: int) -> IntArray:
    """How many rollouts its path had before, for each rollout of each direction of each allocation: (a·J, most)."""
    rows = np.arange(len(counts))[:, None] * directions + labels
    flat = counts.ravel()
    row = np.repeat(rows.ravel(), flat)
    before = np.arange(len(row)) - np.repeat(np.cumsum(flat) - flat, flat)
    order = np.argsort(row, kind="stable")
    position = np.arange(len(row)) - np.repeat(np.cumsum(totals) - totals, totals)
    used = np.zeros((len(totals), int(totals.max(initial=0))), dtype=np.int64)
    used[row[order], position] = before[order]
    return used


def _shared_failures(
    mean: FloatArray, used: IntArray, totals: IntArray, concentration: float, correlation: float, every: bool
) -> FloatArray:
    """E[Π (τ q + s) / (τ + s)] over the first `totals` (r,) entries s of each row of `used` (r, most): (r,).

    With `every`, after each number of entries: (r, most + 1); then all totals are equal.
    """
    joint = (concentration + 1) / correlation - 1
    tau = concentration / (1 - correlation)
    most = used.shape[1]
    order = np.argsort(-totals, kind="stable")
    used, ordered = used[order], totals[order]
    moments = np.exp(log_failures(mean[order], joint, most))
    coefficients = np.zeros((len(mean), most + 1))
    coefficients[:, 0] = 1.0
    found = np.ones((len(mean), most + 1 if every else 1))
    for step in range(most):
        live = int(np.searchsorted(-ordered, -step))
        before = used[:live, step, None]
        old = coefficients[:live, : step + 1] / (tau + before)
        coefficients[:live, : step + 1] = old * before
        coefficients[:live, 1 : step + 2] += old * tau
        if every:
            found[:, step + 1] = np.einsum("rn,rn->r", coefficients[:, : step + 2], moments[:, : step + 2])
    if not every:
        found[:, 0] = np.einsum("rn,rn->r", coefficients, moments)
    back = np.empty_like(found)
    back[order] = found
    return back if every else back[:, 0]
