"""What the worlds of the laboratory share: the record of one instance, noisy scores, checks of their fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollwise.core import Allocator, FloatArray
from rollwise.errors import InputError


@dataclass(frozen=True)
class Played:
    """One instance under each of a allocators: the chance that no rollout is right (a,), the expected share of right
    rollouts (a,), whether the vote was right (a,) where there is one, and the `least` failure, the ceiling's.
    `informed` is the failure of the best that can be done without knowing the truth, where that is known.
    """

    failure: FloatArray
    least: float
    right_share: FloatArray
    voted: FloatArray | None = None
    informed: float | None = None


class Laboratory(Protocol):
    """A world with known chances."""

    def ceiling(self, width: int) -> str:
        """What regret is measured against."""
        ...

    def play(self, seed: int, indices: Sequence[int], width: int, allocators: Sequence[Allocator]) -> list[Played]:
        """The instances of these numbers, each under every allocator with the same random numbers.

        An allocator goes through all of them before the next one begins: what a processor has just done takes it two
        thirds of the time.
        """
        ...


def noisy(
    truth: FloatArray, common: FloatArray, own: FloatArray, noise: float, shared: float, bias: float
) -> FloatArray:
    """clip(truth + bias + noise · (√shared · common + √(1 - shared) · own), 0, 1), all (k,), as the dial's rewards."""
    error = noise * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
    return np.clip(truth + bias + error, 0.0, 1.0)


def shifted(chances: FloatArray, log_odds: FloatArray) -> FloatArray:
    """Chances (n,) with so much (n,) added to their log-odds."""
    factor = np.exp(log_odds)
    return factor * chances / (factor * chances + 1 - chances)


def zipf(count: int, exponent: float) -> FloatArray:
    """Shares (count,) proportional to 1 / rank^exponent; exponent 0 is uniform."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def check_chance(name: str, value: float) -> None:
    """Raise InputError unless a value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} lies in [0, 1], not {value}")


def check_noise(noise: float, shared: float, bias: float) -> None:
    """Raise InputError unless scores can be made with this noise."""
    check_chance("shared", shared)
    if not 0 <= noise < math.inf or not math.isfinite(bias):
        raise InputError(f"noise is finite and at least 0, bias finite, not {noise} and {bias}")


def check_told(concentration: float | None, correlation: float | None) -> None:
    """Raise InputError unless a belief can hold what is told."""
    if concentration is not None and not 0 < concentration < math.inf:
        raise InputError(f"told_concentration is finite and above 0, not {concentration}")
    if correlation is not None and not 0 < correlation <= 1:
        raise InputError(f"told_correlation lies above 0 and up to 1, not {correlation}")
