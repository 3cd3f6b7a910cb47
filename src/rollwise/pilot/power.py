"""How large a gain a comparison can find, and how many questions that takes, by the rule of `rollwise.pilot.decide`."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from rollwise.core import FloatArray, IntArray
from rollwise.pilot.gain import CONFIDENCE

POWER = 0.8
MOST = 100_000
"""The largest number of questions that is looked at."""


def power_of(questions: int, lost_rate: float, gain: float, worthwhile: float = 0.0, design: float = 1.0) -> float:
    """The chance that a comparison advises introduction if the true gain is `gain`.

    A question is lost with chance `lost_rate` and won with chance `lost_rate` + `gain`. The number of questions that
    differ is binomial, and so is the number of won ones among them; for each the rule needs at least so many won ones.
    The sum is exact for independent questions with one seed. Dependent questions count as questions / `design`.
    """
    count = math.floor(questions / design)
    lost, won = lost_rate, lost_rate + gain
    if count < 2 or won <= 0:
        return 0.0
    if lost + won > 1:
        lost = max(0.0, 1 - won)
    differing = lost + won
    middle, spread = count * differing, math.sqrt(count * differing) + 1
    m = np.arange(max(0, math.floor(middle - 9 * spread)), min(count, math.ceil(middle + 9 * spread)) + 1)
    chances = binom.pmf(m, count, min(1.0, differing))
    return float((chances * binom.sf(_fewest_won(m, count, worthwhile) - 1, m, min(1.0, won / differing))).sum())


def _fewest_won(differing: IntArray, count: int, worthwhile: float) -> FloatArray:
    """The fewest won questions among `differing` (k,) of `count` that lead to the advice to introduce (k,).

    The interval lies above 0 if won - lost > t · √((m + 2) / (1 + t² / n)), with n = count + 2; it reaches `worthwhile`
    from the lower root of a quadratic equation on; and the exact test needs its own number.
    """
    level = (1 - CONFIDENCE) / 2
    n, quantile = count + 2, float(student.ppf(1 - level, max(1, count - 1)))
    k = quantile**2 / n
    above_zero = np.floor(quantile * np.sqrt((differing + 2) / (1 + k))) + 1
    discriminant = worthwhile**2 - (1 + k) * (worthwhile**2 - k * (differing + 2) / n)
    root = np.where(discriminant < 0, worthwhile, (worthwhile - np.sqrt(np.maximum(0, discriminant))) / (1 + k))
    net = np.maximum(above_zero, np.ceil(root * n))
    return np.maximum(np.ceil((differing + net) / 2), binom.isf(level, differing, 0.5) + 1)


def detectable_gain(
    questions: int, lost_rate: float, worthwhile: float = 0.0, design: float = 1.0, power: float = POWER
) -> float | None:
    """The smallest true gain, as a share, that a comparison advises to introduce with chance `power`.

    None if not even winning every question that is not lost would do.
    """
    low, high = 0.0, 1.0 - lost_rate
    if power_of(questions, lost_rate, high, worthwhile, design) < power:
        return None
    while high - low > 1e-4:
        middle = (low + high) / 2
        if power_of(questions, lost_rate, middle, worthwhile, design) < power:
            low = middle
        else:
            high = middle
    return high


def questions_needed(
    gain: float, lost_rate: float, worthwhile: float = 0.0, design: float = 1.0, power: float = POWER
) -> int | None:
    """The number of questions from which on a comparison finds a true gain with chance `power`; None above MOST."""
    low, high = 1, 4
    while power_of(high, lost_rate, gain, worthwhile, design) < power:
        low, high = high, 2 * high
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power_of(middle, lost_rate, gain, worthwhile, design) < power else (low, middle)
    return high if high <= MOST else None
