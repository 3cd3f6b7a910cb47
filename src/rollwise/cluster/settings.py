"""Which Ray cluster to use, and what of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster and the workers to begin on it.

    `address` is that of a running cluster; None begins one on this machine for as long as the work takes, unless
    RAY_ADDRESS names one. `workers` is how many workers to begin; None begins as many as fit. Each worker takes one
    processor core and `gpus` GPUs, which may be a fraction.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0
