"""A grid of strategies × budgets × seeds over the problems of a world, kept in a store from which it goes on."""

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
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

import rollwise
from rollwise.allocation import split_settings, split_variants
from rollwise.bench.store import Cell, Experiment, Outcome, Store
from rollwise.bench.summary import Summary, summarise
from rollwise.core import Problem
from rollwise.errors import EngineError, InputError
from rollwise.names import belief_file, digest_of, digest_of_files, part_files
from rollwise.plugins import is_own_file
from rollwise.registry import find_strategy, find_world, refuse_idle_belief, refuse_idle_directions
from rollwise.search import Config, Runner, event_records, validated

FILE = "results.db"
_GRID_SETS = ("world", "strategy", "options", "budget", "seed")
_READING = {"baseline", "in_flight", "jobs"}
_LOOK = 0.5  # seconds between two looks at what the jobs have stored


@dataclass(frozen=True)
class Variant:
    """One strategy of a grid, by the label of its tables: its options, and the fields of the config that it sets."""

    label: str
    strategy: str
    options: dict[str, Any]
    fields: dict[str, Any]


def read_variant(label: str) -> Variant:
    """A variant from its label, `strategy` or `strategy:name=value,...`: names of the config's fields set these, others
    are options of the strategy. Raises InputError for a field that is the grid's.
    """
    strategy, settings = split_settings(label)
    fields = {name: value for name, value in settings.items() if name in Config.model_fields}
    _refuse_grid_fields(label, fields)
    options = {name: value for name, value in settings.items() if name not in fields}
    return Variant(label, strategy, options, fields)


def _refuse_grid_fields(where: str, fields: Iterable[str]) -> None:
    for name in fields:
        if name in _GRID_SETS:
            raise InputError(f"{where}: {name} is the grid's to set; give world, strategies, budgets and seeds there")


class Grid(BaseModel):
    """Everything that decides a bench, and how it is read. Unknown keys are refused.

    `seeds` counts the seeds of the searches, 0 and on. Of each level the `limit` problems from `first_seed` on are
    taken; no levels are all of the world. `search` holds fields of `rollwise.Config` for every search. `jobs` processes
    share the problems, each with `in_flight` searches at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    world: str = "countdown"
    strategies: tuple[str, ...] = ("temperature", "rebase", "dora")
    budgets: tuple[int, ...] = (64,)
    seeds: int = Field(1, ge=1)
    levels: tuple[int, ...] = ()
    limit: int = Field(20, ge=1)
    first_seed: int = Field(0, ge=0)
    split: str = "validation"
    search: dict[str, Any] = Field(default_factory=dict)
    events: bool = False
    baseline: str | None = None
    in_flight: int = Field(4, ge=1)
    jobs: int = Field(1, ge=1)

    @field_validator("strategies", mode="before")
    @classmethod
    def _read_strategies(cls, given: Any) -> Any:
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list | tuple):
            return given
        return [label for text in texts for label in (split_variants(text) if isinstance(text, str) else [text])]

    @field_validator("strategies", "budgets", "levels")
    @classmethod
    def _distinct(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        for one in given:
            if given.count(one) > 1:
                raise InputError(f"{one} is given twice; give each once")
        return given

    @classmethod
    def of(cls, **fields: Any) -> Grid:
        """A grid of the fields given, with its levels and baseline named. Raises InputError with what is wrong."""
        grid = validated(cls, fields)
        for name in ("strategies", "budgets"):
            if not getattr(grid, name):
                raise InputError(f"{name}: give at least one")
        _refuse_grid_fields("search", grid.search)
        if grid.baseline is not None and grid.baseline not in grid.strategies:
            raise InputError(f"baseline: {grid.baseline!r} is not among the strategies: {', '.join(grid.strategies)}")
        baseline = grid.baseline or ("rebase" if "rebase" in grid.strategies else grid.strategies[0])
        levels = grid.levels or tuple(find_world(grid.world).levels)
        return grid.model_copy(update={"baseline": baseline, "levels": levels})

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the results, as plain values."""
        return self.model_dump(mode="json", exclude=_READING)

    def cells(self) -> dict[Cell, Config]:
        """Every cell with the config of its searches: budgets, then seeds, then strategies in the order given.

        Searches vote by weighted majority unless told: a vote that checks answers would make accuracy and coverage the
        same. Raises InputError.
        """
        variants = [read_variant(label) for label in self.strategies]
        cells = {
            Cell(variant.label, budget, seed): Config.of(
                **{"vote": "weighted_majority"} | self.search | variant.fields,
                world=self.world,
                strategy=variant.strategy,
                options=variant.options,
                budget=budget,
                seed=seed,
            )
            for budget in self.budgets
            for seed in range(self.seeds)
            for variant in variants
        }
        for variant in variants:
            strategy = cells[Cell(variant.label, self.budgets[0], 0)].strategy
            if "directions" in variant.fields:
                refuse_idle_directions(strategy, variant.label)
            if "belief" in variant.fields and not cells[Cell(variant.label, self.budgets[0], 0)].may_vote_by_belief:
                refuse_idle_belief(strategy, variant.label)
        return cells

    def problems(self) -> list[Problem]:
        """The problems, levels in turn, so that a bench that was stopped holds as many of each."""
        world = find_world(self.world)
        seeds = range(self.first_seed, self.first_seed + self.limit)
        return [world.problem(level, seed, self.split) for seed in seeds for level in self.levels]


