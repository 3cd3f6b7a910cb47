"""What a belief about each path says: the chance that all its rollouts fail, alone and with its direction's."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rollwise.core import Belief, FloatArray
from rollwise.errors import InputError

_SHIFT = 16  # Stirling's series is used from here on, where four terms leave 1e-14
_NEGLIGIBLE = 60.0  # exp(-60): what is lighter by so much changes no digit


def check_belief(belief: Belief, count: int) -> None:
    """Raises InputError unless the belief is about `count` candidates: means in [0, 1], concentrations above 0
    (infinity is certainty), a correlation in (0, 1], and rollouts spent of at least 0.
    """
    for name, known in (("mean", belief.mean), ("concentration", belief.concentration), ("spent", belief.spent)):
        if known is not None and known.shape != (count,):
            raise InputError(f"{count} scores need a belief's {name} for each, not {known.shape}")
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
