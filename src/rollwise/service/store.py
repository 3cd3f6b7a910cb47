"""The SQLite file of a service: searches and their events, the audit log, stages, and feedback."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, event, func, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from rollwise.database import configure_sqlite
from rollwise.errors import InputError
from rollwise.service.records import COLUMNS, Record, digest_of, now, record_digest
from rollwise.service.stages import Stage
from rollwise.service.tables import (
    SCHEMA,
    Base,
    ChangeRow,
    EntryRow,
    EventsRow,
    FeedbackRow,
    SearchRow,
    SignalsRow,
    StageRow,
)

GENESIS = "0" * 64
"""What stands before the first entry of a process."""


def entry_hash(process: str, number: int, created: str, kind: str, subject: str, digest: str, before: str) -> str:
    """The hash of an entry: SHA-256 of its fields, joined by line breaks, the hash of the entry before it last."""
    return hashlib.sha256(
        "\n".join([process, str(number), created, kind, subject, digest, before]).encode()
    ).hexdigest()


@dataclass(frozen=True)
class Given:
    """The answer of a search; `digested` if only its digest is kept."""

    route: str
    rule: str
    answer: str | None
    digested: bool
    grader: str


class Store:
    """A service's file. Each instance appends to a hash chain of its own, so processes share a file without waiting.

    Raises InputError if the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.process = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._number, self._head = 0, GENESIS
        self._engine = create_engine(URL.create("sqlite", database=str(file)))
        event.listen(self._engine, "connect", configure_sqlite)
        with self.session() as session:
            connection = session.connection()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version not in (0, SCHEMA):
                raise InputError(f"{file} is no store of this version's service: move it away, or give another --store")
            Base.metadata.create_all(connection)  # a store of an earlier version lacks the signals and an index
            for index in SearchRow.__table__.indexes:  # type: ignore[attr-defined]
                index.create(connection, checkfirst=True)
            if version == 0:
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session with a single transaction. Raises InputError for errors of the database."""
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise InputError(f"{self.file} cannot be used as a store: {error.orig}; give another --store") from error

    def close(self) -> None:
        """Close the connections to the file."""
        self._engine.dispose()

    def record(self, records: Sequence[Record]) -> None:
        """Write searches in one transaction, each with its entry in the audit log."""
        number, head = self._number, self._head
        try:
            with self.session() as session:
                for each in records:
                    values = {name: getattr(each, name) for name in COLUMNS}
                    session.add(SearchRow(**values))
                    session.flush()
                    session.add(EventsRow(search_id=each.id, events=list(each.events)))
                    if each.signals is not None:
                        session.add(SignalsRow(search_id=each.id, **vars(each.signals)))
                    self._append(session, "search", each.id, record_digest(values))
        except BaseException:
            self._number, self._head = number, head
            raise

    def note(self, kind: str, subject: str, facts: Mapping[str, Any]) -> None:
        """Write an entry about something that has no table of its own, such as a start."""
        with self.session() as session:
            self._append(session, kind, subject, digest_of(facts))

    def _append(self, session: Session, kind: str, subject: str, digest: str) -> None:
        self._number += 1
        key = (self.process, self._number, now(), kind, subject, digest, self._head)
        self._head = entry_hash(*key)
        names = ("process", "number", "created", "kind", "subject", "digest", "before")
        session.add(EntryRow(**dict(zip(names, key, strict=True)), hash=self._head))

    def stages(self) -> dict[str, Stage]:
        """Where each route stands that has ever changed."""
        with self.session() as session:
            return {row.route: _stage(row) for row in session.scalars(select(StageRow))}

    def forced(self) -> dict[str, int]:
        """How often each route was advanced without a passed gate."""
        wanted = select(ChangeRow.route, func.count()).where(ChangeRow.kind == "forced").group_by(ChangeRow.route)
        with self.session() as session:
            counts: dict[str, int] = dict(session.execute(wanted).all())
            return counts

    def change(
        self, before: Stage, after: Stage, kind: str, by: str, reason: str, evidence: Mapping[str, Any] | None = None
    ) -> bool:
        """Change a route's stage if it still is `before`, and audit it. Returns whether it was changed.

        `kind` is advance, forced, revert or fallback.
        """
        with self.session() as session:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            row = session.get(StageRow, after.route)
            if row is not None and _stage(row) != before:
                return False
            values = {
                "created": now(),
                "route": after.route,
                "kind": kind,
                "by": by,
                "reason": reason,
                "before": asdict(before),
                "after": asdict(after),
                "evidence": dict(evidence or {}),
            }
            change = ChangeRow(**values)
            session.add(change)
            session.flush()
            session.merge(StageRow(**asdict(after), change=change.id))
            self._append(session, f"stage {kind}", str(change.id), digest_of(values))
            return True

    def answer(self, search_id: str, client: str) -> Given | None:
        """The answer that a client got from a search; None if it got none with that id."""
        with self.session() as session:
            row = session.get(SearchRow, search_id)
            if row is None or row.client != client:
                return None
            digested = row.answer is not None and row.answer.startswith("sha256:")
            return Given(row.route, row.rule, row.answer, digested, str(row.config["grader"]))

    def has_events(self, search_id: str) -> bool:
        """Whether events of a search are kept."""
        with self.session() as session:
            return session.scalar(select(EventsRow.search_id).where(EventsRow.search_id == search_id)) is not None

    def feed_back(self, search_id: str, client: str, right: bool, gold: str | None) -> None:
        """Write what a client says of an answer."""
        with self.session() as session:
            values = {"created": now(), "search_id": search_id, "client": client, "right": right, "gold": gold}
            feedback = FeedbackRow(**values)
            session.add(feedback)
            session.flush()
            self._append(session, "feedback", str(feedback.id), digest_of(values))

    def erase_texts(self, before: str) -> int:
        """Erase the kept texts of searches that began before a time; how many there were. Digests remain."""
        with self.session() as session:
            rows = session.scalars(select(SearchRow).where(SearchRow.began < before, SearchRow.text.is_not(None))).all()
            old = [row for row in rows if row.text is not None]
            for row in old:
                row.text = None
                kept = session.get(EventsRow, row.id)
                if kept is not None:
                    session.delete(kept)
            if old:
                self._append(session, "erasure", before, digest_of([row.id for row in old]))
            return len(old)

    def counts(self) -> dict[str, int]:
        """How many searches, entries and feedbacks there are."""
        with self.session() as session:
            tables = {"searches": SearchRow, "entries": EntryRow, "feedback": FeedbackRow}
            return {
                name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables.items()
            }


def _stage(row: StageRow) -> Stage:
    return Stage(row.route, row.current, row.candidate, row.stage, row.percent)  # type: ignore[arg-type]
