"""What a belief about each path is worth: the chance that all its rollouts fail, and the counts that make it least."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rollwise.core import Belief, FloatArray, IntArray
from rollwise.errors import InputError

_SHIFT = 16  # Stirling's series is used from here on, where four terms leave 1e-14
_TIE = 1e-12  # quotients closer than this, relatively, are equal
_AT_ONCE = 1024  # so many quotients × paths are tried at once
_NEGLIGIBLE = 60.0  # exp(-60): what is lighter by so much changes no digit


def check_belief(belief: Belief, count: int) -> None:
    """Raises InputError unless the belief is about `count` candidates: means in [0, 1], concentrations above 0
    (infinity is certainty), a correlation in (0, 1], and rollouts spent of at least 0.
    """
    for name, known in (("mean", belief.mean), ("concentration", belief.concentration), ("spent", belief.spent)):
        if known is not None and known.shape != (count,):
            raise InputError(f"{count} scores need a belief's {name} for each, not {known.shape}")
    if not np.all((belief.mean >= 0) & (belief.mean <= 1)):
        raise InputError("a belief's mean is a chance to end right: calibrate the scores into [0, 1]")
    if not np.all(belief.concentration > 0):
        raise InputError("a belief's concentration is above 0: how many completions the mean is worth")
    if not 0 < belief.correlation <= 1:
        raise InputError(f"a belief's correlation lies above 0 and up to 1, not {belief.correlation}")
    if not math.isfinite(belief.size_exponent):
        raise InputError(f"a belief's size exponent is a finite number, not {belief.size_exponent}")
    if belief.spent is not None and np.any(belief.spent < 0):
        raise InputError("rollouts spent are counted from 0 up")


# The chance that every rollout fails


def log_expected_failure(mean: ArrayLike, concentration: ArrayLike, rollouts: ArrayLike) -> FloatArray:
    """Log E[(1 - p)^B] for p ~ Beta(κm, κ(1 - m)): the log chance that B rollouts of one p all fail.

    It is betaln(κm, κ(1 - m) + B) - betaln(κm, κ(1 - m)), put so that a large κ costs no digits and a B of a million
    leaves nine. κ = inf is B log(1 - m); m = 0 is 0, and m = 1 is -inf from the first rollout on. Arguments
    broadcast; B may be any real ≥ 0.
    """
    known = (np.asarray(part, dtype=np.float64) for part in (mean, concentration, rollouts))
    m, kappa, b = np.broadcast_arrays(*known)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = b * np.log1p(-kappa * m / (kappa + _SHIFT))
        value = ratio + _log_rising(kappa * (1 - m), b) - _log_rising(kappa, b)
        value = np.where(np.isinf(kappa), b * np.log1p(-m), value)
    return np.where(b == 0, 0.0, value)


def _log_rising(x: FloatArray, b: FloatArray) -> FloatArray:
    """Log Γ(x + B) / Γ(x) - B log(x + 16)."""
    y = x + _SHIFT
    below = sum(np.log((x + step) / (x + step + b)) for step in range(_SHIFT))
    return below + (y + b - 0.5) * np.log1p(b / y) - b + _stirling(y + b) - _stirling(y)


def _stirling(z: FloatArray) -> FloatArray:
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * z**2)) / z**2) / z**2) / z


def sharing(concentration: float, correlation: float) -> tuple[float, float]:
    """κ_j of what the members of a direction share, and τ of what each has of its own.

    With p_j ~ Beta(κ_j m, κ_j(1 - m)) and p_i | p_j ~ Beta(τ p_j, τ(1 - p_j)), every p_i has mean m and variance
    m(1 - m) / (κ + 1), and two of a direction correlate by ρ, where κ_j + 1 = (κ + 1) / ρ and τ = κ / (1 - ρ). The
    first two moments are those of Beta(κm, κ(1 - m)); for ρ < 1 the distribution of p_i is not exactly that Beta.
    """
    own = math.inf if correlation == 1 else concentration / (1 - correlation)
    return (concentration + 1 - correlation) / correlation, own


class _Shared:
    """The failure of rollouts of one direction, as they are added.

    A member's rollout number s + 1 fails with chance (τu + s) / (τ + s) after s failures, u = 1 - p_j: that is
    (1 - π) + πu with π = τ / (τ + s). It is a fresh draw of u with chance π, and certain to fail else, as in Pólya's
    urn. So the failure of all is Σ_n P(n are fresh) E[u^n]: positive terms, of which each has a closed form.
    """

    def __init__(self, mean: float, concentration: float, correlation: float) -> None:
        self.mean = mean
        self.common, self.own = sharing(concentration, correlation)
        self.first, self.chances = 0, np.zeros(1)  # log P(first + index are fresh)
        self.moments = self._log_moments(16)

    def add(self, before: int) -> None:
        """One more rollout of a member that had so many before."""
        if before / self.own == 0:
            self.first += 1
        else:
            fresh = np.append(-np.inf, self.chances) - math.log1p(before / self.own)
            stale = np.append(self.chances, -np.inf) - math.log1p(self.own / before)
            self.chances = np.logaddexp(fresh, stale)
        if len(self.chances) % 64 == 0:
            self._trim()

    def log_failure(self) -> float:
        terms = self._terms()
        largest = float(terms.max())
        return largest if largest == -math.inf else largest + math.log(float(np.exp(terms - largest).sum()))

    def _terms(self) -> FloatArray:
        end = self.first + len(self.chances)
        if end > len(self.moments):
            self.moments = self._log_moments(2 * end)
        return self.chances + self.moments[self.first : end]

    def _log_moments(self, count: int) -> FloatArray:
        """Log E[u^n] for n below `count`: that of n + 1 is that of n plus log(1 - κ_j m / (κ_j + n))."""
        with np.errstate(divide="ignore"):
            steps = np.log1p(-self.mean / (1 + np.arange(count - 1) / self.common))
        return np.append(0.0, np.cumsum(steps))

    def _trim(self) -> None:
        """Leave out the ends that weigh nothing, neither now nor in the limit where E[u^n] no longer tells n apart."""
        terms = self._terms()
        heavy = (terms > terms.max() - _NEGLIGIBLE) | (self.chances > self.chances.max() - _NEGLIGIBLE)
        ends = np.flatnonzero(heavy)
        self.first += int(ends[0])
        self.chances = self.chances[ends[0] : ends[-1] + 1]


def shared_log_failures(mean: float, concentration: float, correlation: float, spent: Sequence[int]) -> Iterator[float]:
    """The log chance that all of S = 0, 1, 2, … rollouts of one direction fail, without end, each time the next rollout
    going to a member that had the fewest, which is best among exchangeable members.

    `spent` (k,) are the rollouts that each member has had already: what is yielded is given that those failed. The
    members share p_j as in `sharing`; ρ = 1 is `log_expected_failure` of the total, ρ → 0 the sum of that of each.
    The values fall and are convex in S. They are exact for every S; S of them take O(S^1.5) operations.
    """
    failure = _Shared(mean, concentration, correlation)
    for had in spent:
        for before in range(had):
            failure.add(before)
    levels = sorted(spent)
    past = failure.log_failure()
    while True:
        now = failure.log_failure()
        yield -math.inf if now == -math.inf else now - past
        failure.add(heapq.heapreplace(levels, levels[0] + 1))


# The counts that make it least


def optimal_counts(
    mean: FloatArray,
    concentration: FloatArray,
    width: int,
    floors: IntArray | None = None,
    caps: IntArray | None = None,
    spent: IntArray | None = None,
) -> IntArray:
    """The counts B (k,) that sum to the width and make Π E[(1 - p_i)^B_i] least, p_i ~ Beta(κ_i m_i, κ_i(1 - m_i)).

    The gain of a path's next rollout is -log(1 - q) with q = κ_i m_i / (κ_i + B_i), and falls with B_i, so handing out
    one rollout after the other to the largest q is exact: a divisor method with signposts s + κ_i. A bisection finds
    the quotient λ that the last rollout is worth; B_i is the number of quotients above it. Among quotients equal to
    within 1e-12 the path with fewer rollouts comes first, then the earlier position.

    `spent` (k,) are rollouts that each path has had before and count in its quotient. `floors` and `caps` bound each
    path's count. Raises InputError where they leave no way to hand out the width.
    """
    lower, upper = _bounds(len(mean), width, floors, caps)

    def above(quotient: float | FloatArray) -> FloatArray:
        return np.clip(np.ceil(_level_rollouts(mean, concentration, spent, quotient)), lower, upper)

    high, low = _section(lambda quotients: above(quotients).sum(axis=-1), width, len(mean))
    least = above(high * (1 + _TIE)).astype(np.int64)
    most = upper if low == 0 else above(low * (1 - _TIE)).astype(np.int64)
    return fill_evenly(least, most, width)


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

    def at(quotient: float | FloatArray) -> FloatArray:
        return np.clip(_level_rollouts(mean, concentration, spent, quotient), lower, upper)

    high, low = _section(lambda quotients: at(quotients).sum(axis=-1), width, len(mean))
    least, most = at(high), upper.astype(np.float64) if low == 0 else at(low)
    between = float((most - least).sum())
    return least + (most - least) * ((width - float(least.sum())) / between if between > 0 else 0.0)


def fill_evenly(least: IntArray, most: IntArray, total: int) -> IntArray:
    """Counts (k,) between `least` and `most` that sum to `total`: the lowest count is raised first, then the earlier
    position.
    """
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
    mean: FloatArray, concentration: FloatArray, spent: IntArray | None, quotient: float | FloatArray
) -> FloatArray:
    """How many rollouts (k,), as a real number, bring each path's quotient κm / (κ + spent + B) down to this one."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rollouts = concentration * (mean / quotient - 1) - (0 if spent is None else spent)
    return np.where(np.isnan(rollouts), 0.0, rollouts)


