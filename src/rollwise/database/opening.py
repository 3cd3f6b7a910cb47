"""Opens SQLite files and PostgreSQL databases in the same way, and keeps passwords out of what is shown."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rollwise.errors import InputError, MissingExtraError

try:
    from sqlalchemy import URL, create_engine, event, make_url
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, TimeoutError
    from sqlalchemy.orm import Session
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error

from rollwise.database.upgrading import Tables, lock, upgrade
from rollwise.database.urls import EXAMPLE, is_url

if TYPE_CHECKING:
    from sqlalchemy import Engine

Result = TypeVar("Result")
_ATTEMPTS = 100
_LONGEST_CONNECT = 10  # seconds
_PASSING = (OperationalError, InterfaceError, TimeoutError)
_LASTING = ("disk is full", "No space left", "readonly database", "read-only")
"""What messages of errors say that trying again does not mend."""
_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class UnreachableError(InputError):
    """The database does not answer now, or is busy; the same may succeed later."""


def patiently(work: Callable[[], Result], seconds: float = 15.0, pause: float = 0.25) -> Result:
    """The result of work that may be done twice, tried again for some seconds while the database does not answer, as a
    server that is started again. Raises what it raises, UnreachableError after that time.
    """
    ends = time.monotonic() + seconds
    while True:
        try:
            return work()
        except UnreachableError:
            if time.monotonic() > ends:
                raise
            time.sleep(pause)


def shown(place: Path | str) -> str:
    """A place as messages show it: a URL with *** for its password. Raises InputError for a URL that is not usable."""
    return _url(place).render_as_string(hide_password=True) if is_url(place) else str(place)


class Database:
    """A database with one set of tables, which are made or upgraded when it is opened.

    `place` is the path of an SQLite file, or a URL like postgresql+psycopg://user@host/name. A password that the URL
    leaves out comes from PGPASSWORD or a passfile. On PostgreSQL the tables lie in a schema of their own, so that
    several sets of tables can share a database. `instead` ends a message about a place that cannot be used. With
    `there` no tables are made where there are none. Raises InputError for a place that cannot be used, and for tables
    of a newer version.
    """

    def __init__(
        self, place: Path | str, tables: Tables, instead: str = "give another store", there: bool = False
    ) -> None:
        self.name, self._instead = shown(place), instead
        self._engine = _open(_url(place), tables.schema)
        with self.session() as session:
            upgrade(session.connection(), self.name, tables, there)

    @contextmanager
    def session(self, alone: bool = False) -> Iterator[Session]:
        """A session with a single transaction; `alone` keeps other such transactions waiting until it ends.

        Raises InputError for errors of the database, UnreachableError for those that may pass.
        """
        try:
            with Session(self._engine) as session, session.begin():
                if alone:
                    lock(session.connection())
                yield session
        except (DBAPIError, TimeoutError) as error:
            told = " ".join(str(getattr(error, "orig", error)).split())
            passing = isinstance(error, _PASSING) and not any(stays in told for stays in _LASTING)
            kind = UnreachableError if passing else InputError
            raise kind(f"{self.name} cannot be used as a store: {told}; {self._instead}") from None

    @property
    def on_server(self) -> bool:
        """Whether a server holds the database, and not a file."""
        return self._engine.dialect.name != "sqlite"

    def insert(self, table: Any) -> Any:
        """An INSERT into a table that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return _INSERTS[self._engine.dialect.name](table)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _url(place: Path | str) -> URL:
    """The URL of a place. Messages about it never repeat it, because it may hold a password."""
    if not is_url(place):
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(str(place))
    except (ArgumentError, ValueError):
        raise InputError(
            "the URL of the store cannot be read; write it like postgresql+psycopg://user@host/name"
        ) from None
    kind = url.get_backend_name()
    if kind not in _INSERTS:
        raise InputError(f"a store is an SQLite file or PostgreSQL, not {kind}: {EXAMPLE}")
    if any("password" in name.lower() for name in url.query):
        raise InputError("a password among the parameters of a store's URL would be shown; put it into PGPASSWORD")
    return url.set(drivername="postgresql+psycopg") if kind == "postgresql" else url


def _open(url: URL, schema: str) -> Engine:
    """An engine whose connections are set up alike."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url)
        event.listen(engine, "connect", _configure_sqlite)
        return engine
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtraError("a store on PostgreSQL", "postgres") from None
    defaults = {"connect_timeout": _LONGEST_CONNECT, "application_name": "rollwise"}
    given = {name: value for name, value in defaults.items() if name not in url.query}
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=given)

    def configure(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('search_path', %s, false), set_config('application_name', 'rollwise', false)",
                (schema,),
            )
        connection.commit()

    event.listen(engine, "connect", configure, insert=True)
    return engine


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Set up a connection: a write-ahead log, so that readers never wait, and a time limit for waiting writers."""
    for pragma in ("busy_timeout = 30000", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:  # SQLite does not wait here if another connection makes the same switch
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.05)
        else:
            return
