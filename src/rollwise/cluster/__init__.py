"""Shares independent tasks among the workers of a Ray cluster, and gives the tasks of a lost worker to another."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.cluster.pool import Lost, ray_connection, ray_workers, run_on_ray
    from rollwise.cluster.settings import Cluster

__all__ = ["Cluster", "Lost", "ray_connection", "ray_workers", "run_on_ray"]

__getattr__ = exports(
    __name__,
    {
        "Cluster": "settings",
        "Lost": "pool",
        "ray_connection": "pool",
        "ray_workers": "pool",
        "run_on_ray": "pool",
    },
)