def _section(total: Callable[[FloatArray], FloatArray], width: float, count: int) -> tuple[float, float]:
    """The smallest quotient in [0, 2] whose `total`, which falls with it, is at most the width, and the float below.

    As a bisection, but of a few paths (`count`) many quotients (n, 1) are tried at once, since numpy takes as long for
    one: `total` gives that of each (n,).
    """
    low, high = 0, int(np.float64(2.0).view(np.int64))  # floats of one sign are ordered as the integers of their bits
    several = max(1, min(31, _AT_ONCE // count))
    while high - low > 1:
        cuts = low + max(1, (high - low) // (several + 1)) * np.arange(1, several + 1)
        cuts = cuts[cuts < high]
        first = int(np.sum(total(cuts.view(np.float64)[:, None]) > width))
        low, high = int(cuts[first - 1]) if first else low, int(cuts[first]) if first < len(cuts) else high
    return float(np.int64(high).view(np.float64)), float(np.int64(low).view(np.float64))


def _bounds(count: int, width: float, floors: IntArray | None, caps: IntArray | None) -> tuple[IntArray, IntArray]:
    lower = np.zeros(count, dtype=np.int64) if floors is None else floors
    upper = np.full(count, math.ceil(width), dtype=np.int64) if caps is None else np.minimum(caps, math.ceil(width))
    if np.any(lower < 0) or np.any(upper < lower):
        raise InputError("a path's floor is at least 0 and at most its cap and the width")
    if lower.sum() > width:
        raise InputError(f"the floors take {lower.sum()} rollouts of {width}: lower them or raise the width")
    if upper.sum() < width:
        raise InputError(f"the caps let {upper.sum()} rollouts of {width} be handed out: raise them or lower the width")
    return lower, upper
