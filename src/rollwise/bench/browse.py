"""Looks into the store of a bench page by page, so that a store of 100,000 searches answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import case, func, literal, select
from sqlalchemy.orm import aliased

from rollwise.bench.finding import find_experiment
from rollwise.bench.places import RESULTS_FILE, Place
from rollwise.bench.tables import CellRow, EventsRow, ProblemRow, ResultRow
from rollwise.core import Problem
from rollwise.database import mean, share
from rollwise.errors import InputError
from rollwise.numerics import wilson_interval


def _measured(value: float, questions: int) -> dict[str, Any]:
    """A share of the questions as a measure of a summary, with its Wilson interval."""
    low, high = wilson_interval(value * questions, questions)
    return {"mean": value, "low": low, "high": high, "difference": None}


def _cost(value: float) -> dict[str, Any]:
    """A cost as an interval of a summary whose ends are not known yet."""
    return {"mean": value, "low": None, "high": None}


OUTCOMES = ("both", "one", "other", "neither")
"""Which of two strategies was right."""

MOST = 200
"""The most searches of a page."""


@dataclass(frozen=True)
class Filter:
    """Which searches to list; None lets all through. `text` is a part of the question."""

    strategy: str | None = None
    budget: int | None = None
    seed: int | None = None
    level: int | None = None
    right: bool | None = None
    text: str | None = None


@dataclass(frozen=True)
class Listed:
    """One search of a list. `recorded` says whether its events were kept."""

    id: int
    strategy: str
    budget: int
    seed: int
    question: str
    level: int | None
    answer: str | None
    right: bool
    covered: bool
    support: float
    rounds: int
    seconds: float
    error: str | None
    recorded: bool


@dataclass(frozen=True)
class RecordedSearch:
    """A recorded search: its place in the bench, the config of its cell, its problem, answer and events."""

    id: int
    answer: str | None
    right: bool
    strategy: str
    budget: int
    seed: int
    config: Mapping[str, Any]
    problem: Problem
    events: list[dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """Two strategies on one question with one seed, and the ids of both searches."""

    question: str
    level: int | None
    seed: int
    one: int
    other: int
    one_right: bool
    other_right: bool


class Browser:
    """The bench at a place: in a folder the latest, in a shared store that of its name. Raises InputError if there is
    none.
    """

    def __init__(self, place: Place) -> None:
        if isinstance(place, Path) and not (place / RESULTS_FILE).is_file():
            raise InputError(f"{place} holds no bench; give the folder that `rollwise bench --out` wrote")
        found = find_experiment(place)
        if found is None:
            raise InputError(f"{place} holds no bench yet; try again when the first search has begun")
        self.place, (self._store, self.experiment) = place, found
        self.planned = len(self._store.cells(self.experiment.id)) * self._store.problem_count(self.experiment.id)
        """The planned number of results."""

    def close(self) -> None:
        """Close the connections to the store."""
        self._store.close()

    def counts(self) -> tuple[int, int]:
        """The number of stored results, and how many of them are errors."""
        return self._store.counts(self.experiment.id)

    def quick(self, by_level: bool) -> list[dict[str, Any]]:
        """The accuracy and the coverage of each strategy and budget with their intervals, at once from the database.

        The rows have the form of those of a summary, which also has what takes long: bootstraps and differences. So the
        costs are without intervals here.
        """
        level = ProblemRow.level if by_level else literal(None)
        figures = (
            *(func.count(), func.count(ResultRow.problem_id.distinct()), func.count(ResultRow.error)),
            *(share(ResultRow.right), share(ResultRow.covered)),
            *(mean(ResultRow.flops), mean(ResultRow.seconds)),
        )
        query = (
            select(CellRow.label, CellRow.budget, level, *figures)
            .where(ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id)
            .where(CellRow.experiment_id == self.experiment.id)
            .group_by(CellRow.label, CellRow.budget, *([level] if by_level else []))
            .order_by(*([level] if by_level else []), CellRow.budget, func.min(CellRow.id))
        )
        names = ("strategy", "budget", "level", "results", "questions", "errors")
        rows = []
        for row in self._store.rows(query):
            shares, means = dict(zip(("accuracy", "coverage"), row[6:8], strict=True)), row[8:]
            measures = {name: _measured(value, row[4]) for name, value in shares.items()}
            flops, seconds = means
            costs = {"seconds": _cost(seconds)} | ({"flops": _cost(flops)} if flops else {})
            rows.append(dict(zip(names, row[:6], strict=True)) | {"measures": measures, "costs": costs})
        return rows

    def page(self, wanted: Filter, offset: int = 0, limit: int = 50) -> tuple[int, list[Listed]]:
        """How many searches pass the filter, and `limit` of them from `offset` on, the oldest first."""
        chosen = self._filtered(select(ResultRow.id), wanted).subquery()
        total = select(func.count()).select_from(chosen)
        columns = (
            *(ResultRow.id, CellRow.label, CellRow.budget, CellRow.seed, ProblemRow.question, ProblemRow.level),
            *(ResultRow.answer, ResultRow.right, ResultRow.covered, ResultRow.support, ResultRow.rounds),
            *(ResultRow.seconds, ResultRow.error),
            select(EventsRow.result_id).where(EventsRow.result_id == ResultRow.id).exists(),
        )
        listed = self._filtered(select(*columns), wanted).order_by(ResultRow.id)
        rows = self._store.rows(listed.offset(max(0, offset)).limit(min(max(1, limit), MOST)))
        return self._store.rows(total)[0][0], [Listed(*row) for row in rows]

    def _filtered(self, query: Any, wanted: Filter) -> Any:
        query = query.where(ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id)
        query = query.where(CellRow.experiment_id == self.experiment.id)
        columns = {
            "strategy": CellRow.label,
            "budget": CellRow.budget,
            "seed": CellRow.seed,
            "level": ProblemRow.level,
            "right": ResultRow.right,
        }
        for field in fields(wanted):
            value = getattr(wanted, field.name)
            if value is not None and field.name in columns:
                query = query.where(columns[field.name] == value)
        if wanted.text:
            query = query.where(ProblemRow.question.contains(wanted.text, autoescape=True))
        return query

    def search(self, identity: int) -> RecordedSearch:
        """A recorded search. Raises InputError if there is none of this number, or if its events were not kept."""
        query = (
            select(ResultRow.answer, ResultRow.right, CellRow.label, CellRow.budget, CellRow.seed, CellRow.config)
            .add_columns(ProblemRow.name, ProblemRow.question, ProblemRow.answer, ProblemRow.world, ProblemRow.level)
            .add_columns(EventsRow.events)
            .where(ResultRow.id == identity, ResultRow.cell_id == CellRow.id, ResultRow.problem_id == ProblemRow.id)
            .where(CellRow.experiment_id == self.experiment.id)
            .join(EventsRow, EventsRow.result_id == ResultRow.id, isouter=True)
        )
        found = self._store.rows(query)
        if not found:
            raise InputError(f"{self.place} holds no search number {identity}; the list of searches shows the numbers")
        answer, right, label, budget, seed, config, name, question, gold, world, level, events = found[0]
        if events is None:
            raise InputError(
                f"search {identity} was run without its events; run the bench with --events to look into searches"
            )
        problem = Problem(name, question, gold, world, level)
        return RecordedSearch(identity, answer, right, label, budget, seed, dict(config), problem, list(events))

    def pairs(
        self, one: str, other: str, budget: int, only: str | None = None, offset: int = 0, limit: int = 50
    ) -> tuple[dict[str, int], list[Pair]]:
        """Two strategies at one budget, question by question and seed by seed.

        Returns how often `both`, only `one`, only `other` or `neither` was right, and a page of the pairs; `only` keeps
        those of one of these outcomes. Pairs that differ come first.
        """
        left, right = aliased(ResultRow), aliased(ResultRow)
        left_cell, right_cell = aliased(CellRow), aliased(CellRow)
        outcome = case(
            (left.right & right.right, "both"), (left.right, "one"), (right.right, "other"), else_="neither"
        ).label("outcome")
        joined = (
            select(ProblemRow.question, ProblemRow.level, left_cell.seed, left.id, right.id, left.right, right.right)
            .add_columns(outcome)
            .where(left.cell_id == left_cell.id, right.cell_id == right_cell.id, left.problem_id == right.problem_id)
            .where(ProblemRow.id == left.problem_id, left_cell.seed == right_cell.seed)
            .where(left_cell.experiment_id == self.experiment.id, right_cell.experiment_id == self.experiment.id)
            .where(left_cell.label == one, right_cell.label == other)
            .where(left_cell.budget == budget, right_cell.budget == budget)
        )
        counted = joined.subquery()
        wanted = joined if only is None else joined.where(outcome == only)
        wanted = wanted.order_by(left.right == right.right, left.id).offset(max(0, offset)).limit(min(limit, MOST))
        totals = dict(map(tuple, self._store.rows(select(counted.c.outcome, func.count()).group_by(counted.c.outcome))))
        pairs = [Pair(*row[:7]) for row in self._store.rows(wanted)]
        return {name: totals.get(name, 0) for name in OUTCOMES}, pairs
