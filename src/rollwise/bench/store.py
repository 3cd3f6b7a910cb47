"""Stores experiments in a database: their cells, their problems, and the result of each problem in each cell.

The database is an SQLite file or PostgreSQL (`rollwise.database`). A result is written in a single transaction when its
problem is done. So a killed process loses only the searches that were running, and writing a result again changes
nothing. Several processes may write at once. A store of an older version is upgraded when it is opened.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollwise.bench.grid import Cell
from rollwise.bench.tables import TABLES, CellRow, EventsRow, ExperimentRow, ProblemRow, ResultRow, UsageRow
from rollwise.core import Problem, Usage
from rollwise.database import Database
from rollwise.errors import InputError, MissingExtraError
from rollwise.search import ROLES, Ledger, Solution, busy_seconds, unplaced_reasons

try:
    from sqlalchemy import func, select
    from sqlalchemy.orm import Session
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error


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
    """A database of experiments: the path of an SQLite file, or a URL. Raises InputError if it cannot be used.

    `instead` ends the message about a place that cannot be used.
    """

    def __init__(self, place: Path | str, instead: str = "give another folder") -> None:
        self._database = Database(place, TABLES, instead)
        self._session = self._database.session
        self._keys: dict[int, tuple[dict[Cell, int], dict[str, int]]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def begin(
        self,
        config: Mapping[str, Any],
        config_hash: str,
        version: str,
        cells: Mapping[Cell, Mapping[str, Any]],
        problems: Sequence[Problem],
        sources: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Experiment:
        """Store a new experiment: its config, its cells with their configs, and its problems.

        `sources` maps names to digests of the files that determine its results; `environment` describes the machine.
        Raises InputError if an experiment has that `name` already.
        """
        with self._session(alone=True) as session:
            if name is not None and session.scalar(select(ExperimentRow.id).filter_by(name=name)) is not None:
                raise InputError(f"{self._database.name} has a bench called {name} already; give another --name")
            row = ExperimentRow(
                name=name,
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

    def named(self, name: str) -> Experiment | None:
        """The experiment of a name; None if there is none."""
        with self._session() as session:
            row = session.scalar(select(ExperimentRow).filter_by(name=name))
            return None if row is None else _experiment(row)

    def names(self) -> list[str]:
        """The names of the experiments that have one, the latest first."""
        wanted = select(ExperimentRow.name).where(ExperimentRow.name.is_not(None)).order_by(ExperimentRow.id.desc())
        with self._session() as session:
            return [name for name in session.scalars(wanted) if name is not None]

    def record(
        self,
        experiment: int,
        cell: Cell,
        problem: str,
        outcome: Outcome,
        events: Sequence[dict[str, Any]] | None = None,
    ) -> bool:
        """Write the outcome of a problem. Returns False if a result is already stored, which then does not change."""
        cells, problems = self._keys_of(experiment)
        figures = {name: getattr(outcome, name) for name in _FIGURES}
        placed = {"cell_id": cells[cell], "problem_id": problems[problem], "created": _now()}
        written = self._database.insert(ResultRow).values(figures | placed).on_conflict_do_nothing()
        with self._session() as session:
            result = session.scalar(written.returning(ResultRow.id))
            if result is None:
                return False
            usages = [
                {"result_id": result, "role": role, "flops": outcome.flops_of.get(role)}
                | {"seconds": outcome.seconds_of.get(role)}
                | {name: getattr(usage, name) for name in _COUNTS}
                for role, usage in outcome.usage.items()
            ]
            if usages:
                session.execute(self._database.insert(UsageRow).values(usages))
            if events is not None:
                session.add(EventsRow(result_id=result, events=list(events)))
            return True

    def _keys_of(self, experiment: int) -> tuple[dict[Cell, int], dict[str, int]]:
        """The keys of an experiment's cells and problems, which never change and are read once."""
        if experiment not in self._keys:
            cells = select(CellRow.label, CellRow.budget, CellRow.seed, CellRow.id).filter_by(experiment_id=experiment)
            problems = select(ProblemRow.name, ProblemRow.id).filter_by(experiment_id=experiment)
            with self._session() as session:
                self._keys[experiment] = (
                    {Cell(label, budget, seed): key for label, budget, seed, key in session.execute(cells)},
                    {name: int(key) for name, key in session.execute(problems)},
                )
        return self._keys[experiment]

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
        figures = [getattr(ResultRow, name) for name in _FIGURES]
        wanted = (
            select(ResultRow.id, CellRow.label, CellRow.budget, CellRow.seed, ProblemRow.name, ProblemRow.level)
            .add_columns(*figures)
            .where(ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id)
            .where(CellRow.experiment_id == experiment)
            .order_by(CellRow.id, ProblemRow.id)
        )
        with self._session() as session:
            rows = session.execute(wanted).all()
            spent = _spent_by_role(session, experiment)
        return [
            Result(Cell(label, budget, seed), name, level, _outcome(values, spent.get(key, {})))
            for key, label, budget, seed, name, level, *values in rows
        ]

    def rows(self, query: Any) -> list[Any]:
        """The rows of a query over the tables of this module."""
        with self._session() as session:
            return list(session.connection().execute(query).all())

    def events(self, experiment: int, cell: Cell, problem: str) -> list[dict[str, Any]] | None:
        """The events of a result as plain values; None if they were not stored."""
        wanted = select(EventsRow.events).join(ResultRow, ResultRow.id == EventsRow.result_id)
        wanted = wanted.where(ResultRow.cell_id == _cell_id(experiment, cell).scalar_subquery())
        wanted = wanted.where(ResultRow.problem_id == _problem_id(experiment, problem).scalar_subquery())
        with self._session() as session:
            return session.scalar(wanted)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _cell_id(experiment: int, cell: Cell) -> Any:
    return select(CellRow.id).filter_by(experiment_id=experiment, **vars(cell))


def _problem_id(experiment: int, problem: str) -> Any:
    return select(ProblemRow.id).filter_by(experiment_id=experiment, name=problem)


def _experiment(row: ExperimentRow) -> Experiment:
    return Experiment(**{name: getattr(row, name) for name in Experiment.__dataclass_fields__})


def _spent_by_role(session: Session, experiment: int) -> dict[int, dict[str, Sequence[Any]]]:
    """For each result, what each role used: the counts of its usage, then FLOPs and seconds."""
    columns = [getattr(UsageRow, name) for name in (*_COUNTS, "flops", "seconds")]
    wanted = select(UsageRow.result_id, UsageRow.role, *columns).where(
        UsageRow.result_id == ResultRow.id, ResultRow.cell_id == CellRow.id, CellRow.experiment_id == experiment
    )
    spent: dict[int, dict[str, Sequence[Any]]] = defaultdict(dict)
    for key, role, *values in session.execute(wanted):
        spent[key][role] = values
    return spent


def _outcome(figures: Sequence[Any], spent: Mapping[str, Sequence[Any]]) -> Outcome:
    usage = {role: Usage(*counts) for role, (*counts, _, _) in spent.items()}
    flops = {role: flops for role, (*_, flops, _) in spent.items() if flops is not None}
    seconds = {role: seconds for role, (*_, seconds) in spent.items() if seconds is not None}
    return Outcome(**dict(zip(_FIGURES, figures, strict=True)), usage=usage, flops_of=flops, seconds_of=seconds)
