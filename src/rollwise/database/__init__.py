"""Opens databases: an SQLite file by its path, or PostgreSQL by its URL, with tables that upgrade themselves."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.database.aggregates import count_where, mean, share, total
    from rollwise.database.columns import Json, PlainText, Whole, storable
    from rollwise.database.opening import Database, UnreachableError, patiently, shown
    from rollwise.database.upgrading import Tables
    from rollwise.database.urls import is_server, is_url

_HOMES = {
    "aggregates": ("count_where", "mean", "share", "total"),
    "columns": ("Json", "PlainText", "Whole", "storable"),
    "opening": ("Database", "UnreachableError", "patiently", "shown"),
    "upgrading": ("Tables",),
    "urls": ("is_server", "is_url"),
}

__all__ = [
    "Database",
    "Json",
    "PlainText",
    "Tables",
    "UnreachableError",
    "Whole",
    "count_where",
    "is_server",
    "is_url",
    "mean",
    "patiently",
    "share",
    "shown",
    "storable",
    "total",
]

__getattr__ = exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
