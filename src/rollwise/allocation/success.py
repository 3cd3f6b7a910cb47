"""The chance that an allocation ends with at least one right path, given a belief about its candidates."""

from __future__ import annotations

import math

import numpy as np

from rollwise.allocation.failure import check_belief, direction_log_failure
from rollwise.core import Belief, IntArray
from rollwise.directions import pool
from rollwise.numerics import shift_log_odds


def success_chance(belief: Belief, counts: IntArray, labels: IntArray | None = None) -> float:
    """Returns 1 - Π_j E[all rollouts of direction j fail]: the objective that `optimal_directions` maximises.

    `counts` (k,) are the rollouts of each candidate, `labels` (k,) their directions; None puts each candidate in one of
    its own. A direction has one mean and one concentration, pooled from its members. Rollouts that `belief.spent`
    counts are known to have failed. Raises InputError if the belief is not about these candidates.
    """
    check_belief(belief, len(counts))
    named = np.arange(len(counts)) if labels is None else np.unique(labels, return_inverse=True)[1].reshape(-1)
    spent = np.zeros(len(counts), dtype=np.int64) if belief.spent is None else belief.spent
    sizes = np.bincount(named)
    mean, concentration = pool(belief.mean, belief.concentration, named)
    if belief.size_exponent:
        mean = shift_log_odds(mean, belief.size_exponent * (np.log(sizes) - np.log(sizes).mean()))
    failure = 0.0
    for label in range(len(sizes)):
        members = named == label
        law = float(mean[label]), float(concentration[label]), belief.correlation
        past = direction_log_failure(*law, spent[members].tolist())
        failure += direction_log_failure(*law, (spent + counts)[members].tolist()) - past
    return -math.expm1(failure)