@dataclass(frozen=True)
class Bench:
    """A grid that is being run: its store, its searches by cell, its problems."""

    grid: Grid
    store: Store
    experiment: Experiment
    runners: Mapping[Cell, Runner]
    problems: Sequence[Problem]

    @property
    def size(self) -> int:
        """How many results the whole grid has."""
        return len(self.runners) * len(self.problems)

    def waiting(self, claim: Callable[[], int]) -> Iterator[tuple[Cell, Problem]]:
        """What has no result yet: seed by seed, problem by problem, all strategies on one before the next, so that
        what a stopped bench holds can be compared. `claim` numbers the searches that are taken, from 0 on.
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
        self, on_result: Callable[[Outcome], None] = lambda outcome: None, claim: Callable[[], int] | None = None
    ) -> None:
        """Run what has no result yet, `in_flight` searches at once; each result is stored when it is there. Processes
        that share the work share a `claim`, which gives each of them numbers that no other gets.
        """
        waiting = self.waiting(claim or itertools.count().__next__)

        async def work() -> None:
            for cell, problem in waiting:
                outcome, events = await self._attempt(cell, problem)
                self.store.record(self.experiment.id, cell, problem.id, outcome, events)
                on_result(outcome)

        await asyncio.gather(*(work() for _ in range(self.grid.in_flight)))

    async def _attempt(self, cell: Cell, problem: Problem) -> tuple[Outcome, list[dict[str, Any]] | None]:
        try:
            solution = await self.runners[cell].solve(problem)
        except Exception as error:  # whatever a part raised: the problem counts, as not solved
            return Outcome(error=f"{type(error).__name__}: {error}"), None
        rights = dict(zip([path.key for path in solution.finished], solution.rights, strict=True))
        return Outcome.of(solution), event_records(solution.events, rights) if self.grid.events else None


def begin(out: Path, given: Mapping[str, Any], make: Callable[[Config], Runner] = Runner) -> Bench:
    """A new bench in the folder `out`, of the fields of a grid. `make` builds the runner of a config.

    Raises InputError where the fields cannot be used, and where `out` holds a bench already.
    """
    if begun(out):
        raise InputError(f"{out} holds a bench: --resume goes on with it, --report reads it; or give another --out")
    grid = Grid.of(**given)
    configs, problems = grid.cells(), grid.problems()
    runners = {cell: make(config) for cell, config in configs.items()}
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out / FILE)
    experiment = store.begin(
        config=grid.model_dump(mode="json"),
        config_hash=digest_of(json.dumps(grid.deciding(), sort_keys=True).encode()),
        version=rollwise.__version__,
        cells={cell: json.loads(config.model_dump_json()) for cell, config in configs.items()},
        problems=problems,
        sources=_sources(configs.values()),
        environment=_environment(),
    )
    return Bench(grid, store, experiment, runners, problems)


def resume(out: Path, given: Mapping[str, Any], make: Callable[[Config], Runner] = Runner) -> Bench:
    """The bench in the folder `out`, to go on with: as it was begun, with what is `given` of how to run and read it.

    Raises InputError where there is none, and where `given`, the version or a file would decide otherwise than before.
    """
    store, experiment = _stored(out)
    grid = Grid.of(**experiment.config | dict(given))
    before = Grid.of(**experiment.config)
    configs = grid.cells()
    then = before.deciding() | {"version": experiment.version} | experiment.sources
    now = grid.deciding() | {"version": rollwise.__version__} | _sources(configs.values())
    differing = [name for name in now | then if now.get(name) != then.get(name)]
    if differing:
        told = "; ".join(
            f"{name} was {plain_text(then.get(name))} and is {plain_text(now.get(name))}" for name in differing
        )
        raise InputError(f"{out} was begun otherwise: {told}; go on as it was, or give another --out")
    runners = {cell: make(config) for cell, config in configs.items()}
    return Bench(grid, store, experiment, runners, grid.problems())


def run_in_jobs(bench: Bench, out: Path, on_results: Callable[[int, int], None] = lambda held, raised: None) -> None:
    """Run what has no result yet in `bench.grid.jobs` processes, each of which opens the folder and takes the next
    search when it is through with one; `on_results` is told now and then how many results there are, and how many of
    them are errors.

    Interrupted, it ends the processes, which lose what was in flight and nothing else. Raises EngineError where one of
    them ends before all is done.
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
            time.sleep(_LOOK)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            if worker.pid is not None:
                worker.join()
    on_results(*bench.store.counts(bench.experiment.id))
    if broken := [worker.exitcode for worker in workers if worker.exitcode]:
        raise EngineError(f"{len(broken)} of {jobs} jobs ended early (exit status {broken[0]}); go on with --resume")


