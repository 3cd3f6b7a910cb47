"""How far figures have moved from what they were at first: the calibration of rewards, and the questions."""

from __future__ import annotations

import numpy as np

from rollwise.core import FloatArray

_BINS = 5
_TENTHS = np.linspace(0, 1, 11)[1:-1]


def calibration_error(rewards: FloatArray, rights: FloatArray, bins: int = _BINS) -> float:
    """The expected calibration error of rewards (n,) against what came of them (n,), 1 for right.

    Σ_b n_b / n · |mean reward − share of right| over `bins` of equally many rewards, in order. A finite sample makes it
    larger than it is, so compare only errors of equally many.
    """
    order = np.argsort(rewards, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    gaps = [len(group) * abs(rewards[group].mean() - rights[group].mean()) for group in groups]
    return float(sum(gaps) / len(rewards))


def stability_index(reference: FloatArray, latest: FloatArray) -> float:
    """The population stability index Σ_b (q_b − p_b) ln(q_b / p_b) of `latest` (m,) against `reference` (n,).

    The bins are the tenths of the reference; p and q are the shares of both in them, with half a value added to each
    bin so that none is 0. Below .1 is usually read as no change, above .25 as a large one.
    """
    edges = np.unique(np.quantile(reference, _TENTHS, method="inverted_cdf"))
    shares = []
    for values in (reference, latest):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    before, after = shares
    return float(((after - before) * np.log(after / before)).sum())
