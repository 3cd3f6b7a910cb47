"""Runs a grid: searches that are stored as they end, in one process or several, and go on after a stop."""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import rollwise
from rollwise.bench.finding import begun, open_store, stored
from rollwise.bench.grid import Cell, Grid
from rollwise.bench.places import Place, Shared, other_place
from rollwise.bench.store import Experiment, Outcome, Result, Store
from rollwise.bench.stored_columns import stored_columns
from rollwise.bench.summary import Summary, summarise_columns
from rollwise.core import Problem
from rollwise.data import Questions
from rollwise.errors import EngineError, InputError
from rollwise.names import digest_of, digest_of_files
from rollwise.search import Config, Runner, deciding_files, event_records, settled

_LOOK_EVERY = 0.5  # seconds between two looks at what the jobs have stored


@dataclass(frozen=True)
class Bench:
    """A grid that is being run: its store, the searches of its cells, its problems."""

    grid: Grid
    store: Store
    experiment: Experiment
    runners: Mapping[Cell, Runner]
    problems: Sequence[Problem]
    remarks: Sequence[str] = ()
    """What is known of the questions, a sentence each."""

    @property
    def size(self) -> int:
        """How many results the whole grid has."""
        return len(self.runners) * len(self.problems)

    def waiting(self, claim: Callable[[], int]) -> Iterator[tuple[Cell, Problem]]:
        """The searches that have no result yet.

        They come seed by seed and problem by problem, every strategy on one problem before the next, so that the
        results of a stopped bench can be compared. `claim` numbers the searches that are taken, from 0 on.
        """
        held = self.store.held(self.experiment.id)
        turns = [
            (cell, problem)
            for seed in range(self.grid.seeds)
            for problem in self.problems
            for cell in self.runners
            if cell.seed == seed
        ]
        while (turn := claim()) < len(turns):
            cell, problem = turns[turn]
            if (cell, problem.id) not in held:
                yield cell, problem

    async def run(
        self,
        on_result: Callable[[Outcome], None] = lambda outcome: None,
        claim: Callable[[], int] | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the searches that have no result yet, `in_flight` at once, and store each result as it comes.

        `on_round` is called after each round of each search. Processes that share the work share a `claim`, which gives
        every number to one of them only.
        """
        waiting = self.waiting(claim or itertools.count().__next__)

        async def work() -> None:
            for cell, problem in waiting:
                outcome, events = await attempt(self.runners[cell], problem, self.grid.events, on_round)
                self.store.record(self.experiment.id, cell, problem.id, outcome, events)
                on_result(outcome)

        await asyncio.gather(*(work() for _ in range(self.grid.in_flight)))


Attempt = tuple[Outcome, list[dict[str, Any]] | None]
"""What came of a search, and its events if they are to be kept."""


async def attempt(
    runner: Runner, problem: Problem, events: bool, on_round: Callable[[], None] = lambda: None
) -> Attempt:
    """What came of a search; its events too, if `events`. `on_round` is called after each round."""
    try:
        solution = await runner.solve(problem, lambda closed: on_round())
    except Exception as error:  # any error of a part: the problem stays in the denominator
        return Outcome(error=f"{type(error).__name__}: {error}"), None
    rights = dict(zip([path.key for path in solution.finished], solution.rights, strict=True))
    return Outcome.of(solution), event_records(solution.events, rights) if events else None


def begin(out: Place, given: Mapping[str, Any], make: Callable[[Config], Runner] = Runner) -> Bench:
    """A new bench at `out`, with the fields of a grid. `make` builds the runner of a config.

    Raises InputError if the fields cannot be used or `out` already holds a bench.
    """
    if begun(out):
        told = f"{out} holds a bench: --resume goes on with it, --report reads it; or give {other_place(out)}"
        raise InputError(told)
    grid = Grid.of(**given)
    questions = grid.asked()
    runners = runners_of(grid, make)
    if not isinstance(out, Shared):
        out.mkdir(parents=True, exist_ok=True)
    store = open_store(out)
    experiment = store.begin(
        config=grid.model_dump(mode="json"),
        config_hash=digest_of(json.dumps(grid.deciding(), sort_keys=True).encode()),
        version=rollwise.__version__,
        cells={cell: json.loads(settled(config).model_dump_json()) for cell, config in grid.cells().items()},
        problems=questions.problems,
        sources=_digests(grid, questions),
        environment=_environment(),
        name=out.name if isinstance(out, Shared) else None,
    )
    return Bench(grid, store, experiment, runners, questions.problems, questions.remarks)


def resume(out: Place, given: Mapping[str, Any], make: Callable[[Config], Runner] = Runner) -> Bench:
    """The bench that `out` holds, to continue. `given` may change how it is run and read.

    Raises InputError if there is none, or if `given`, the version or a file would lead to other results than before.
    """
    store, experiment = stored(out)
    grid = Grid.of(**experiment.config | dict(given))
    before = Grid.of(**experiment.config)
    questions = grid.asked()
    runners = runners_of(grid, make)
    then = before.deciding() | {"version": experiment.version} | experiment.sources
    if changes := changes_of(then, deciding(grid, questions)):
        told = f"go on as it was, or give {other_place(out)}"
        raise InputError(f"{out} was begun otherwise: {'; '.join(changes)}; {told}")
    return Bench(grid, store, experiment, runners, questions.problems, questions.remarks)


def changes_of(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between what decided the results and what decides them now, a sentence each."""
    return [
        f"{name} was {plain_text(then.get(name))} and is {plain_text(now.get(name))}"
        for name in {**now, **then}
        if now.get(name) != then.get(name)
    ]


def run_in_jobs(bench: Bench, out: Place, on_results: Callable[[int, int], None] = lambda held, raised: None) -> None:
    """Run the searches that have no result yet in `bench.grid.jobs` processes.

    Each process opens the store and takes the next search when it has finished one. `on_results` is called now and
    then with the number of results and how many of them are errors. An interrupt ends the processes; only the searches
    in flight are lost. Raises EngineError if a process ends before all is done.
    """
    jobs = bench.grid.jobs
    context = multiprocessing.get_context("spawn")
    given = {"in_flight": bench.grid.in_flight}
    taken = context.Value("q", 0)
    workers = [context.Process(target=_run_job, args=(out, given, jobs, taken), daemon=True) for _ in range(jobs)]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            on_results(*bench.store.counts(bench.experiment.id))
            time.sleep(_LOOK_EVERY)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            if worker.pid is not None:
                worker.join()
    on_results(*bench.store.counts(bench.experiment.id))
    if broken := [worker.exitcode for worker in workers if worker.exitcode]:
        raise EngineError(f"{len(broken)} of {jobs} jobs ended early (exit status {broken[0]}); go on with --resume")


def _run_job(out: Place, given: Mapping[str, Any], jobs: int, taken: Synchronized[int]) -> None:
    """One job: it takes its share of the processor and of the searches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the jobs
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))  # read when torch loads
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def claim() -> int:
        with taken.get_lock():
            taken.value += 1
            return taken.value - 1

    asyncio.run(resume(out, given).run(claim=claim))


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended; stored results stay."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@dataclass(frozen=True)
class Found:
    """What a bench found so far, and the facts of how it was run."""

    facts: dict[str, Any]
    summary: Summary


def read(out: Place, baseline: str | None = None) -> Found:
    """What the bench at `out` found so far. Raises InputError if there is none."""
    store, experiment = stored(out)
    grid = Grid.of(**experiment.config | ({"baseline": baseline} if baseline else {}))
    columns = stored_columns(store, experiment.id)
    planned = len(grid.strategies) * len(grid.budgets) * grid.seeds * store.problem_count(experiment.id)
    store.close()
    assert grid.baseline is not None
    facts = {"begun": experiment.created, "rollwise": experiment.version, **grid.deciding()}
    return Found(
        facts | experiment.environment | experiment.sources, summarise_columns(columns, grid.baseline, planned)
    )


def recorded(out: Place) -> Iterator[tuple[Result, list[dict[str, Any]]]]:
    """Every result with the events of its search, as plain values, of the bench at `out`.

    Results without events are left out. Raises InputError if there is no bench, or if it kept no events.
    """
    store, experiment = stored(out)
    found = False
    try:
        for result in store.results(experiment.id):
            events = store.events(experiment.id, result.cell, result.problem)
            if events is not None:
                found = True
                yield result, events
    finally:
        store.close()
    if not found:
        raise InputError(f"{out} holds no events: run the bench with --events into {other_place(out)}")


def plain_text(value: Any) -> str:
    """A fact of a bench as people read it."""
    if isinstance(value, dict):
        value = [f"{name} {plain_text(one)}" for name, one in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def runners_of(grid: Grid, make: Callable[[Config], Runner]) -> dict[Cell, Runner]:
    """The runner of each cell. Raises InputError for what cannot be used."""
    runners = {cell: make(config) for cell, config in grid.cells().items()}
    grid.refuse_idle(runners)
    return runners


def deciding(grid: Grid, questions: Questions | None) -> dict[str, Any]:
    """What decides the results: the grid, the version, and digests of files and of the questions of --data.

    Without `questions` their digest is left out.
    """
    return grid.deciding() | {"version": rollwise.__version__} | _digests(grid, questions)


def _digests(grid: Grid, questions: Questions | None) -> dict[str, str]:
    asked = {f"data {grid.data}": questions.digest} if grid.data is not None and questions is not None else {}
    return asked | _sources(grid.cells().values())


def _sources(configs: Iterable[Config]) -> dict[str, str]:
    """Digests of the files that decide the results beside rollwise and the configs."""
    files = {what: found for config in configs for what, found in deciding_files(settled(config)).items()}
    return {what: digest_of_files(found) for what, found in files.items()}


def _environment() -> dict[str, Any]:
    packages = {}
    for name in ("numpy", "scipy", "torch", "transformers", "sentence-transformers"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
    }
