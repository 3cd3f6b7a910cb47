"""The counts that make the chance that all rollouts fail least, whatever is believed of each path."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

_TIE = 1e-12  # quotients closer than this, relatively, are equal
_AT_ONCE = 1024  # so many quotients × paths are tried at once
_TABLE = 2**13  # up to so many quotients are all computed
_CONFIDENT = 1e6  # from this κ on, sums over paths lose digits of a level


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
    """The counts B (k,) that sum to the width and make Π E[(1 - p_i)^B_i] least, p_i ~ Beta(κ_i m_i, κ_i(1 - m_i)).

    The gain of a path's next rollout is -log(1 - q) with q = κ_i m_i / (κ_i + B_i), and falls with B_i, so handing out
    one rollout after the other to the largest q is exact: a divisor method with signposts s + κ_i. A bisection finds
    the quotient λ that the last rollout is worth; B_i is the number of quotients above it. Among quotients equal to
    within 1e-12 the path with fewer rollouts comes first, then the earlier position.

    `spent` (k,) are rollouts that each path has had before and count in its quotient. `floors` and `caps` bound each
    path's count. `relaxed` (k,), where the caller knows them, are the `relaxed_counts`, which spare looking at most
    quotients. Raises InputError where the bounds leave no way to hand out the width.
    """
    lower, upper = _bounds(len(mean), width, floors, caps)
    had = np.zeros_like(lower) if spent is None else spent
    most = width if relaxed is None else _most(relaxed, concentration, width)
    if len(mean) * most > _TABLE:
        return fill_evenly(*_contested(mean, concentration, had, width, lower, upper), width)
    return fill_evenly(*_tabulated(mean, concentration, had, width, most, floors, caps), width)


def _most(relaxed: FloatArray, concentration: FloatArray, width: int) -> int:
    """How many of a path's quotients are enough. At the level of the relaxed counts B it has at most ⌊B⌋ + 1, all paths
    together no fewer than the width, so that the last quotient handed out is no smaller; one more allows for rounding.
    With a very large κ many of a path's quotients may tie.
    """
    return min(width, int(relaxed.max()) + 2) if concentration.max() < _CONFIDENT else width


def _tabulated(
    mean: FloatArray,
    concentration: FloatArray,
    had: IntArray,
    width: int,
    most: int,
    floors: IntArray | None,
    caps: IntArray | None,
) -> tuple[IntArray, IntArray]:
    """The counts without and with the quotients that tie with the last, from a table of each path's first `most`."""
    rollouts = np.arange(max(1, most))
    quotients = mean[:, None] / (1 + (had[:, None] + rollouts) / concentration[:, None])
    if floors is not None:
        quotients[rollouts < floors[:, None]] = np.inf
    if caps is not None:
        quotients[rollouts >= caps[:, None]] = -np.inf
    place = quotients.size - max(1, width)
    last = np.partition(quotients, place, axis=None)[place]
    return (quotients > last * (1 + _TIE)).sum(axis=1), (quotients >= last * (1 - _TIE)).sum(axis=1)


def _contested(
    mean: FloatArray, concentration: FloatArray, had: IntArray, width: int, lower: IntArray, upper: IntArray
) -> tuple[IntArray, IntArray]:
    """The same by narrowing down the last quotient, for many paths or rollouts."""

    def above(quotient: float | FloatArray) -> FloatArray:
        return np.fmin(np.fmax(np.ceil(_level_rollouts(mean, concentration, had, quotient)), lower), upper)

    least, most = lower, upper
    for high, low in _narrowing(above, width, _below_level(mean, concentration, had, width, upper), mean):
        least = above(high * (1 + _TIE)).astype(np.int64)
        if least.sum() == width:
            return least, least
        most = upper if low == 0 else above(low * (1 - _TIE)).astype(np.int64)
        quotients = (mean / (1 + (least + had) / concentration))[most > least]
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
    """`optimal_counts` for rollouts that can be divided: B_i = κ_i (m_i / λ - 1) - spent_i within the path's bounds, λ
    such that they sum to the width. Where several paths tie at an infinite κ they share what there is.
    """
    lower, upper = _bounds(len(mean), width, floors, caps)
    had = np.zeros_like(lower) if spent is None else spent
    if lower.sum() == width:
        return lower.astype(np.float64)
    if caps is None and concentration.max() < _CONFIDENT and mean.max() > 0:
        return _filled(mean, concentration, had, width, lower)

    def at(quotient: float | FloatArray) -> FloatArray:
        return np.fmin(np.fmax(_level_rollouts(mean, concentration, had, quotient), lower), upper)

    for high, low in _narrowing(at, width, _below_level(mean, concentration, had, width, upper), mean):
        least, most = at(high), upper if low == 0 else at(low)
        if np.all((least == most) | ((least > lower) & (most < upper))):  # between these each is a line in 1 / λ
            break
    between = float((most - least).sum())
    return least + (most - least) * ((width - float(least.sum())) / between if between > 0 else 0.0)


