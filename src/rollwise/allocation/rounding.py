"""Apportionment turns shares into whole counts that sum to the width.

`shares` (k,) are non-negative and sum to the width. The last tie-break is the position, so callers first sort the
candidates by a stable key.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError

_EDGE = 1e-9  # shares carry rounding errors: 2.5 - 1e-16 has to round as 2.5 does


def largest_remainder(shares: FloatArray, width: int) -> IntArray:
    """Returns the counts (k,) of Hamilton's method: shares rounded down, then one more for the largest remainders.

    |count - share| < 1, and a heavier share never gets less. Ties go to the heavier share, then the earlier position.
    """
    counts = np.floor(shares + _EDGE).astype(np.int64)
    remainders = (shares - counts).round(9)
    order = np.lexsort((-shares.round(9), -remainders))  # stable
    missing = width - int(counts.sum())
    counts[order[:missing]] += 1
    return counts


def cumulative(shares: FloatArray, width: int, order: IntArray, offset: float = 0.5) -> IntArray:
    """Returns the counts (k,) that are differences of ⌊cumulative share + offset⌋ along `order` (k,).

    Every entry, and every contiguous run of entries, is within 1 of its share. So a direction gets what its members
    deserve together, even if each deserves less than one rollout. With one uniform `offset` in [0, 1) this is
    systematic resampling, which is unbiased.
    """
    total = shares[order].cumsum()
    total *= width / total[-1] if total[-1] > 0 else 0.0
    edges = np.minimum(np.floor(total + offset + _EDGE).astype(np.int64), width)
    edges[-1] = width
    counts = np.zeros(len(shares), dtype=np.int64)
    counts[order] = edges
    counts[order[1:]] -= edges[:-1]
    return counts


def divisor(shares: FloatArray, width: int, offset: float) -> IntArray:
    """Returns the counts (k,) of the divisor method with signposts s + offset.

    The next rollout goes to the largest share / (count + offset). Offset 0 is Adams, 1/2 Webster, 1 D'Hondt (Balinski
    and Young, Fair Representation, 1982). A bisection brings a common factor to just below the width, and a heap hands
    out the rest. Ties go to the heavier share, then to the earlier position. Entries with a share of 0 get nothing.
    """
    counts = np.zeros(len(shares), dtype=np.int64)
    live = np.flatnonzero(shares > 0)
    weights = shares[live]

    def seats(factor: float) -> IntArray:
        return np.maximum(np.ceil(weights / factor * (1 - 1e-12) - offset), 0).astype(np.int64)

    low, high = 0.0, float(weights.max()) / max(offset, _EDGE) + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if seats(middle).sum() > width else (low, middle)
    counts[live] = seats(high)
    if counts.sum() > width:
        counts[:] = 0

    def quotient(index: int) -> float:
        below = float(counts[index]) + offset
        return -math.inf if below == 0 else -round(float(shares[index]) / below, 12)

    heap = [(quotient(index), -float(shares[index]), index) for index in map(int, live)]
    heapq.heapify(heap)
    for _ in range(width - int(counts.sum())):
        _, weight, index = heapq.heappop(heap)
        counts[index] += 1
        heapq.heappush(heap, (quotient(index), weight, index))
    return counts


def paper_rounding(shares: FloatArray, width: int) -> IntArray:
    """Returns the counts (k,) of the paper's released code, for reproduction only.

    Shares are rounded half to even, and the copies are listed in order. If the list is too long its tail is cut; if it
    is too short its front is repeated. If every share rounds to 0, the candidates themselves are the list.
    """
    copies = np.repeat(np.arange(len(shares)), np.round(shares).astype(np.int64))
    if not len(copies):
        copies = np.arange(len(shares))
    return np.bincount(np.resize(copies, width), minlength=len(shares)).astype(np.int64)


_DIVISOR = re.compile(r"divisor\((\d*\.?\d+)\)")
_NAMED = ("cumulative", "largest_remainder", "systematic", "paper")
ROUNDINGS = (*_NAMED, "divisor(OFFSET)")
"""The roundings by name; OFFSET stands for a number."""


def check_rounding(name: str) -> None:
    """Raises InputError unless `name` is one of ROUNDINGS."""
    match = _DIVISOR.fullmatch(name)
    if match is None and name not in _NAMED:
        raise InputError(f"no rounding is called {name!r}; there are: {', '.join(ROUNDINGS)}, e.g. divisor(0.5)")
    if match is not None and not 0 <= float(match[1]) <= 1:
        raise InputError(f"{name}: the offset of a divisor method lies in [0, 1]: 0 Adams, 0.5 Webster, 1 D'Hondt")


def apportion(
    weights: FloatArray,
    width: int,
    rounding: str,
    order: IntArray,
    generator: Callable[[], np.random.Generator] | None = None,
) -> IntArray:
    """Returns integer counts (k,) that sum to `width` and are close to width · weights / Σweights.

    `rounding` is one of ROUNDINGS. `order` (k,) lists the candidates with those of one direction side by side; only the
    cumulative roundings read it. `generator` makes the generator that draws the offset of "systematic". Raises
    InputError for an unknown rounding.
    """
    check_rounding(rounding)
    if width == 0:
        return np.zeros(len(weights), dtype=np.int64)
    weights = np.ldexp(weights, -math.frexp(weights.max())[1])  # exact: only the ratios matter
    shares = weights * (width / weights.sum())
    if rounding == "largest_remainder":
        return largest_remainder(shares, width)
    if rounding == "cumulative":
        return cumulative(shares, width, order)
    if rounding == "systematic":
        if generator is None:
            raise InputError("systematic rounding is random: give a seed")
        return cumulative(shares, width, order, offset=float(generator().random()) * (1 - 2 * _EDGE))
    if rounding == "paper":
        return paper_rounding(shares, width)
    match = _DIVISOR.fullmatch(rounding)
    assert match is not None
    return divisor(shares, width, float(match[1]))
