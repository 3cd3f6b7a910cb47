"""Reading the store: searches by id and by page, figures of routes, the audit log and its check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from rollwise.database import count_where, mean, share, total
from rollwise.errors import InputError
from rollwise.service.records import COLUMNS, digest_of, record_digest
from rollwise.service.store import GENESIS, Store, entry_hash
from rollwise.service.tables import ChangeRow, EntryRow, EventsRow, FeedbackRow, SearchRow

_LISTED = (
    *("id", "began", "client", "route", "rule", "stage", "purpose", "strategy", "budget", "outcome", "error"),
    *("answer", "support", "confidence", "spent", "saved", "rounds", "seconds", "generated", "money", "agrees"),
    *("moved", "right", "beside"),
)
FILTERS = ("route", "rule", "stage", "purpose", "outcome", "client", "strategy", "beside")


def search_record(store: Store, id_: str) -> dict[str, Any]:
    """A search with all that is kept of it, its events and its feedback. Raises InputError for no such id."""
    with store.session() as session:
        row = session.get(SearchRow, id_)
        if row is None:
            raise InputError(f"no search has the id {id_!r}: `rollwise audit list` lists them")
        events = session.get(EventsRow, id_)
        said = session.scalars(select(FeedbackRow).where(FeedbackRow.search_id == id_)).all()
        feedback = [{name: getattr(each, name) for name in ("created", "client", "right", "gold")} for each in said]
        kept = {"events": None if events is None else events.events, "feedback": feedback}
        return {name: getattr(row, name) for name in COLUMNS} | kept


def search_audit(store: Store, id_: str) -> dict[str, Any] | None:
    """The entry of the audit log about a search, with `faults`, a sentence for each thing that does not match it; None
    if there is none.
    """
    with store.session() as session:
        entry = session.scalar(select(EntryRow).where(EntryRow.subject == id_, EntryRow.kind == "search"))
        if entry is None:
            return None
        faults = _search_faults(entry, session.get(SearchRow, id_), session.get(EventsRow, id_))
        key = (entry.process, entry.number, entry.created, entry.kind, entry.subject, entry.digest, entry.before)
        if entry_hash(*key) != entry.hash:
            faults.append("the hash of its entry is wrong")
        return _entry(entry) | {"faults": faults}


def choices(store: Store) -> dict[str, list[str]]:
    """The values that searches can be filtered by."""
    with store.session() as session:
        return {
            name: sorted(session.scalars(select(getattr(SearchRow, name)).distinct()))
            for name in FILTERS
            if name != "beside"
        }


def search_page(
    store: Store, page: int = 0, size: int = 50, filters: Mapping[str, Any] | None = None
) -> tuple[list[dict[str, Any]], int]:
    """A page of searches without events, the newest first, and how many there are in all.

    `filters` may name route, rule, stage, purpose, outcome, client, strategy and beside, each with one value. Raises
    InputError for any other filter.
    """
    filters = filters or {}
    if unknown := sorted(set(filters) - set(FILTERS)):
        raise InputError(f"searches cannot be filtered by {unknown[0]!r}, only by {', '.join(FILTERS)}")
    where = [getattr(SearchRow, name) == value for name, value in filters.items()]
    wanted = select(*(getattr(SearchRow, name) for name in _LISTED)).where(*where)
    wanted = wanted.order_by(SearchRow.began.desc(), SearchRow.id).limit(size).offset(page * size)
    with store.session() as session:
        rows = [dict(row) for row in session.execute(wanted).mappings()]
        return rows, session.scalar(select(func.count()).select_from(SearchRow).where(*where)) or 0


def changes(store: Store, route: str | None = None) -> list[dict[str, Any]]:
    """The changes of stages, the newest first; of one route, if it is named."""
    names = ("id", "created", "route", "kind", "by", "reason", "before", "after", "evidence")
    wanted = select(ChangeRow).order_by(ChangeRow.id.desc())
    if route is not None:
        wanted = wanted.where(ChangeRow.route == route)
    with store.session() as session:
        return [{name: getattr(row, name) for name in names} for row in session.scalars(wanted)]


def figures(store: Store, route: str, since: str = "") -> dict[str, Any]:
    """The figures of a route's searches that began at `since` or later: by rule and purpose, the number of searches and
    means; and the share of judged answers that clients found right.
    """
    wanted = (
        select(
            SearchRow.rule,
            SearchRow.purpose,
            func.count().label("searches"),
            count_where(SearchRow.outcome == "failed").label("failed"),
            count_where(SearchRow.answer.is_(None)).label("without_answer"),
            mean(SearchRow.seconds).label("seconds"),
            mean(SearchRow.generated).label("generated"),
            mean(SearchRow.support).label("support"),
            share(SearchRow.agrees).label("agreement"),
            mean(SearchRow.moved).label("moved"),
            share(SearchRow.right).label("right"),
            func.sum(SearchRow.money).label("money"),
            total(SearchRow.saved).label("saved"),
        )
        .where(SearchRow.route == route, SearchRow.began >= since)
        .group_by(SearchRow.rule, SearchRow.purpose)
    )
    judged = (
        select(SearchRow.rule, func.count().label("judged"), share(FeedbackRow.right).label("right"))
        .join(FeedbackRow, FeedbackRow.search_id == SearchRow.id)
        .where(SearchRow.route == route, SearchRow.began >= since)
        .group_by(SearchRow.rule)
    )
    with store.session() as session:
        rows = [dict(row) for row in session.execute(wanted).mappings()]
        feedback = [dict(row) for row in session.execute(judged).mappings()]
    return {"route": route, "rules": rows, "feedback": feedback}


def exported(store: Store) -> Iterator[dict[str, Any]]:
    """The audit log, oldest first: each entry with its search, if it is about one; then the head of each process."""
    with store.session() as session:
        wanted = select(EntryRow).order_by(EntryRow.created, EntryRow.process, EntryRow.number)
        for entry in session.scalars(_in_parts(wanted)):
            row = session.get(SearchRow, entry.subject) if entry.kind == "search" else None
            search = {} if row is None else {"search": {name: getattr(row, name) for name in COLUMNS}}
            yield _entry(entry) | search
    yield {"heads": heads(store)}


def _in_parts(wanted: Any) -> Any:
    """A query whose rows are read in parts, since a log may be larger than the memory."""
    return wanted.execution_options(yield_per=1000)


def _entry(entry: EntryRow) -> dict[str, Any]:
    names = ("process", "number", "created", "kind", "subject", "digest", "before", "hash")
    return {name: getattr(entry, name) for name in names}


def heads(store: Store) -> dict[str, dict[str, Any]]:
    """The last entry of each process: its number and hash. Keep them elsewhere: they show if entries were cut off."""
    with store.session() as session:
        last = select(EntryRow.process, func.max(EntryRow.number).label("number")).group_by(EntryRow.process).subquery()
        rows = session.execute(
            select(EntryRow.process, EntryRow.number, EntryRow.hash).join(
                last, (EntryRow.process == last.c.process) & (EntryRow.number == last.c.number)
            )
        )
        return {process: {"number": number, "hash": hash_} for process, number, hash_ in rows}


@dataclass(frozen=True)
class Check:
    """What the check of a store found: how many entries and searches, how many texts were erased or not kept, and a
    sentence for each fault.
    """

    entries: int
    searches: int
    without_text: int
    faults: tuple[str, ...]


def verified_log(store: Store, known: Mapping[str, Mapping[str, Any]] | None = None) -> Check:
    """The check of all hashes and digests. `known` are heads that were exported earlier, which have to be there."""
    faults: list[str] = []
    with store.session() as session:
        before: dict[str, tuple[int, str]] = {}
        hashes: dict[tuple[str, int], str] = {}
        audited: set[str] = set()
        count = without_text = 0
        ids = set(session.scalars(select(SearchRow.id)))  # before the entries: searches may come meanwhile
        for entry in session.scalars(_in_parts(select(EntryRow).order_by(EntryRow.process, EntryRow.number))):
            count += 1
            number, head = before.get(entry.process, (0, GENESIS))
            place = f"entry {entry.number} of {entry.process}"
            if entry.number != number + 1:
                faults.append(f"{place}: entries before it are missing")
            elif entry.before != head:
                faults.append(f"{place}: it does not follow the entry before it")
            key = (entry.process, entry.number, entry.created, entry.kind, entry.subject, entry.digest, entry.before)
            if entry_hash(*key) != entry.hash:
                faults.append(f"{place}: its hash is wrong")
            before[entry.process] = (entry.number, entry.hash)
            hashes[entry.process, entry.number] = entry.hash
            if entry.kind == "search":
                audited.add(entry.subject)
                row = session.get(SearchRow, entry.subject)
                faults += _search_faults(entry, row, session.get(EventsRow, entry.subject))
                without_text += row is not None and row.text is None
                session.expunge_all()
            else:
                faults += _said_faults(entry, session)
        faults += [f"search {id_}: it is in no entry" for id_ in sorted(ids - audited)]
    for process, head_ in (known or {}).items():
        if hashes.get((process, int(head_["number"]))) != head_["hash"]:
            faults.append(f"the exported head of {process} is not in the log: entries were cut off or changed")
    return Check(count, len(ids), without_text, tuple(faults))


_FEEDBACK = ("created", "search_id", "client", "right", "gold")
_CHANGE = ("created", "route", "kind", "by", "reason", "before", "after", "evidence")


def _said_faults(entry: EntryRow, session: Any) -> list[str]:
    """What does not match an entry about the feedback of a client, or about a change of a stage."""
    tables: dict[str, tuple[Any, tuple[str, ...]]] = {
        "feedback": (FeedbackRow, _FEEDBACK),
        "stage": (ChangeRow, _CHANGE),
    }
    kind = entry.kind.split(" ")[0]
    if kind not in tables:
        return []
    table, names = tables[kind]
    row = session.get(table, int(entry.subject))
    if row is None:
        return [f"{entry.kind} {entry.subject}: it is missing"]
    if digest_of({name: getattr(row, name) for name in names}) != entry.digest:
        return [f"{entry.kind} {entry.subject}: its record was changed"]
    return []


def _search_faults(entry: EntryRow, row: SearchRow | None, events: EventsRow | None) -> list[str]:
    if row is None:
        return [f"search {entry.subject}: it is missing"]
    faults = []
    if record_digest({name: getattr(row, name) for name in COLUMNS}) != entry.digest:
        faults.append(f"search {row.id}: its record was changed")
    if row.text is not None and digest_of(row.text) != row.text_digest:
        faults.append(f"search {row.id}: its text was changed")
    if events is not None and digest_of(events.events) != row.events_digest:
        faults.append(f"search {row.id}: its events were changed")
    return faults
