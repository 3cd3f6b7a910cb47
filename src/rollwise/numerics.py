"""Small pure functions that the mathematics shares: keyed randomness, softmax, cosine, apportionment, intervals."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from rollwise.core import FloatArray
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