def _filled(mean: FloatArray, concentration: FloatArray, had: IntArray, width: float, lower: IntArray) -> FloatArray:
    """`relaxed_counts` in closed form: the first n paths, by the quotient κm / (κ + spent + floor) from which on they
    take more than their floor, share at λ = Σκm / (width - Σ all floors + Σ(κ + spent + floor)), sums over those n.
    """
    start = concentration + had + lower
    weight = concentration * mean
    order = (-weight / start).argsort(kind="stable")
    weight, start = weight[order], start[order]
    levels = weight.cumsum() / (width - lower.sum() + start.cumsum())
    sharing = max(1, int((weight > levels * start).sum()))
    return np.maximum(concentration * (mean / levels[sharing - 1] - 1) - had, lower)


def fill_evenly(least: IntArray, most: IntArray, total: int) -> IntArray:
    """Counts (k,) between `least` and `most` that sum to `total`: the lowest count is raised first, then the earlier
    position.
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
    """The counts (k,) that sum to the width and make Σ_i log M_i(B_i) least, for any M_i log-convex in B: every prior
    on p has such an M (Cauchy and Schwarz), and a direction's failure is one too.

    `log_failures` yield log M_i(0), log M_i(1), … one after the other. A heap hands out rollouts by their gain, ties to
    the smaller count, then the earlier position. Raises InputError where the bounds leave no way to hand out the width.
    """
    lower, upper = _bounds(len(log_failures), width, floors, caps)
    counts = np.zeros(len(log_failures), dtype=np.int64)
    values = [next(one) for one in log_failures]
    heap: list[tuple[float, int, int]] = []

    def advance(index: int) -> float:
        before, values[index] = values[index], next(log_failures[index])
        return 0.0 if before == -math.inf else before - values[index]

    for index, one in enumerate(log_failures):
        for _ in range(int(lower[index])):
            values[index] = next(one)
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


def greedy_by_cost(mean: FloatArray, concentration: FloatArray, costs: FloatArray, budget: float) -> IntArray:
    """Counts (k,) of rollouts that cost `costs` (k,) each, in tokens say, and together at most `budget`: a heuristic.

    The next rollout goes where the gain per cost is largest among those that still fit. With unlike costs the problem
    is a knapsack and this need not be optimal; with equal costs it is `optimal_counts`. Raises InputError for a cost
    that is not above 0.
    """
    if not np.all(costs > 0) or not np.all(np.isfinite(costs)):
        raise InputError("what a rollout costs is finite and above 0; estimate its tokens")
    counts = np.zeros(len(mean), dtype=np.int64)

    def entry(index: int) -> tuple[float, int, int]:
        quotient = float(mean[index] / (1 + counts[index] / concentration[index]))
        gain = math.inf if quotient == 1 else -math.log1p(-quotient)
        return -gain / float(costs[index]), int(counts[index]), index

    heap = [entry(index) for index in range(len(mean))]
    heapq.heapify(heap)
    left = float(budget)
    while heap:
        _, _, index = heapq.heappop(heap)
        if costs[index] <= left:
            left -= float(costs[index])
            counts[index] += 1
            heapq.heappush(heap, entry(index))
    return counts


def _level_rollouts(
    mean: FloatArray, concentration: FloatArray, had: IntArray, quotient: float | FloatArray
) -> FloatArray:
    """How many rollouts (k,), as a real number, bring each path's quotient κm / (κ + spent + B) down to this one above
    0; NaN where an infinite κ leaves that open.
    """
    return concentration * (mean / quotient - 1) - had


def _below_level(mean: FloatArray, concentration: FloatArray, had: IntArray, width: float, upper: IntArray) -> float:
    """A quotient, above 0 where that is easy, at which all paths together take more than the width.

    Σ_i [κ_i (m_i / λ - 1) - spent_i] is the width at λ = Σκm / (width + Σκ + Σspent); with counts of at least 0, and of
    more than that for smaller λ, all take no less. Where caps bind that need not be so.
    """
    if upper.min() < width:
        return 0.0
    level = float((concentration * mean).sum() / (width + concentration.sum() + had.sum())) / 2
    return level if 0 < level < math.inf else 0.0


def _narrowing(
    counts: Callable[[FloatArray], FloatArray], width: float, low: float, mean: FloatArray
) -> Iterator[tuple[float, float]]:
    """Ever closer quotients (high, low), down to neighbours: at `high` all `counts` together are at most the width, at
    `low` more, unless that is 0.

    A bisection from the largest mean, where no path takes more than it has to. Of few paths many quotients (n, 1) are
    tried at once, since numpy takes as long for one: `counts` gives those of each (n, k).
    """
    ends = np.array([low, float(mean.max()) or 2.0])
    bottom, top = ends.view(np.int64).tolist()  # floats of one sign are ordered as the integers of their bits
    several = max(1, min(31, _AT_ONCE // len(mean)))
    while True:
        if top - bottom > 1:
            cuts = bottom + max(1, (top - bottom) // (several + 1)) * np.arange(1, several + 1)
            cuts = cuts[cuts < top]
            first = int((counts(cuts.view(np.float64)[:, None]).sum(axis=1) > width).sum())
            bottom, top = int(cuts[first - 1]) if first else bottom, int(cuts[first]) if first < len(cuts) else top
        high, low = np.array([top, bottom]).view(np.float64).tolist()
        yield high, low
        if top - bottom <= 1:
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
