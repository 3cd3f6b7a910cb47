"""The tables of a service's store: searches, their events, the audit log, stages, feedback, and who serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollwise.database import Json, PlainText, Tables, Whole
from rollwise.errors import MissingExtraError

try:
    from sqlalchemy import ForeignKey, Index
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
except ImportError as error:
    raise MissingExtraError("the store of a service", "serve") from error


class Base(DeclarativeBase):
    """The base class of all tables. A change to the tables needs a migration in `migrations/versions`."""

    type_annotation_map = {int: Whole, str: PlainText}  # noqa: RUF012


class SearchRow(Base):
    """A search. `text` holds the request and the reply; None if they are not kept, `text_digest` remains."""

    __tablename__ = "searches"
    __table_args__ = (
        Index("by_route", "route", "began"),
        Index("by_rule", "route", "purpose", "rule", "began"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    began: Mapped[str] = mapped_column(index=True)
    ended: Mapped[str]
    client: Mapped[str]
    route: Mapped[str]
    rule: Mapped[str]
    stage: Mapped[str]
    purpose: Mapped[str]
    question: Mapped[str]
    strategy: Mapped[str]
    budget: Mapped[int]
    seed: Mapped[int]
    outcome: Mapped[str]
    error: Mapped[str | None]
    answer: Mapped[str | None]
    support: Mapped[float]
    confidence: Mapped[float | None]
    spent: Mapped[int]
    saved: Mapped[int]
    rounds: Mapped[int]
    seconds: Mapped[float]
    generated: Mapped[int]
    money: Mapped[float]
    beside: Mapped[str | None]
    agrees: Mapped[bool | None]
    moved: Mapped[float | None]
    right: Mapped[bool | None]
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    versions: Mapped[dict[str, Any]] = mapped_column(Json)
    usage: Mapped[dict[str, Any]] = mapped_column(Json)
    text: Mapped[dict[str, Any] | None] = mapped_column(Json)
    text_digest: Mapped[str]
    events_digest: Mapped[str]


class EventsRow(Base):
    """The events of a search. Without kept texts, the steps lack theirs."""

    __tablename__ = "events"

    search_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    events: Mapped[list[dict[str, Any]]] = mapped_column(Json)


class SignalsRow(Base):
    """What the figures of a route read of a search, beside its record; it holds no text.

    `characters`, `numbers` and `turns` describe the question. `reward` is the last reward of the winning path, and
    `directions` the mean effective number of directions of its rounds; None if there is none.
    """

    __tablename__ = "signals"

    search_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    characters: Mapped[int]
    numbers: Mapped[int]
    turns: Mapped[int]
    reward: Mapped[float | None]
    directions: Mapped[float | None]


class EntryRow(Base):
    """An entry of the audit log. `digest` is of the record that it is about, `hash` of the entry and the one before."""

    __tablename__ = "entries"

    process: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[str]
    kind: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    before: Mapped[str]
    hash: Mapped[str]


class StageRow(Base):
    """Where a route stands."""

    __tablename__ = "stages"

    route: Mapped[str] = mapped_column(primary_key=True)
    current: Mapped[str]
    candidate: Mapped[str | None]
    stage: Mapped[str]
    percent: Mapped[float]
    change: Mapped[int]


class ChangeRow(Base):
    """A change of a stage: who made it, why, whether it was forced, and the evidence of the gate."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[str]
    route: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    by: Mapped[str]
    reason: Mapped[str]
    before: Mapped[dict[str, Any]] = mapped_column(Json)
    after: Mapped[dict[str, Any]] = mapped_column(Json)
    evidence: Mapped[dict[str, Any]] = mapped_column(Json)


class FeedbackRow(Base):
    """What a client says of an answer."""

    __tablename__ = "feedback"

    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[str]
    search_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), index=True)
    client: Mapped[str]
    right: Mapped[bool]
    gold: Mapped[str | None]


class ProcessRow(Base):
    """A process that serves from the store; `beat` is when it last said so, in seconds of the database's clock."""

    __tablename__ = "processes"

    process: Mapped[str] = mapped_column(primary_key=True)
    beat: Mapped[float]


class PlaceRow(Base):
    """The place of a search that runs or waits, in the order of arrival at all processes together."""

    __tablename__ = "places"

    number: Mapped[int] = mapped_column(primary_key=True)
    process: Mapped[str] = mapped_column(index=True)


class SecretRow(Base):
    """A secret that the processes share, by what it is for."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


TABLES = Tables("rollwise_service", Base.metadata, Path(__file__).parent / "migrations", numbered=2)