def _run_job(out: Path, given: Mapping[str, Any], jobs: int, taken: Synchronized[int]) -> None:
    """One of the jobs: its share of the processor, and of the searches of the bench that the folder holds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began the jobs ends them
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))  # read when torch loads
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def claim() -> int:
        with taken.get_lock():
            taken.value += 1
            return taken.value - 1

    asyncio.run(resume(out, given).run(claim=claim))


def _end_with_parent() -> None:
    """End this process when the one that began it is gone, however it went; what is stored stays."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@dataclass(frozen=True)
class Found:
    """What a folder's bench found so far, and the facts of how it was run."""

    facts: dict[str, Any]
    summary: Summary


def read(out: Path, baseline: str | None = None) -> Found:
    """What the bench in the folder `out` found so far. Raises InputError where there is none."""
    store, experiment = _stored(out)
    grid = Grid.of(**experiment.config | ({"baseline": baseline} if baseline else {}))
    results = store.results(experiment.id)
    planned = len(grid.strategies) * len(grid.budgets) * grid.seeds * len(grid.levels) * grid.limit
    store.close()
    assert grid.baseline is not None
    facts = {"begun": experiment.created, "rollwise": experiment.version, **grid.deciding()}
    return Found(facts | experiment.environment | experiment.sources, summarise(results, grid.baseline, planned))


def begun(out: Path) -> bool:
    """Whether a folder holds a bench."""
    return (out / FILE).is_file() and Store(out / FILE).latest() is not None


def _stored(out: Path) -> tuple[Store, Experiment]:
    store = Store(out / FILE) if (out / FILE).is_file() else None
    experiment = store.latest() if store else None
    if store is None or experiment is None:
        raise InputError(f"{out} holds no bench; leave out --resume and --report to begin one, or give another --out")
    return store, experiment


def plain_text(value: Any) -> str:
    """A fact of a bench as people read it."""
    if isinstance(value, dict):
        value = [f"{name} {plain_text(one)}" for name, one in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _sources(configs: Iterable[Config]) -> dict[str, str]:
    """Digests of the files that decide the results beside the config: the models' folders, beliefs that are read,
    parts of one's own in files and in installed packages.
    """
    named: dict[str, list[Path]] = {}
    for config in configs:
        strategy = find_strategy(config.strategy)
        for part in ("policy", "reward", "directions", "world", "strategy"):
            name = getattr(config, part)
            if part == "directions" and "directions" not in strategy.needs:
                continue
            file = part == "strategy" and is_own_file(name)
            label = name.rpartition(":")[0] if file else f"{part} {name}"
            if label not in named:
                named[label] = part_files(config.world, part, name)
        belief = belief_file(config.belief, config.world, config.policy, config.reward)
        if belief is not None and ("belief" in strategy.needs or config.may_vote_by_belief):
            named[f"belief {config.belief}"] = [belief]
    return {name: digest_of_files(files) for name, files in named.items() if files}


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
