"""The counts that minimise the chance that every rollout fails, given a belief about each path."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

_TIE = 1e-12  # quotients whose relative difference is smaller are equal
_AT_ONCE = 1024  # quotients × paths that one step of the bisection tries
_TABLE = 2**13  # up to this many quotients, all are computed
_CONFIDENT = 1e6  # from this κ on, sums over paths lose digits of the level


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def optimal_counts(
    mean: FloatArray,
    concentration: FloatArray,
    width: int,
    floors: IntArray | None = None,
    caps: IntArray | None = None,
    spent: IntArray | None = None,
    relaxed: FloatArray | None = None,
) -> IntArray:
    """Returns the counts B (k,) that sum to the width and minimise Π E[(1 - p_i)^B_i].

    Each p_i ~ Beta(κ_i m_i, κ_i(1 - m_i)), with `mean` m (k,) in [0, 1] and `concentration` κ (k,). The next rollout of
    a path gains -log(1 - q) with q = κ_i m_i / (κ_i + B_i), which falls with B_i. So it is exact to hand out one
    rollout after another to the largest q: a divisor method with signposts s + κ_i. If there are few quotients, all are
    computed; otherwise a bisection finds the quotient λ that the last rollout is worth, and B_i is the number of
    quotients above it. Of quotients that are equal to within 1e-12, the path with fewer rollouts comes first, then the
    earlier position.

    `spent` (k,) counts the rollouts that each path has already had; they enter its quotient. `floors` and `caps` (k,)
    bound each path's count. A caller that has the `relaxed_counts` passes them as `relaxed` (k,), so that most
    quotients need not be computed. Raises InputError if the width cannot be handed out within the bounds.
    """
    lower, upper = _bounds(len(mean), width, floors, caps)
    before = np.zeros_like(lower) if spent is None else spent
    most = width if relaxed is None else _most(relaxed, concentration, width)
    if len(mean) * most > _TABLE:
        return fill_evenly(*_contested(mean, concentration, before, width, lower, upper), width)
    return fill_evenly(*_tabulated(mean, concentration, before, width, most, floors, caps), width)


def _most(relaxed: FloatArray, concentration: FloatArray, width: int) -> int:
    """Returns how many of a path's quotients are enough.

    At the level of the relaxed counts B, a path has at most ⌊B⌋ + 1 quotients, and all paths together have at least
    the width. So the last quotient handed out is no smaller than that level. One more quotient allows for rounding. For
    a very large κ many quotients of a path may tie, so all are needed.
    """
    return min(width, int(relaxed.max()) + 2) if concentration.max() < _CONFIDENT else width


def _tabulated(
    mean: FloatArray,
    concentration: FloatArray,
    spent: IntArray,
    width: int,
    most: int,
    floors: IntArray | None,
    caps: IntArray | None,
) -> tuple[IntArray, IntArray]:
    """Returns the counts (k,) without and with the quotients that tie with the last, from each path's first `most`."""
    rollouts = np.arange(max(1, most))
    quotients = mean[:, None] / (1 + (spent[:, None] + rollouts) / concentration[:, None])
    if floors is not None:
        quotients[rollouts < floors[:, None]] = np.inf
    if caps is not None:
        quotients[rollouts >= caps[:, None]] = -np.inf
    place = quotients.size - max(1, width)
    last = np.partition(quotients, place, axis=None)[place]
    return (quotients > last * (1 + _TIE)).sum(axis=1), (quotients >= last * (1 - _TIE)).sum(axis=1)


