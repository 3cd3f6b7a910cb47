"""Reads stored benches: what was asked, what was found, and which searches have events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.bench.finding import open_store, stored
from rollwise.bench.grid import Cell
from rollwise.bench.places import Place
from rollwise.bench.store import Experiment, Result
from rollwise.core import Problem

_FREE = {"strategies", "budgets", "seeds", "baseline", "in_flight", "jobs", "events"} | {
    *("engine", "ray_address", "ray_workers", "ray_gpus")
}
"""Fields of a grid that may differ between runs that are read as one."""


@dataclass(frozen=True)
class Run:
    """The results of one bench, or of several on the same questions with the same settings.

    `homes` says for each cell which place and experiment hold it. `kept` are the searches whose events were stored.
    `baseline` is the one that the first bench named. `planned` is the planned number of results.
    """

    places: tuple[Place, ...]
    experiment: Experiment
    homes: Mapping[Cell, tuple[Place, int]]
    problems: tuple[Problem, ...]
    results: tuple[Result, ...]
    kept: frozenset[tuple[Cell, str]]
    baseline: str
    planned: int

    @property
    def strategies(self) -> tuple[str, ...]:
        """The labels of the strategies, in the order of the grid."""
        return tuple(dict.fromkeys(cell.label for cell in self.homes))

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets, smallest first."""
        return tuple(sorted({cell.budget for cell in self.homes}))

    @property
    def in_order(self) -> list[Result]:
        """The results by budget, then by strategy in the order of the grid, then by seed and problem."""
        place = {label: index for index, label in enumerate(self.strategies)}
        asked = {problem.id: index for index, problem in enumerate(self.problems)}
        return sorted(
            self.results,
            key=lambda result: (result.cell.budget, place[result.cell.label], result.cell.seed, asked[result.problem]),
        )

    def config(self, cell: Cell) -> dict[str, Any]:
        """The config of a cell's searches."""
        place, experiment = self.homes[cell]
        store = open_store(place)
        try:
            return store.cells(experiment).get(cell, {})
        finally:
            store.close()

    def events(self, cell: Cell, problem: str) -> list[dict[str, Any]] | None:
        """The events of a search as plain values; None if they were not stored."""
        place, experiment = self.homes[cell]
        store = open_store(place)
        try:
            return store.events(experiment, cell, problem)
        finally:
            store.close()


def read_run(place: Place) -> Run:
    """The bench at a place. Raises InputError if there is none."""
    store, experiment = stored(place)
    try:
        cells, problems = store.cells(experiment.id), store.problems(experiment.id)
        labels = list(dict.fromkeys(cell.label for cell in cells))
        named = experiment.config.get("baseline")
        return Run(
            places=(place,),
            experiment=experiment,
            homes=dict.fromkeys(cells, (place, experiment.id)),
            problems=tuple(problems),
            results=tuple(store.results(experiment.id)),
            kept=frozenset(store.kept(experiment.id)),
            baseline=named if named in labels else labels[0],
            planned=len(cells) * len(problems),
        )
    finally:
        store.close()


def join_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs, with those read as one that asked the same questions with the same settings and share no cell."""
    together: list[Run] = []
    for run in runs:
        partner = next((place for place, other in enumerate(together) if _may_join(other, run)), None)
        if partner is None:
            together.append(run)
        else:
            together[partner] = _join(together[partner], run)
    return together


def _may_join(one: Run, other: Run) -> bool:
    return (
        _settings(one) == _settings(other)
        and one.problems == other.problems
        and one.experiment.version == other.experiment.version
        and one.experiment.sources == other.experiment.sources
        and not set(one.homes) & set(other.homes)
    )


def _settings(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.experiment.config.items() if name not in _FREE}


def _join(one: Run, other: Run) -> Run:
    return Run(
        places=(*one.places, *other.places),
        experiment=one.experiment,
        homes={**one.homes, **other.homes},
        problems=one.problems,
        results=(*one.results, *other.results),
        kept=one.kept | other.kept,
        baseline=one.baseline,
        planned=one.planned + other.planned,
    )
