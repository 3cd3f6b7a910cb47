"""Reading the store: searches by id and by page, the audit log and its check, and the replay of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import func, select

from rollwise.core import Allocation, Allocator, Belief, Candidates, Directions, Failure, PathKey, Step, Stop
from rollwise.errors import InputError
from rollwise.search import Config, Growth, Limits, Search, event_records, find_parts
from rollwise.service.records import COLUMNS, digest_of, record_digest
from rollwise.service.store import GENESIS, Store, entry_hash
from rollwise.service.tables import ChangeRow, EntryRow, EventsRow, FeedbackRow, SearchRow

_LISTED = (
    *("id", "began", "client", "route", "rule", "stage", "purpose", "strategy", "budget", "outcome", "error"),
    *("answer", "support", "confidence", "spent", "saved", "rounds", "seconds", "generated", "money", "agrees"),
    *("moved", "right", "beside"),
)
_FILTERS = ("route", "rule", "stage", "purpose", "outcome", "client", "strategy", "beside")


def search_record(store: Store, id_: str) -> dict[str, Any]:
    """A search with all that is kept of it, its events and what clients said of it. Raises InputError for no such id."""
    with store.session() as session:
        row = session.get(SearchRow, id_)
        if row is None:
            raise InputError(f"no search has the id {id_!r}: `rollwise audit export` lists all")
        events = session.get(EventsRow, id_)
        said = session.scalars(select(FeedbackRow).where(FeedbackRow.search_id == id_)).all()
        feedback = [{name: getattr(each, name) for name in ("created", "client", "right", "gold")} for each in said]
        kept = {"events": None if events is None else events.events, "feedback": feedback}
        return {name: getattr(row, name) for name in COLUMNS} | kept


def search_page(
    store: Store, page: int = 0, size: int = 50, filters: Mapping[str, Any] | None = None
) -> tuple[list[dict[str, Any]], int]:
    """A page of searches without events, the newest first, and how many there are in all.

    `filters` may name route, rule, stage, purpose, outcome, client, strategy and beside, each with one value. Raises
    InputError for any other filter.
    """
    filters = filters or {}
    if unknown := sorted(set(filters) - set(_FILTERS)):
        raise InputError(f"searches cannot be filtered by {unknown[0]!r}, only by {', '.join(_FILTERS)}")
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
    mean = func.avg
    wanted = (
        select(
            SearchRow.rule,
            SearchRow.purpose,
            func.count().label("searches"),
            func.sum(SearchRow.outcome == "failed").label("failed"),
            func.sum(SearchRow.answer.is_(None)).label("without_answer"),
            mean(SearchRow.seconds).label("seconds"),
            mean(SearchRow.generated).label("generated"),
            mean(SearchRow.support).label("support"),
            mean(SearchRow.agrees).label("agreement"),
            mean(SearchRow.moved).label("moved"),
            mean(SearchRow.right).label("right"),
            func.sum(SearchRow.money).label("money"),
            func.sum(SearchRow.saved).label("saved"),
        )
        .where(SearchRow.route == route, SearchRow.began >= since)
        .group_by(SearchRow.rule, SearchRow.purpose)
    )
    judged = (
        select(SearchRow.rule, func.count().label("judged"), mean(FeedbackRow.right).label("right"))
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
        entries = session.scalars(select(EntryRow).order_by(EntryRow.created, EntryRow.process, EntryRow.number))
        for entry in entries:
            row = session.get(SearchRow, entry.subject) if entry.kind == "search" else None
            search = {} if row is None else {"search": {name: getattr(row, name) for name in COLUMNS}}
            yield _entry(entry) | search
    yield {"heads": heads(store)}


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
        for entry in session.scalars(select(EntryRow).order_by(EntryRow.process, EntryRow.number)):
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
        ids = set(session.scalars(select(SearchRow.id)))
        faults += [f"search {id_}: it is in no entry" for id_ in sorted(ids - audited)]
    for process, head_ in (known or {}).items():
        if hashes.get((process, int(head_["number"]))) != head_["hash"]:
            faults.append(f"the exported head of {process} is not in the log: entries were cut off or changed")
    return Check(count, len(ids), without_text, tuple(faults))


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


def replay(record: Mapping[str, Any]) -> list[int]:
    """The rounds in which the replay of a recorded search differs from the record; empty if it gives the same rounds.

    The state machine gets the recorded steps, rewards and evidence, and the strategy computes the counts anew. Raises
    InputError if the events are erased, or if the strategy cannot be found by its name.
    """
    events: Sequence[Mapping[str, Any]] | None = record["events"]
    if not events:
        raise InputError(f"the events of search {record['id']} are not kept, so it cannot be replayed")
    config = Config.of(**_named_fields(record["config"]))
    parts = find_parts(config)
    rounds: dict[int, list[Mapping[str, Any]]] = {}
    for event in events:
        rounds.setdefault(event["round"], []).append(event)
    limits = replace(parts.limits, max_tokens=_room(events, parts.limits))
    allocated = {event["round"]: event for event in events if event["event"] == "allocated"}
    search: Search

    def allocate(candidates: Candidates, width: int) -> Allocation:
        evidence = allocated.get(search.round)
        return parts.allocate(candidates if evidence is None else _with_evidence(candidates, evidence), width)

    problem = replace(parts.parse("Use 3, 4, 5 to make 17") if config.world == "countdown" else parts.parse("?"))
    search = Search(problem, _as_allocator(allocate), limits, config.seed)
    for index in sorted(rounds):
        for event in rounds[index]:
            if event["event"] in ("grown", "failed"):
                search.tell(_key(event["path"]), _result(event))
    return _differing(event_records(search.events, {}), events)


def _as_allocator(allocate: Allocator) -> Allocator:
    return allocate


def _named_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recorded config that differ from their defaults."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Config.model_fields.items()}
    return {
        name: value
        for name, value in config.items()
        if name in defaults and value != defaults[name] and not (isinstance(value, list) and not value)
    }


def _room(events: Sequence[Mapping[str, Any]], limits: Limits) -> int:
    """The most tokens of a path: those of a path that was cut before its last step, as the model's context was full."""
    tokens = {event["path"]: event["tokens"] for event in events if event["event"] == "grown"}
    cut = [event["path"] for event in events if event["event"] == "finished" and event["stop"] == "length"]
    lengths = []
    for path in cut:
        places = path.split(".")
        if len(places) < limits.max_steps:
            lengths.append(sum(tokens[".".join(places[: end + 1])] for end in range(len(places))))
    return min([limits.max_tokens, *lengths])


