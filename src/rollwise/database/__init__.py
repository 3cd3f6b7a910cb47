"""Opens databases: an SQLite file by its path, or PostgreSQL by its URL, with tables that upgrade themselves."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.database.columns import Json, PlainText, Whole
    from rollwise.database.opening import Database, configure_sqlite, shown
    from rollwise.database.upgrading import Tables
    from rollwise.database.urls import is_url

__all__ = ["Database", "Json", "PlainText", "Tables", "Whole", "configure_sqlite", "is_url", "shown"]

__getattr__ = exports(
    __name__,
    {
        "Database": "opening",
        "Json": "columns",
        "PlainText": "columns",
        "Tables": "upgrading",
        "Whole": "columns",
        "configure_sqlite": "opening",
        "is_url": "urls",
        "shown": "opening",
    },
)
