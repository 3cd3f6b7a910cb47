"""What the worlds of the laboratory share: the outcome of an instance, noisy scores, and checks of their fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollwise.core import Allocator, FloatArray
from rollwise.errors import InputError


@dataclass(frozen=True)
class Outcome:
    """The outcome of an instance; arrays (a,) have an entry for each allocator.

    `failure` (a,) is the chance that no rollout is right, `right_share` (a,) the expected share of right rollouts, and
    `voted` (a,) whether the vote was right, or None in a world without votes. `least` is the failure of the ceiling.
    `informed` is the failure of the best allocation given only what strategies see, or None if that is not computed.
    """

    failure: FloatArray
    least: float
    right_share: FloatArray
    voted: FloatArray | None = None
    informed: float | None = None


class Laboratory(Protocol):
    """A world with known chances."""

    def ceiling(self, width: int) -> str:
        """Returns the name of the ceiling that regret is measured against."""
        ...

    def play(self, seed: int, indices: Sequence[int], width: int, allocators: Sequence[Allocator]) -> list[Outcome]:
        """Plays the instances of these numbers under every allocator, all with the same random numbers.

        Each allocator goes through all instances before the next allocator starts: that takes two thirds of the time,
        since the processor repeats what it has just done.
        """
        ...


def noisy(
    truth: FloatArray, common: FloatArray, own: FloatArray, noise: float, shared: float, bias: float
) -> FloatArray:
    """Returns clip(truth + bias + noise · (√shared · common + √(1 - shared) · own), 0, 1), all (k,), as the reward
    `dial` does.
    """
    error = noise * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
    return np.clip(truth + bias + error, 0.0, 1.0)


def zipf(count: int, exponent: float) -> FloatArray:
    """Returns shares (count,) proportional to 1 / rank^exponent; exponent 0 is uniform."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def check_chance(name: str, value: float) -> None:
    """Raises InputError unless a value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} lies in [0, 1], not {value}")


def check_noise(noise: float, shared: float, bias: float) -> None:
    """Raises InputError unless scores can have this noise."""
    check_chance("shared", shared)
    if not 0 <= noise < math.inf or not math.isfinite(bias):
        raise InputError(f"noise is finite and at least 0, bias finite, not {noise} and {bias}")


def check_told(concentration: float | None, correlation: float | None) -> None:
    """Raises InputError unless a belief can have this `told_concentration` and `told_correlation`."""
    if concentration is not None and not 0 < concentration < math.inf:
        raise InputError(f"told_concentration is finite and above 0, not {concentration}")
    if correlation is not None and not 0 < correlation <= 1:
        raise InputError(f"told_correlation lies above 0 and up to 1, not {correlation}")
