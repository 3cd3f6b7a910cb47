"""The places of searches in a store that several processes serve from: one order of arrival, one limit.

A search enters with the next number. It may run as soon as fewer searches than the limit have a lower number, and it
leaves when it ends. The places of a process that has not said for LEASE seconds that it serves do not count.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Double, cast, delete, func, literal, select
from sqlalchemy.orm import Session

from rollwise.service.store import Store
from rollwise.service.tables import PlaceRow, ProcessRow

LEASE = 10.0
_FORGOTTEN = 60.0
"""Seconds after which the places of a silent process are deleted."""


@dataclass(frozen=True)
class Standing:
    """How many searches run or wait at all processes, and the first number that has to wait; None if none has. Of two
    standings that a process has seen, the later one has the larger `order`.
    """

    count: int = 0
    first_waiting: int | None = None
    order: int = 0

    def admits(self, number: int) -> bool:
        """Whether a search with this number may run."""
        return self.first_waiting is None or number < self.first_waiting


class Places:
    """The places that one process takes in a store, with `searches` at once and `queue` waiting at all processes.

    Its methods wait for the database; one thread at a time may call them. They raise InputError for its errors.
    """

    def __init__(self, store: Store, searches: int, queue: int) -> None:
        self.store, self.searches, self.queue = store, searches, queue
        self._held: set[int] = set()
        self._order = 0

    def enter(self) -> tuple[int | None, Standing]:
        """The number of a new search, None if so many wait already, and the standing then."""
        with self.store.session(alone=True) as session:
            self._say(session)
            standing = self._standing(session)
            if standing.count >= self.searches + self.queue:
                return None, standing
            row = PlaceRow(process=self.store.process)
            session.add(row)
            session.flush()
            number = row.number
        self._held.add(number)
        first = standing.first_waiting
        if first is None and standing.count >= self.searches:
            first = number
        return number, Standing(standing.count + 1, first, standing.order)

    def leave(self, number: int) -> Standing:
        """Give a place up; the standing then. A place that could not be given up is, with the next `look`."""
        self._held.discard(number)
        with self.store.session() as session:
            session.execute(self._mine().where(PlaceRow.number == number))
            return self._standing(session)

    def look(self) -> Standing:
        """The standing now. It also says that this process serves, and clears what is left of those that do not."""
        with self.store.session() as session:
            self._say(session)
            session.execute(self._mine().where(PlaceRow.number.not_in(sorted(self._held))))
            session.execute(delete(ProcessRow).where(ProcessRow.beat < self._clock() - _FORGOTTEN))
            session.execute(delete(PlaceRow).where(PlaceRow.process.not_in(select(ProcessRow.process))))
            return self._standing(session)

    def glance(self) -> Standing:
        """The standing now, and nothing else."""
        with self.store.session() as session:
            return self._standing(session)

    def withdraw(self) -> None:
        """Give up all places; this process does not serve any more."""
        self._held.clear()
        clear(self.store, self.store.process)

    def _mine(self) -> Any:
        return delete(PlaceRow).where(PlaceRow.process == self.store.process)

    def _say(self, session: Session) -> None:
        """Put down that this process serves."""
        saying = self.store.database.insert(ProcessRow).values(process=self.store.process, beat=self._clock())
        session.execute(saying.on_conflict_do_update(index_elements=["process"], set_={"beat": saying.excluded.beat}))

    def _clock(self) -> ColumnElement[float]:
        """The time in seconds: by the server, since machines' clocks differ, or by the machine that holds the file."""
        if self.store.database.on_server:
            return cast(func.extract("epoch", func.clock_timestamp()), Double)
        return literal(time.time(), Double)

    def _standing(self, session: Session) -> Standing:
        serving = select(ProcessRow.process).where(ProcessRow.beat >= self._clock() - LEASE)
        counted = PlaceRow.process.in_(serving)
        count = session.scalar(select(func.count()).select_from(PlaceRow).where(counted)) or 0
        self._order += 1
        if count <= self.searches:
            return Standing(count, None, self._order)
        waiting = select(PlaceRow.number).where(counted).order_by(PlaceRow.number).offset(self.searches).limit(1)
        return Standing(count, session.scalar(waiting), self._order)


def clear(store: Store, process: str) -> None:
    """Give up all places of a process that has ended."""
    with store.session() as session:
        session.execute(delete(PlaceRow).where(PlaceRow.process == process))
        session.execute(delete(ProcessRow).where(ProcessRow.process == process))