def _contested(
    mean: FloatArray, concentration: FloatArray, spent: IntArray, width: int, lower: IntArray, upper: IntArray
) -> tuple[IntArray, IntArray]:
    """Returns what `_tabulated` returns, for many paths or rollouts: a bisection narrows down the last quotient."""

    def above(quotient: float | FloatArray) -> FloatArray:
        return np.fmin(np.fmax(np.ceil(_level_rollouts(mean, concentration, spent, quotient)), lower), upper)

    least, most = lower, upper
    for high, low in _narrowing(above, width, _below_level(mean, concentration, spent, width, upper), mean):
        least = above(high * (1 + _TIE)).astype(np.int64)
        if least.sum() == width:
            return least, least
        most = upper if low == 0 else above(low * (1 - _TIE)).astype(np.int64)
        quotients = (mean / (1 + (least + spent) / concentration))[most > least]
        if (most - least).max() == 1 and quotients.max() <= quotients.min() * (1 + _TIE):
            break
    return least, most


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def relaxed_counts(
    mean: FloatArray,
    concentration: FloatArray,
    width: float,
    floors: IntArray | None = None,
    caps: IntArray | None = None,
    spent: IntArray | None = None,
) -> FloatArray:
    """Returns the `optimal_counts` of rollouts that can be divided.

    B_i = κ_i (m_i / λ - 1) - spent_i, clipped to the path's bounds, with λ such that the counts sum to the width. Paths
    that tie at an infinite κ share the rollouts that are left.
    """
    lower, upper = _bounds(len(mean), width, floors, caps)
    before = np.zeros_like(lower) if spent is None else spent
    if lower.sum() == width:
        return lower.astype(np.float64)
    if caps is None and concentration.max() < _CONFIDENT and mean.max() > 0:
        return _filled(mean, concentration, before, width, lower)

    def at(quotient: float | FloatArray) -> FloatArray:
        return np.fmin(np.fmax(_level_rollouts(mean, concentration, before, quotient), lower), upper)

    for high, low in _narrowing(at, width, _below_level(mean, concentration, before, width, upper), mean):
        least, most = at(high), upper if low == 0 else at(low)
        if np.all((least == most) | ((least > lower) & (most < upper))):  # between these, each count is linear in 1 / λ
            break
    between = float((most - least).sum())
    return least + (most - least) * ((width - float(least.sum())) / between if between > 0 else 0.0)


def _filled(mean: FloatArray, concentration: FloatArray, spent: IntArray, width: float, lower: IntArray) -> FloatArray:
    """Returns `relaxed_counts` in closed form.

    A path takes more than its floor below the quotient κm / (κ + spent + floor). Sorted by that quotient, the first n
    paths share at λ = Σκm / (width - Σ all floors + Σ(κ + spent + floor)), with the other sums over those n.
    """
    start = concentration + spent + lower
    weight = concentration * mean
    order = (-weight / start).argsort(kind="stable")
    weight, start = weight[order], start[order]
    levels = weight.cumsum() / (width - lower.sum() + start.cumsum())
    sharing = max(1, int((weight > levels * start).sum()))
    return np.maximum(concentration * (mean / levels[sharing - 1] - 1) - spent, lower)


def fill_evenly(least: IntArray, most: IntArray, total: int) -> IntArray:
    """Returns counts (k,) between `least` and `most` that sum to `total`.

    It raises the lowest count first; of equal counts, the one at the earlier position.
    """
    counts, spare = least.astype(np.int64), most - least
    if spare.max(initial=0) <= 1:
        free = spare.nonzero()[0]
        counts[free[counts[free].argsort(kind="stable")[: total - int(counts.sum())]]] += 1
        return counts
    low, high = 0, int(most.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.clip(middle, least, most).sum()) <= total else (low, middle - 1)
    counts = np.clip(low, least, most).astype(np.int64)
    raised = np.flatnonzero((counts == low) & (counts < most))
    counts[raised[: total - int(counts.sum())]] += 1
    return counts


