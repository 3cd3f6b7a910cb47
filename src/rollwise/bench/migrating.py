"""Upgrades the tables of a store to those of this version, without loss, by the migrations in `migrations/versions`.

Alembic's table `alembic_version` holds a store's version. Up to version 4, SQLite's `user_version` held it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollwise.bench.tables import Base
from rollwise.errors import InputError, MissingExtraError

try:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error

if TYPE_CHECKING:
    from sqlalchemy import Connection

OLDEST, FIRST_OF_ALEMBIC = 3, 5
_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, name: str) -> None:
    """Bring the tables of a store to this version: make them, upgrade them, or leave them as they are.

    All of it happens in the connection's transaction, under a lock, because other processes may open the store too.
    `name` stands for the store in messages. Raises InputError for a store that this version cannot read.
    """
    scripts = ScriptDirectory(str(_SCRIPTS))
    newest = scripts.get_current_head()
    if _version(connection, name) == newest:
        return
    _lock(connection)
    version = _version(connection, name)  # another process may have upgraded the store while this one waited
    if version == newest:
        return
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise InputError(f"{name} was written by another version of rollwise; use that version, or move the file away")
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is None:
        Base.metadata.create_all(connection)
        command.stamp(config, "head")
    else:
        command.stamp(config, version)
        command.upgrade(config, "head")
    _mark_for_older_versions(connection)


def _version(connection: Connection, name: str) -> str | None:
    """The version of a store; None if it has no tables yet."""
    version = MigrationContext.configure(connection).get_current_revision()
    if version is None and connection.dialect.name == "sqlite":
        number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        version = str(number) if number else None
    return version


def _lock(connection: Connection) -> None:
    """Let no other process write until the transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _mark_for_older_versions(connection: Connection) -> None:
    """Set the number by which rollwise 0.1.0 sees that it cannot read the store."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {FIRST_OF_ALEMBIC}")
