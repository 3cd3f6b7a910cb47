"""The tables of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from rollwise.database import Json, PlainText, Tables, Whole
from rollwise.errors import MissingExtraError

try:
    from sqlalchemy import ForeignKey, UniqueConstraint
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error


class Base(DeclarativeBase):
    """The base class of all tables. A change to the tables requires a new migration (`migrations/versions`)."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {int: Whole}


class ExperimentRow(Base):
    """A grid of runs: its frozen config, and everything else that determines its results.

    `name` is its name in a store that several benches share; null in the file of a single bench.
    """

    __tablename__ = "experiments"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(index=True, unique=True)
    created: Mapped[str]
    version: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    config_hash: Mapped[str] = mapped_column(index=True)
    sources: Mapped[dict[str, str]] = mapped_column(Json)
    environment: Mapped[dict[str, Any]] = mapped_column(Json)


class CellRow(Base):
    """A strategy at a budget under a seed, with the complete config of its searches."""

    __tablename__ = "cells"
    __table_args__ = (UniqueConstraint("experiment_id", "label", "budget", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"))
    label: Mapped[str]
    budget: Mapped[int]
    seed: Mapped[int]
    config: Mapped[dict[str, Any]] = mapped_column(Json)


class ProblemRow(Base):
    """A problem of an experiment."""

    __tablename__ = "problems"
    __table_args__ = (UniqueConstraint("experiment_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"))
    name: Mapped[str]
    question: Mapped[str] = mapped_column(PlainText)
    answer: Mapped[str | None] = mapped_column(PlainText)
    world: Mapped[str | None]
    level: Mapped[int | None]


class ResultRow(Base):
    """The result of a problem in a cell. `error` is the text of a raised exception; then the problem is not solved."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("cell_id", "problem_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cell_id: Mapped[int] = mapped_column(ForeignKey("cells.id"))
    problem_id: Mapped[int] = mapped_column(ForeignKey("problems.id"), index=True)
    created: Mapped[str]
    right: Mapped[bool]
    covered: Mapped[bool]
    right_paths: Mapped[int]
    finished: Mapped[int]
    failed: Mapped[int]
    unplaced: Mapped[int]
    unread: Mapped[int]
    cut: Mapped[int]
    support: Mapped[float]
    answer: Mapped[str | None] = mapped_column(PlainText)
    rounds: Mapped[int]
    flops: Mapped[float]
    seconds: Mapped[float]
    error: Mapped[str | None] = mapped_column(PlainText)
    votes: Mapped[dict[str, bool]] = mapped_column(Json)


class UsageRow(Base):
    """What a role used in a result. FLOPs and seconds are null if they are unknown, as in stores up to version 4."""

    __tablename__ = "usages"

    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    generated: Mapped[int]
    prefilled: Mapped[int]
    cached: Mapped[int]
    calls: Mapped[int]
    flops: Mapped[float | None]
    seconds: Mapped[float | None]


class EventsRow(Base):
    """The events of a result, in a table of their own so that reading results stays fast."""

    __tablename__ = "events"

    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"), primary_key=True)
    events: Mapped[list[dict[str, Any]]] = mapped_column(Json)


TABLES = Tables("rollwise_bench", Base.metadata, Path(__file__).parent / "migrations", numbered=5)