def greedy_counts(
    log_failures: Sequence[Iterator[float]],
    width: int,
    floors: IntArray | None = None,
    caps: IntArray | None = None,
) -> IntArray:
    """Returns the counts (k,) that sum to the width and minimise Σ_i log M_i(B_i), for any M_i that is log-convex in B.

    M is log-convex for every prior on p (Cauchy-Schwarz), and for the failure of a direction. Each of `log_failures`
    yields log M_i(0), log M_i(1), … in turn. A heap hands out one rollout after another to the largest gain; ties go to
    the smaller count, then to the earlier position. Raises InputError if the width cannot be handed out within the
    bounds.
    """
    lower, upper = _bounds(len(log_failures), width, floors, caps)
    counts = np.zeros(len(log_failures), dtype=np.int64)
    values = [next(failures) for failures in log_failures]
    heap: list[tuple[float, int, int]] = []

    def advance(index: int) -> float:
        before, values[index] = values[index], next(log_failures[index])
        return 0.0 if before == -math.inf else before - values[index]

    for index, failures in enumerate(log_failures):
        for _ in range(int(lower[index])):
            values[index] = next(failures)
        counts[index] = lower[index]
        if counts[index] < upper[index]:
            heap.append((-advance(index), int(counts[index]), index))
    heapq.heapify(heap)
    for _ in range(width - int(counts.sum())):
        _, _, index = heapq.heappop(heap)
        counts[index] += 1
        if counts[index] < upper[index]:
            heapq.heappush(heap, (-advance(index), int(counts[index]), index))
    return counts


def _level_rollouts(
    mean: FloatArray, concentration: FloatArray, spent: IntArray, quotient: float | FloatArray
) -> FloatArray:
    """Returns how many rollouts B (k,), as real numbers, lower each path's κm / (κ + spent + B) to `quotient` > 0.

    NaN if κ is infinite and any number would do.
    """
    return concentration * (mean / quotient - 1) - spent


def _below_level(mean: FloatArray, concentration: FloatArray, spent: IntArray, width: float, upper: IntArray) -> float:
    """Returns a quotient at which all paths together take more than the width, above 0 if that is easy to find.

    Σ_i [κ_i (m_i / λ - 1) - spent_i] is the width at λ = Σκm / (width + Σκ + Σspent). Counts are at least 0, so all
    paths take at least the width there, and more at a smaller λ. This need not hold if caps bind.
    """
    if upper.min() < width:
        return 0.0
    level = float((concentration * mean).sum() / (width + concentration.sum() + spent.sum())) / 2
    return level if 0 < level < math.inf else 0.0


def _narrowing(
    counts: Callable[[FloatArray], FloatArray], width: float, low: float, mean: FloatArray
) -> Iterator[tuple[float, float]]:
    """Yields ever closer quotients (high, low), down to neighbouring floats.

    At `high` all `counts` together are at most the width; at `low` they are more, unless `low` is 0. The bisection
    starts from the largest mean, where no path takes more than it has to. If there are few paths, each step tries
    several quotients (n, 1), since numpy takes as long for one; `counts` then returns (n, k).
    """
    high = float(mean.max()) or 2.0
    several = max(1, min(31, _AT_ONCE // len(mean)))
    fractions = np.arange(1, several + 1) / (several + 1)
    while True:
        cuts = low + (high - low) * fractions
        cuts = cuts[(low < cuts) & (cuts < high)]
        if len(cuts):
            too_low = int((counts(cuts[:, None]).sum(axis=1) > width).sum())
            ends = [low, *cuts.tolist(), high]
            low, high = ends[too_low], ends[too_low + 1]
        yield high, low
        if not len(cuts):
            return


def _bounds(count: int, width: float, floors: IntArray | None, caps: IntArray | None) -> tuple[IntArray, IntArray]:
    lower = np.zeros(count, dtype=np.int64) if floors is None else floors
    upper = np.full(count, math.ceil(width), dtype=np.int64)
    if floors is None and caps is None and width >= 0:
        return lower, upper
    upper = upper if caps is None else np.minimum(caps, upper)
    if np.any(lower < 0) or np.any(upper < lower):
        raise InputError("a path's floor is at least 0 and at most its cap and the width")
    if lower.sum() > width:
        raise InputError(f"the floors take {lower.sum()} rollouts of {width}: lower them or raise the width")
    if upper.sum() < width:
        raise InputError(f"the caps let {upper.sum()} rollouts of {width} be handed out: raise them or lower the width")
    return lower, upper
