"""Stores experiments in a database: their cells, their problems, and the result of each problem in each cell.

The database is SQLite, used through SQLAlchemy. A result is written in a single transaction when its problem is done.
So a killed process loses only the searches that were running, and writing a result again changes nothing. A file of an
older version is upgraded when it is opened (`rollwise.bench.migrating`).
"""

from __future__ import annotations

import datetime
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollwise.bench.grid import Cell
from rollwise.bench.migrating import upgrade
from rollwise.bench.tables import CellRow, EventsRow, ExperimentRow, ProblemRow, ResultRow, UsageRow
from rollwise.core import Problem, Usage
from rollwise.errors import InputError, MissingExtraError
from rollwise.search import ROLES, Ledger, Solution, busy_seconds, unplaced_reasons

try:
    from sqlalchemy import URL, create_engine, event, func, select
    from sqlalchemy.dialects.sqlite import insert
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.orm import Session
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error

_ATTEMPTS = 100


@dataclass(frozen=True)
class Experiment:
    """An experiment as it was started."""

    id: int
    created: str
    version: str
    config: dict[str, Any]
    sources: dict[str, str]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The result of a problem.

    `right` says whether the voted answer is right, `covered` whether any path is right, and `right_paths` counts the
    right paths. `votes` says for each further vote whether its answer is right. `finished` and `failed` count rollouts.
    `unplaced` counts paths whose direction could not be found, and which continued as directions of their own.
    `unread` counts finished paths without a readable answer, `cut` those that a limit cut off. If the search raised,
    `error` is set and the problem is not solved.

    `flops_of` and `seconds_of` split FLOPs and seconds by role: the seconds in which the role's model worked for the
    search. Roles may work at the same time, so their seconds need not add up to `seconds`. A role is missing if these
    are unknown: its number of parameters is unknown, or an older version stored the result.
    """

    right: bool = False
    covered: bool = False
    right_paths: int = 0
    finished: int = 0
    failed: int = 0
    unplaced: int = 0
    support: float = 0.0
    answer: str | None = None
    rounds: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    usage: Mapping[str, Usage] = field(default_factory=dict)
    votes: Mapping[str, bool] = field(default_factory=dict)
    unread: int = 0
    cut: int = 0
    flops_of: Mapping[str, float] = field(default_factory=dict)
    seconds_of: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, solution: Solution) -> Outcome:
        """The outcome of a finished search."""
        ledger = solution.ledger
        return cls(
            right=bool(solution.right),
            covered=bool(solution.covered),
            right_paths=sum(map(bool, solution.rights)),
            finished=len(solution.finished),
            failed=len(solution.failures),
            unplaced=len(unplaced_reasons(solution.events)),
            unread=solution.unread,
            cut=solution.cut,
            support=solution.support,
            answer=solution.answer,
            rounds=ledger.rounds,
            flops=sum(ledger.flops(role) for role in ROLES),
            seconds=ledger.seconds,
            votes=dict(solution.votes),
            usage=dict(ledger.usage),
            flops_of={role: ledger.flops(role) for role in ROLES if _flops_known(ledger, role)},
            seconds_of={role: busy_seconds(solution.events, activity) for role, activity in _ACTIVITIES.items()},
        )


def _flops_known(ledger: Ledger, role: str) -> bool:
    """Whether the FLOPs of a role are known: its parameters are, or it used no tokens."""
    return ledger.parameters[role] > 0 or not ledger.usage[role].generated + ledger.usage[role].prefilled


_ACTIVITIES = {"policy": "generating", "reward": "scoring", "embedder": "embedding"}


@dataclass(frozen=True)
class Result:
    """A stored result: its cell, its problem and its outcome."""

    cell: Cell
    problem: str
    level: int | None
    outcome: Outcome


_BY_ROLE = {"usage", "flops_of", "seconds_of"}
_FIGURES = tuple(name for name in Outcome.__dataclass_fields__ if name not in _BY_ROLE)
_COUNTS = tuple(Usage.__dataclass_fields__)


class Store:
    """A database file of experiments. Raises InputError if the file cannot be used."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._engine = create_engine(URL.create("sqlite", database=str(file)))
        event.listen(self._engine, "connect", configure_connection)
        with self._session() as session:
            upgrade(session.connection(), str(file))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session with a single transaction. Raises InputError for errors of the database."""
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise InputError(f"{self.file} cannot be used as a store: {error.orig}; give another folder") from error

    def close(self) -> None:
        """Close the connections to the file."""
        self._engine.dispose()

    def begin(
        self,
        config: Mapping[str, Any],
        config_hash: str,
        version: str,
        cells: Mapping[Cell, Mapping[str, Any]],
        problems: Sequence[Problem],
        sources: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Experiment:
        """Store a new experiment: its config, its cells with their configs, and its problems.

        `sources` maps names to digests of the files that determine its results; `environment` describes the machine.
        """
        with self._session() as session:
            row = ExperimentRow(
                created=_now(),
                version=version,
                config=dict(config),
                config_hash=config_hash,
                sources=dict(sources or {}),
                environment=dict(environment or {}),
            )
            session.add(row)
            session.flush()
            session.add_all(CellRow(experiment_id=row.id, **vars(cell), config=dict(cells[cell])) for cell in cells)
            for problem in problems:
                known = {name: getattr(problem, name) for name in ("question", "answer", "world", "level")}
                session.add(ProblemRow(experiment_id=row.id, name=problem.id, **known))
            return _experiment(row)

    def latest(self) -> Experiment | None:
        """The experiment that was started last; None if there is none."""
        with self._session() as session:
            row = session.scalar(select(ExperimentRow).order_by(ExperimentRow.id.desc()).limit(1))
            return None if row is None else _experiment(row)

    def record(
        self,
        experiment: int,
        cell: Cell,
        problem: str,
        outcome: Outcome,
        events: Sequence[dict[str, Any]] | None = None,
    ) -> bool:
        """Write the outcome of a problem. Returns False if a result is already stored, which then does not change."""
        with self._session() as session:
            values = {name: getattr(outcome, name) for name in _FIGURES} | {
                "cell_id": session.scalars(_cell_id(experiment, cell)).one(),
                "problem_id": session.scalars(_problem_id(experiment, problem)).one(),
                "created": _now(),
            }
            written = insert(ResultRow).values(values).on_conflict_do_nothing().returning(ResultRow.id)
            result = session.scalar(written)
            if result is None:
                return False
            for role, usage in outcome.usage.items():
                counts = {name: getattr(usage, name) for name in _COUNTS}
                spent = {"flops": outcome.flops_of.get(role), "seconds": outcome.seconds_of.get(role)}
                session.add(UsageRow(result_id=result, role=role, **counts, **spent))
            if events is not None:
                session.add(EventsRow(result_id=result, events=list(events)))
            return True

    def problems(self, experiment: int) -> list[Problem]:
        """The problems of an experiment, in its order, without their instructions."""
        wanted = select(ProblemRow).filter_by(experiment_id=experiment).order_by(ProblemRow.id)
        with self._session() as session:
            return [
                Problem(row.name, row.question, row.answer, row.world, row.level) for row in session.scalars(wanted)
            ]

    def cells(self, experiment: int) -> dict[Cell, dict[str, Any]]:
        """The cells of an experiment, in its order, with the configs of their searches."""
        wanted = select(CellRow).filter_by(experiment_id=experiment).order_by(CellRow.id)
        with self._session() as session:
            return {Cell(row.label, row.budget, row.seed): row.config for row in session.scalars(wanted)}

    def held(self, experiment: int) -> set[tuple[Cell, str]]:
        """The (cell, problem) pairs that have a stored result."""
        wanted = select(CellRow.label, CellRow.budget, CellRow.seed, ProblemRow.name).where(
            ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id, CellRow.experiment_id == experiment
        )
        with self._session() as session:
            return {(Cell(label, budget, seed), name) for label, budget, seed, name in session.execute(wanted)}

    def kept(self, experiment: int) -> set[tuple[Cell, str]]:
        """The (cell, problem) pairs whose events are stored."""
        wanted = select(CellRow.label, CellRow.budget, CellRow.seed, ProblemRow.name).where(
            ResultRow.cell_id == CellRow.id,
            ResultRow.problem_id == ProblemRow.id,
            EventsRow.result_id == ResultRow.id,
            CellRow.experiment_id == experiment,
        )
        with self._session() as session:
            return {(Cell(label, budget, seed), name) for label, budget, seed, name in session.execute(wanted)}

    def problem_count(self, experiment: int) -> int:
        """The number of problems of an experiment."""
        with self._session() as session:
            wanted = select(func.count()).where(ProblemRow.experiment_id == experiment)
            return session.execute(wanted).scalar_one()

    def counts(self, experiment: int) -> tuple[int, int]:
        """The number of stored results, and how many of them are errors."""
        wanted = select(func.count(), func.count(ResultRow.error)).where(
            ResultRow.cell_id == CellRow.id, CellRow.experiment_id == experiment
        )
        with self._session() as session:
            held, raised = session.execute(wanted).one()
        return held, raised

    def results(self, experiment: int) -> list[Result]:
        """All results, in the order of the cells and problems, not in the order of writing."""
        wanted = (
            select(ResultRow, CellRow, ProblemRow.name, ProblemRow.level)
            .where(ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id)
            .where(CellRow.experiment_id == experiment)
            .order_by(CellRow.id, ProblemRow.id)
        )
        with self._session() as session:
            return [
                Result(Cell(cell.label, cell.budget, cell.seed), name, level, _outcome(row))
                for row, cell, name, level in session.execute(wanted)
            ]

    def rows(self, query: Any) -> list[Any]:
        """The rows of a query over the tables of this module."""
        with self._session() as session:
            return list(session.execute(query).all())

    def events(self, experiment: int, cell: Cell, problem: str) -> list[dict[str, Any]] | None:
        """The events of a result as plain values; None if they were not stored."""
        wanted = select(EventsRow.events).join(ResultRow, ResultRow.id == EventsRow.result_id)
        wanted = wanted.where(ResultRow.cell_id == _cell_id(experiment, cell).scalar_subquery())
        wanted = wanted.where(ResultRow.problem_id == _problem_id(experiment, problem).scalar_subquery())
        with self._session() as session:
            return session.scalar(wanted)


def configure_connection(connection: Any, _: Any) -> None:
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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _cell_id(experiment: int, cell: Cell) -> Any:
    return select(CellRow.id).filter_by(experiment_id=experiment, **vars(cell))


def _problem_id(experiment: int, problem: str) -> Any:
    return select(ProblemRow.id).filter_by(experiment_id=experiment, name=problem)


def _experiment(row: ExperimentRow) -> Experiment:
    return Experiment(**{name: getattr(row, name) for name in Experiment.__dataclass_fields__})


def _outcome(row: ResultRow) -> Outcome:
    usage = {each.role: Usage(**{name: getattr(each, name) for name in _COUNTS}) for each in row.usages}
    flops = {each.role: each.flops for each in row.usages if each.flops is not None}
    seconds = {each.role: each.seconds for each in row.usages if each.seconds is not None}
    figures = {name: getattr(row, name) for name in _FIGURES}
    return Outcome(**figures, usage=usage, flops_of=flops, seconds_of=seconds)
