"""The store of a service: searches and their events, the audit log, stages, and feedback.

It is an SQLite file or a PostgreSQL database (`rollwise.database`). Several processes may share it, on PostgreSQL from
several machines. A store of an older version is upgraded when it is opened.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rollwise.database import Database, storable
from rollwise.service.records import COLUMNS, Record, digest_of, now, record_digest
from rollwise.service.stages import Stage
from rollwise.service.tables import (
    TABLES,
    ChangeRow,
    EntryRow,
    EventsRow,
    FeedbackRow,
    SearchRow,
    SecretRow,
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


def new_mark() -> str:
    """What tells processes of the same number apart."""
    return uuid.uuid4().hex[:8]


def process_name(number: int, mark: str) -> str:
    """The name of a process of this machine in the store."""
    return f"{socket.gethostname()}-{number}-{mark}"


@dataclass(frozen=True)
class Given:
    """The answer of a search; `digested` if only its digest is kept."""

    route: str
    rule: str
    answer: str | None
    digested: bool
    grader: str


class Store:
    """A service's database. Each instance appends to a hash chain of its own, so processes share it without waiting.

    `place` is the path of an SQLite file or a URL; `there` refuses a database without a store. Raises InputError if it
    cannot be used. One thread at a time may write. `mark` ends the name of the process in the store.
    """

    def __init__(self, place: Path | str, there: bool = False, mark: str | None = None) -> None:
        self.database = Database(place, TABLES, "give another --store", there)
        self.session = self.database.session
        self.process = process_name(os.getpid(), mark or new_mark())
        self._number, self._head = 0, GENESIS
        self._sure = True

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    @contextmanager
    def _writing(self, alone: bool = False) -> Iterator[Session]:
        """A session that appends to the chain. If it fails, it is not known whether it was committed, so the next one
        looks where the chain ends.
        """
        with self.session(alone) as session:
            if not self._sure:
                self._number, self._head = self._end(session)
            self._sure = False
            yield session
        self._sure = True

    def _end(self, session: Session) -> tuple[int, str]:
        """The number and the hash of the last entry of this process."""
        wanted = select(EntryRow.number, EntryRow.hash).where(EntryRow.process == self.process)
        row = session.execute(wanted.order_by(EntryRow.number.desc()).limit(1)).first()
        return (0, GENESIS) if row is None else (row[0], row[1])

    def record(self, records: Sequence[Record]) -> None:
        """Write searches in one transaction, each with its entry in the audit log. One that this process has put on
        record, since an earlier try was committed after all, stays as it is.
        """
        with self._writing() as session:
            written = select(EntryRow.subject).where(EntryRow.subject.in_([each.id for each in records]))
            held = set(session.scalars(written.where(EntryRow.process == self.process)))
            new = [each for each in records if each.id not in held]
            rows = [{name: _storable(getattr(each, name)) for name in COLUMNS} for each in new]
            session.add_all(SearchRow(**values) for values in rows)
            session.flush()
            for each, values in zip(new, rows, strict=True):
                session.add(EventsRow(search_id=each.id, events=list(each.events)))
                if each.signals is not None:
                    session.add(SignalsRow(search_id=each.id, **vars(each.signals)))
                self._append(session, "search", each.id, record_digest(values))

    def note(self, kind: str, subject: str, facts: Mapping[str, Any]) -> None:
        """Write an entry about something that has no table of its own, such as a start."""
        with self._writing() as session:
            self._append(session, kind, subject, digest_of(facts))

    def _append(self, session: Session, kind: str, subject: str, digest: str) -> None:
        self._number += 1
        key = (self.process, self._number, now(), kind, subject, digest, self._head)
        self._head = entry_hash(*key)
        names = ("process", "number", "created", "kind", "subject", "digest", "before")
        session.add(EntryRow(**dict(zip(names, key, strict=True)), hash=self._head))

    def secret(self, name: str) -> str:
        """A secret that all processes of the store share, made by the first that asks."""
        new = {"name": name, "value": secrets.token_hex(32)}
        with self.session() as session:
            session.execute(self.database.insert(SecretRow).values(**new).on_conflict_do_nothing())
            return session.scalars(select(SecretRow.value).where(SecretRow.name == name)).one()

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
        with self._writing(alone=True) as session:
            row = session.get(StageRow, after.route)
            if row is not None and _stage(row) != before:
                return False
            values: dict[str, Any] = {
                "created": now(),
                "route": after.route,
                "kind": kind,
                "by": storable(by),
                "reason": storable(reason),
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
        kept = _storable(gold)
        with self._writing() as session:
            values = {"created": now(), "search_id": search_id, "client": client, "right": right, "gold": kept}
            feedback = FeedbackRow(**values)
            session.add(feedback)
            session.flush()
            self._append(session, "feedback", str(feedback.id), digest_of(values))

    def erase_texts(self, before: str) -> int:
        """Erase the kept texts of searches that began before a time; how many there were. Digests remain."""
        with self._writing(alone=True) as session:
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


def _storable(value: Any) -> Any:
    """A value of a column as it will be read again, so that its digest is that of what is kept."""
    return storable(value) if isinstance(value, str) else value
