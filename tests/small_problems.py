"""Small problems that tests of several rooms share: every way to hand out rollouts, and similarities in blocks."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from rollwise.core import FloatArray, IntArray


@functools.cache
def compositions(size: int, width: int) -> IntArray:
    """Returns every way (n, size) to hand out `width` rollouts."""
    if size == 1:
        return np.array([[width]])
    parts = [(first, compositions(size - 1, width - first)) for first in range(width + 1)]
    return np.concatenate([np.column_stack([np.full(len(rest), first), rest]) for first, rest in parts])


def blocks(labels: Sequence[int], across: float, within: float = 1.0) -> FloatArray:
    """Returns a similarity (k, k): cosine `within` among the members of a direction, `across` between directions."""
    similarity = np.where(np.equal.outer(labels, labels), within, across)
    np.fill_diagonal(similarity, 1.0)
    return similarity
