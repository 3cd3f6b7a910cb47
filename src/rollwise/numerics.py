"""Small pure functions that the mathematics shares: keyed randomness, softmax, cosine, apportionment, intervals."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.errors import InputError


def keyed_generator(*parts: object) -> np.random.Generator:
    """The generator that a key names: equal parts, equal stream, whatever ran before.

    The key is hashed (BLAKE2b, 128 bits) into the counter-based Philox generator, so streams of different keys are
    independent and nothing is drawn in arrival order. Parts are plain Python values, told apart by their repr.
    """
    digest = hashlib.blake2b("\x1f".join(map(repr, parts)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def softmax(values: FloatArray, temperature: float) -> FloatArray:
    """The softmax of values / T along the last axis. T → 0 shares 1 among the largest; T = inf is uniform."""
    values = np.asarray(values, dtype=np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    weights = (shifted == 0).astype(np.float64) if temperature == 0 else np.exp(shifted / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)


def cosine_similarity(embeddings: FloatArray) -> FloatArray:
    """Cosine of every pair of rows: (k, d) → (k, k) with a diagonal of exactly 1. Raises InputError for a zero row."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    norms = np.sqrt(np.einsum("id,id->i", embeddings, embeddings))
    if not np.all(norms > 0):
        raise InputError("an embedding is all zeros and has no direction; leave that path out or embed its text again")
    similarity = products(embeddings, embeddings.T)
    similarity /= norms
    similarity /= norms[:, None]
    np.clip(similarity, -1.0, 1.0, out=similarity)
    similarity = (similarity + similarity.T) / 2
    np.fill_diagonal(similarity, 1.0)
    return similarity


_ONE_THREAD = 2**18  # multiplications up to which OpenBLAS keeps to the calling thread


def products(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """The matrix product of (k, d) and (d, n).

    Where a few rows at a time make work small enough for one thread, they go so: a second thread would have to wait for
    a core that the models keep busy, which costs a thousand times the multiplications.
    """
    few = _ONE_THREAD // max(1, columns.size)
    if few < 4 or len(rows) <= few:
        return rows @ columns
    return np.concatenate([rows[first : first + few] @ columns for first in range(0, len(rows), few)])


STEP_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda rewards: rewards[-1],
    "min": min,
    "product": math.prod,
    "mean": lambda rewards: math.fsum(rewards) / len(rewards),
}
"""How the rewards of a path's steps become the path's reward."""


# Apportionment: shares → integers that sum to the width. `shares` (k,) are non-negative and sum to the width; position
# is the last tie-break, so callers put the candidates in the order of a stable key first.

_EDGE = 1e-9  # shares come from floating point: 2.5 - 1e-16 has to round as 2.5 does


def largest_remainder(shares: FloatArray, width: int) -> IntArray:
    """Hamilton's method: every share rounded down, what is left over to the largest remainders.

    |count - share| < 1, and a heavier share never gets less. Ties go to the heavier share, then the earlier position.
    """
    counts = np.floor(shares + _EDGE).astype(np.int64)
    remainders = (shares - counts).round(9)
    order = np.lexsort((-shares.round(9), -remainders))  # stable
    missing = width - int(counts.sum())
    counts[order[:missing]] += 1
    return counts


def cumulative(shares: FloatArray, width: int, order: IntArray, offset: float = 0.5) -> IntArray:
    """Differences of ⌊cumulative share + offset⌋ along `order`.

    Every entry, and every contiguous run of entries, is within 1 of its share: a direction whose members each deserve
    less than one rollout still gets what they deserve together. With one uniform `offset` in [0, 1) this is systematic
    resampling, which is unbiased.
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
    """Divisor method with signposts s + offset: the next rollout goes to the largest share / (count + offset).

    Offset 0 is Adams, 1/2 Webster, 1 D'Hondt (Balinski and Young, Fair Representation, 1982). A common factor λ is
    bisected to just below the width, and a heap hands out the rest, ties to the heavier share, then
    the earlier position. Entries with no share get nothing.
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
    """What the paper's released code does, for reproduction only: round half to even, list the copies in order, cut the
    list's tail where it is too long, repeat its front where it is too short. Where every share rounds to nothing, the
    candidates themselves are the list.
    """
    copies = np.repeat(np.arange(len(shares)), np.round(shares).astype(np.int64))
    if not len(copies):
        copies = np.arange(len(shares))
    return np.bincount(np.resize(copies, width), minlength=len(shares)).astype(np.int64)


_DIVISOR = re.compile(r"divisor\((\d*\.?\d+)\)")
ROUNDINGS = ("cumulative", "largest_remainder", "systematic", "divisor(OFFSET)", "paper")


def check_rounding(name: str) -> None:
    """Raises InputError unless `name` is a rounding: see ROUNDINGS."""
    match = _DIVISOR.fullmatch(name)
    if match is None and name not in ROUNDINGS[:3] + ROUNDINGS[4:]:
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
    """Integer counts (k,) that sum to `width`, near width · weights / Σweights.

    `rounding` is one of ROUNDINGS; `order` (k,) lists the candidates with those of one direction side by side, and is
    read by the cumulative kinds; `generator` makes the generator that draws the offset of "systematic". Raises
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


_BLOCK = 1 << 20  # so many values are resampled at once, which bounds the memory


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion. (0, 1) without trials.

    `successes` may be a sum of shares in [0, 1], one a trial: their variance is at most p(1 - p), so the interval errs
    on the wide side.
    """
    if trials == 0:
        return 0.0, 1.0
    z = _normal_quantile(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(
    values: FloatArray, generator: np.random.Generator, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """The percentile bootstrap's interval for the mean of `values` (n,), which are drawn anew with replacement.

    Of paired differences it is the paired bootstrap. Raises InputError without values.
    """
    if not len(values):
        raise InputError("there is nothing to resample; give at least one value")
    block = max(1, _BLOCK // len(values))
    drawn = (min(block, resamples - start) for start in range(0, resamples, block))
    means = [values[generator.integers(len(values), size=(count, len(values)))].mean(axis=1) for count in drawn]
    low, high = np.quantile(np.concatenate(means), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def detectable_difference(differences: FloatArray, power: float = 0.8, level: float = 0.05) -> float | None:
    """The smallest true mean that a two-sided test at `level` would find with chance `power`, from n such differences.

    (z_{1 - level / 2} + z_power) · s / √n with s their sample standard deviation. None where that is unknown or 0:
    differences that are all alike say nothing of how much they vary.
    """
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    reach = _normal_quantile(1 - level / 2) + _normal_quantile(power)
    return reach * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
