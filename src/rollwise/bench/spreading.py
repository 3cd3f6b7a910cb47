"""Runs a bench on a Ray cluster: its workers search, and this process stores each result as it comes."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from rollwise.bench.grid import Cell, Grid
from rollwise.bench.run import Attempt, Bench, attempt, changes_of, deciding, runners_of
from rollwise.bench.store import Outcome
from rollwise.cluster import Cluster, Lost, run_on_ray
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.search import Runner

Turn = tuple[Cell, Problem]


def run_on_cluster(
    bench: Bench,
    on_result: Callable[[Outcome], None] = lambda outcome: None,
    claim: Callable[[], int] | None = None,
) -> None:
    """Run the searches that have no result yet on the Ray cluster of `bench.grid`, and store each result as it comes.

    `claim` numbers the searches that are handed out, as in `Bench.run`. Each worker loads the parts of all cells once
    and runs `in_flight` searches at once. A search whose workers died
    again and again is stored as an error. Raises InputError and EngineError as `rollwise.cluster.run_on_ray` does, and
    InputError if a worker would search otherwise: with another version of rollwise, or with other files.
    """
    grid = bench.grid

    def take(turn: Turn, reply: Attempt | Lost) -> None:
        cell, problem = turn
        outcome, events = (Outcome(error=f"Lost: {reply.reason}"), None) if isinstance(reply, Lost) else reply
        bench.store.record(bench.experiment.id, cell, problem.id, outcome, events)
        on_result(outcome)

    run_on_ray(
        bench.waiting(claim or itertools.count().__next__),
        partial(_prepare, grid.model_dump(mode="json"), _expected(bench)),
        grid.cluster or Cluster(),
        grid.in_flight,
        take,
    )


def _expected(bench: Bench) -> dict[str, Any]:
    """What decided the results when the bench was begun, apart from the questions, which the workers are sent."""
    grid, sources = bench.grid, bench.experiment.sources
    files = {name: digest for name, digest in sources.items() if name != f"data {grid.data}"}
    return grid.deciding() | {"version": bench.experiment.version} | files


def _prepare(config: Mapping[str, Any], expected: Mapping[str, Any]) -> Callable[[Turn], Awaitable[Attempt]]:
    """What a worker does with a search. Raises InputError if it would do otherwise than expected."""
    grid = Grid.of(**config)
    if changes := changes_of(expected, deciding(grid, None)):
        raise InputError(f"it would search otherwise: {'; '.join(changes)}; install the same on every machine")
    runners = runners_of(grid, Runner)

    def search(turn: Turn) -> Awaitable[Attempt]:
        cell, problem = turn
        return attempt(runners[cell], problem, grid.events)

    return search
