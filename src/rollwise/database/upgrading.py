"""Brings the tables of a database to this version, without loss, by Alembic's migrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollwise.errors import InputError, MissingExtraError

try:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import MetaData, text
    from sqlalchemy.schema import CreateSchema
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Tables:
    """A set of tables: its schema on PostgreSQL, its models, and the folder of its migrations.

    `numbered` is the first version that Alembic's table holds. SQLite files of earlier versions hold theirs in
    `user_version`; 0 if there are no such versions.
    """

    schema: str
    models: MetaData
    migrations: Path
    numbered: int = 0


def upgrade(connection: Connection, name: str, tables: Tables, there: bool = False) -> None:
    """Bring tables to this version: make them, upgrade them, or leave them as they are.

    All of it happens in the connection's transaction, under a lock, because other processes may open the database too.
    `name` stands for the database in messages. Raises InputError for tables that this version cannot read, and with
    `there` if there are none.
    """
    scripts = ScriptDirectory(str(tables.migrations))
    newest = scripts.get_current_head()
    version = _version(connection)
    if version == newest:
        return
    if version is None and there:
        raise InputError(f"{name} holds no store: give another --store")
    lock(connection)
    _make_schema(connection, tables.schema)
    version = _version(connection)  # another process may have upgraded the tables while this one waited
    if version == newest:
        return
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise InputError(f"{name} was written by another version of rollwise; use that version, or give another store")
    config = Config()
    config.set_main_option("script_location", str(tables.migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is None:
        tables.models.create_all(connection)
        command.stamp(config, "head")
    else:
        command.stamp(config, version)
        command.upgrade(config, "head")
    _mark_for_older_versions(connection, tables.numbered)


def lock(connection: Connection) -> None:
    """Let no other process that asks for this lock go on until the transaction ends; on SQLite nobody else writes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('rollwise ' || current_setting('search_path')))")
        )


def _version(connection: Connection) -> str | None:
    """The version of the tables; None if there are none yet."""
    version = MigrationContext.configure(connection).get_current_revision()
    if version is None and connection.dialect.name == "sqlite":
        number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        version = str(number) if number else None
    return version


def _make_schema(connection: Connection, schema: str) -> None:
    """Make the schema if PostgreSQL has none of that name."""
    if connection.dialect.name == "postgresql":
        found = connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :schema"), {"schema": schema})
        if found is None:
            connection.execute(CreateSchema(schema))


def _mark_for_older_versions(connection: Connection, number: int) -> None:
    """Set the number by which a version without Alembic sees that it cannot read an SQLite file."""
    if connection.dialect.name == "sqlite" and number:
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
