"""Small pure functions that several rooms share: keyed randomness, softmax and log-odds, cosine, and intervals."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from rollwise.core import FloatArray
from rollwise.errors import InputError

# Randomness


def keyed_generator(*parts: object) -> np.random.Generator:
    """Returns the random generator that a key names: equal parts give an equal stream, no matter what ran before.

    The parts are plain Python values and are compared by their repr. Their BLAKE2b hash (128 bits) becomes the key of
    the counter-based Philox generator. So streams of different keys are independent, and the order in which replies
    arrive does not matter.
    """
    digest = hashlib.blake2b("\x1f".join(map(repr, parts)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


# Softmax and log-odds


def softmax(values: FloatArray, temperature: float) -> FloatArray:
    """Returns the softmax of values / T along the last axis.

    At T = 0 the largest values share 1 evenly; T = inf gives the uniform distribution.
    """
    values = np.asarray(values, dtype=np.float64)
    below_largest = values - values.max(axis=-1, keepdims=True)
    weights = (below_largest == 0).astype(np.float64) if temperature == 0 else np.exp(below_largest / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)


def log_odds(chances: FloatArray, margin: float = 0.0) -> FloatArray:
    """Returns log(p / (1 - p)) of chances in [0, 1]; -inf at 0 and inf at 1.

    A chance closer than `margin` to 0 or 1 counts as that close, which keeps the log-odds finite.
    """
    inside = np.clip(chances, margin, 1 - margin)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def chances_of(logits: FloatArray) -> FloatArray:
    """Returns 1 / (1 + exp(-ℓ)), the chances whose log-odds are ℓ; the inverse of `log_odds`."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)


def shift_log_odds(chances: FloatArray, shift: FloatArray) -> FloatArray:
    """Returns the chances with `shift`, which is finite, added to their log-odds.

    Chances of 0 and 1 stay as they are, and so does a chance whose shift is 0, to the last bit.
    """
    return np.where(shift == 0, chances, chances_of(log_odds(chances) + shift))


# Linear algebra


def cosine_similarity(embeddings: FloatArray) -> FloatArray:
    """Returns the cosine of every pair of rows: (k, d) → (k, k), with a diagonal of exactly 1.

    Raises InputError if a row is all zeros.
    """
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


_ONE_THREAD = 2**18  # OpenBLAS stays in the calling thread up to this many multiplications


def products(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Returns the matrix product of (k, d) and (d, n), computed in the calling thread if that is possible.

    A second BLAS thread would wait for a core that the models keep busy, which costs a thousand times the
    multiplications. So the rows are multiplied a few at a time if that makes each product small enough for one thread.
    """
    few = _ONE_THREAD // max(1, columns.size)
    if few < 4 or len(rows) <= few:
        return rows @ columns
    return np.concatenate([rows[first : first + few] @ columns for first in range(0, len(rows), few)])


# Intervals

_BLOCK = 1 << 20  # how many values the bootstrap resamples at once, which bounds its memory


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns Wilson's score interval for a proportion; (0, 1) without trials.

    `successes` may be a sum of shares in [0, 1], with each trial contributing a share. The variance of a share is at
    most p(1 - p), so the interval is then too wide rather than too narrow.
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
    """Returns the percentile bootstrap's interval for the mean of `values` (n,), resampled with replacement.

    Given paired differences, this is the paired bootstrap. Raises InputError if there are no values.
    """
    if not len(values):
        raise InputError("there is nothing to resample; give at least one value")
    block = max(1, _BLOCK // len(values))
    sizes = (min(block, resamples - start) for start in range(0, resamples, block))
    means = [values[generator.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def bootstrap_intervals(
    columns: FloatArray, generator: np.random.Generator, confidence: float = 0.95, resamples: int = 10_000
) -> FloatArray:
    """Returns `bootstrap_interval` of each column of `columns` (n, m), as (m, 2).

    All columns are resampled together: a draw becomes how often each of the n values was drawn, and one matrix product
    gives the means of every column. So m columns cost little more than one. With a generator of the same key, column j
    has the interval that `bootstrap_interval` gives for it alone, up to the order of the sum.
    """
    count = len(columns)
    if not count:
        raise InputError("there is nothing to resample; give at least one value")
    block = max(1, _BLOCK // count)
    means = np.empty((resamples, columns.shape[1]))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        often = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = often.astype(np.float64) @ columns / count
    return np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0).T


def detectable_difference(differences: FloatArray, power: float = 0.8, level: float = 0.05) -> float | None:
    """Returns the smallest true mean that a two-sided test at `level` finds with chance `power`, given n differences.

    It is (z_{1 - level / 2} + z_power) · s / √n, with s the sample standard deviation of the differences (n,). None if
    fewer than two differences are given or all are equal, since s is then unknown.
    """
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    reach = _normal_quantile(1 - level / 2) + _normal_quantile(power)
    return reach * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
