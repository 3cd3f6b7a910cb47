"""Shares independent tasks among the workers of a Ray cluster, and gives the tasks of a lost worker to another."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.cluster.pool import Lost, run_on_ray
    from rollwise.cluster.settings import Cluster

__all__ = ["Cluster", "Lost", "run_on_ray"]

__getattr__ = exports(__name__, {"Cluster": "settings", "Lost": "pool", "run_on_ray": "pool"})
