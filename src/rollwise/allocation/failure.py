"""The chance that every rollout of a path, or of a direction, fails, given a belief about it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rollwise.core import Belief, FloatArray
from rollwise.errors import InputError

_SHIFT = 16  # Stirling's series is used from here on; its four terms leave an error of 1e-14
_NEGLIGIBLE = 60.0  # a term that is smaller by a factor of exp(-60) changes no digit


def check_belief(belief: Belief, count: int) -> None:
    """Raises InputError unless the belief is about `count` candidates and its values are possible.

    Means lie in [0, 1], concentrations above 0 (infinity is certainty), the correlation in (0, 1]; the size exponent is
    finite, and spent rollouts are at least 0.
    """
    for name, values in (("mean", belief.mean), ("concentration", belief.concentration), ("spent", belief.spent)):
        if values is not None and values.shape != (count,):
            raise InputError(f"{count} scores need a belief's {name} for each, not {values.shape}")
    if not (belief.mean.min() >= 0 and belief.mean.max() <= 1):
        raise InputError("a belief's mean is a chance to end right: calibrate the scores into [0, 1]")
    if not belief.concentration.min() > 0:
        raise InputError("a belief's concentration is above 0: how many completions the mean is worth")
    if not 0 < belief.correlation <= 1:
        raise InputError(f"a belief's correlation lies above 0 and up to 1, not {belief.correlation}")
    if not math.isfinite(belief.size_exponent):
        raise InputError(f"a belief's size exponent is a finite number, not {belief.size_exponent}")
    if belief.spent is not None and np.any(belief.spent < 0):
        raise InputError("rollouts spent are counted from 0 up")


# Rollouts that share one chance


def log_expected_failure(mean: ArrayLike, concentration: ArrayLike, rollouts: ArrayLike) -> FloatArray:
    """Returns log E[(1 - p)^B] for p ~ Beta(κm, κ(1 - m)): the log chance that B rollouts with one chance p all fail.

    This is betaln(κm, κ(1 - m) + B) - betaln(κm, κ(1 - m)), in a form that loses no digits at a large κ and keeps nine
    at B = 10^6. κ = inf gives B log(1 - m); m = 0 gives 0; m = 1 gives -inf from the first rollout on. The arguments
    broadcast; B may be any real number ≥ 0. For every B = 0 .. N, `log_failures` is faster.
    """
    arrays = (np.asarray(argument, dtype=np.float64) for argument in (mean, concentration, rollouts))
    m, kappa, b = np.broadcast_arrays(*arrays)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = b * np.log1p(-kappa * m / (kappa + _SHIFT))
        value = ratio + _log_rising(kappa * (1 - m), b) - _log_rising(kappa, b)
        value = np.where(np.isinf(kappa), b * np.log1p(-m), value)
    return np.where(b == 0, 0.0, value)


def _log_rising(x: FloatArray, b: FloatArray) -> FloatArray:
    """Returns log Γ(x + B) / Γ(x) - B log(x + 16)."""
    y = x + _SHIFT
    below = sum(np.log((x + step) / (x + step + b)) for step in range(_SHIFT))
    return below + (y + b - 0.5) * np.log1p(b / y) - b + _stirling(y + b) - _stirling(y)


def _stirling(z: FloatArray) -> FloatArray:
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * z**2)) / z**2) / z**2) / z


def log_failures(mean: FloatArray, concentration: float, most: int) -> FloatArray:
    """Returns log E[(1 - p)^B] for B = 0 .. most: (J,) → (J, most + 1), with p ~ Beta(κm, κ(1 - m)).

    Rollout t + 1 fails after t failures with chance 1 - m / (1 + t/κ), so this is a cumulative sum of logs. `mean` (J,)
    lies in [0, 1]; at m = 1 every B above 0 gives -inf. κ may be infinite.
    """
    table = np.zeros((len(mean), most + 1))
    with np.errstate(divide="ignore"):
        steps = np.log1p(-mean[:, None] / (1 + np.arange(most) / concentration))
    steps.cumsum(axis=1, out=table[:, 1:])
    return table


# Rollouts of a direction


def sharing(concentration: float, correlation: float) -> tuple[float, float]:
    """Returns (κ_j, τ): the concentration of what the members of a direction share, and of what each has alone.

    With p_j ~ Beta(κ_j m, κ_j(1 - m)) and p_i | p_j ~ Beta(τ p_j, τ(1 - p_j)), every p_i has mean m and variance
    m(1 - m) / (κ + 1), and two members of a direction correlate by ρ, if κ_j + 1 = (κ + 1) / ρ and τ = κ / (1 - ρ).
    These two moments are those of Beta(κm, κ(1 - m)); for ρ < 1 the distribution of p_i is not exactly that Beta.
    """
    own = math.inf if correlation == 1 else concentration / (1 - correlation)
    return (concentration + 1 - correlation) / correlation, own


class _Shared:
    """The chance that all rollouts of one direction fail, updated as rollouts are added.

    Rollout s + 1 of a member fails with chance (τu + s) / (τ + s) after s failures, where u = 1 - p_j. That is
    (1 - π) + πu with π = τ / (τ + s): with chance π it is a fresh draw of u, otherwise it is certain to fail, as in
    Pólya's urn. So the chance that all fail is Σ_n P(n are fresh) E[u^n], a sum of positive terms with closed forms.
    """

    def __init__(self, mean: float, concentration: float, correlation: float) -> None:
        self.mean = np.array([mean])
        self.common, self.own = sharing(concentration, correlation)
        self.first, self.chances = 0, np.zeros(1)  # chances[index] is log P(first + index are fresh)
        self.moments = self._log_moments(16)

    def add(self, before: int) -> None:
        """Adds a rollout of a member that has had `before` rollouts."""
        if before / self.own == 0:
            self.first += 1
        else:
            fresh = np.append(-np.inf, self.chances) - math.log1p(before / self.own)
            stale = np.append(self.chances, -np.inf) - math.log1p(self.own / before)
            self.chances = np.logaddexp(fresh, stale)
        if len(self.chances) % 64 == 0:
            self._trim()

    def log_failure(self) -> float:
        """Returns the log chance that all rollouts added so far fail."""
        terms = self._terms()
        largest = float(terms.max())
        return largest if largest == -math.inf else largest + math.log(float(np.exp(terms - largest).sum()))

    def _terms(self) -> FloatArray:
        end = self.first + len(self.chances)
        if end > len(self.moments):
            self.moments = self._log_moments(2 * end)
        return self.chances + self.moments[self.first : end]

    def _log_moments(self, count: int) -> FloatArray:
        """Returns log E[u^n] for n = 0 .. count - 1."""
        return log_failures(self.mean, self.common, count - 1)[0]

    def _trim(self) -> None:
        """Drops the ends that weigh nothing, neither now nor in the limit in which E[u^n] is the same for every n."""
        terms = self._terms()
        heavy = (terms > terms.max() - _NEGLIGIBLE) | (self.chances > self.chances.max() - _NEGLIGIBLE)
        ends = np.flatnonzero(heavy)
        self.first += int(ends[0])
        self.chances = self.chances[ends[0] : ends[-1] + 1]


def direction_log_failure(mean: float, concentration: float, correlation: float, rollouts: Sequence[int]) -> float:
    """Returns the log chance that all rollouts of one direction fail, `rollouts` (k,) by member.

    The members share p_j as in `sharing`. It is exact; S rollouts take O(S^1.5) operations, and O(1) for ρ = 1.
    """
    if correlation == 1:
        return float(log_expected_failure(mean, concentration, sum(rollouts)))
    failure = _Shared(mean, concentration, correlation)
    for count in rollouts:
        for before in range(count):
            failure.add(before)
    return failure.log_failure()


def shared_log_failures(mean: float, concentration: float, correlation: float, spent: Sequence[int]) -> Iterator[float]:
    """Yields the log chance that all of S = 0, 1, 2, … rollouts of one direction fail, without end.

    Each next rollout goes to a member that has had the fewest, which is best among exchangeable members. `spent` (k,)
    counts the rollouts that each member has already had; the chances are given that those failed. The members share p_j
    as in `sharing`: ρ = 1 gives `log_expected_failure` of the total, ρ → 0 the sum of that of each member. The values
    fall and are convex in S. They are exact for every S; the first S values take O(S^1.5) operations.
    """
    failure = _Shared(mean, concentration, correlation)
    for rollouts in spent:
        for before in range(rollouts):
            failure.add(before)
    levels = sorted(spent)
    past = failure.log_failure()
    while True:
        now = failure.log_failure()
        yield -math.inf if now == -math.inf else now - past
        failure.add(heapq.heapreplace(levels, levels[0] + 1))