def _with_evidence(candidates: Candidates, event: Mapping[str, Any]) -> Candidates:
    uniqueness, belief = event["uniqueness"], event["belief"]
    directions = None if uniqueness is None else Directions(weights=np.array(uniqueness, dtype=np.float64))
    if belief is None:
        return replace(candidates, directions=directions)
    arrays = {name: np.array(belief[name], dtype=np.float64) for name in ("mean", "concentration")}
    others = {name: belief[name] for name in ("correlation", "size_exponent")}
    return replace(candidates, directions=directions, belief=Belief(**arrays, **others))


def _result(event: Mapping[str, Any]) -> Growth | Failure:
    if event["event"] == "failed":
        return Failure(str(event["reason"]))
    logprob = event["logprob"]
    step = Step(event["text"], event["tokens"], Stop(event["stop"]), float("nan") if logprob is None else logprob)
    return Growth(step, event["reward"])


def _key(text: str) -> PathKey:
    return tuple(map(int, text.split(".")))


def _differing(replayed: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]]) -> list[int]:
    """The rounds in which the counts, the paths that finished or those that grew differ."""
    kept = ("event", "round", "path", "stop", "width", "paths", "counts", "reward", "tokens")

    def of(events: Sequence[Mapping[str, Any]]) -> list[str]:
        return [repr({name: event[name] for name in kept if name in event}) for event in events]

    ours, theirs = of(replayed), of(recorded)
    differing = {event["round"] for event, text in zip(recorded, theirs, strict=True) if text not in ours}
    differing |= {event["round"] for event, text in zip(replayed, ours, strict=True) if text not in theirs}
    return sorted(differing)
