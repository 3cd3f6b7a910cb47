"""What a bench compares: a grid of strategies × budgets × seeds over the problems of a world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator

from rollwise.allocation import split_settings, split_variants
from rollwise.data import QuestionFile, Questions
from rollwise.engines.http import is_url
from rollwise.errors import InputError
from rollwise.names import WORLDS
from rollwise.registry import find_problems
from rollwise.search import (
    ALLOCATION,
    CLUSTER_FIELDS,
    QUESTIONS,
    RUN,
    START,
    ClusterOptions,
    Config,
    Limits,
    Names,
    Numbers,
    Runner,
    Shown,
    validated,
)

_SET_BY_GRID = ("world", "strategy", "options", "budget", "seed", "grader")
LIMIT = 20
"""Questions of each level of a world."""
_READING = {"baseline", "in_flight", "jobs", *CLUSTER_FIELDS}


@dataclass(frozen=True)
class Cell:
    """One strategy at one budget under one seed, by the label that its tables carry."""

    label: str
    budget: int
    seed: int


@dataclass(frozen=True)
class Variant:
    """A strategy of a grid under the label of its tables, with its options and the config fields that it sets."""

    label: str
    strategy: str
    options: dict[str, Any]
    fields: dict[str, Any]


def read_variant(label: str) -> Variant:
    """The variant of a label, `strategy` or `strategy:name=value,...`.

    Names of the config's fields set these; other names are options of the strategy. Raises InputError for a field that
    belongs to the grid.
    """
    strategy, settings = split_settings(label)
    fields = {name: value for name, value in settings.items() if name in Config.model_fields}
    _refuse_grid_fields(label, fields)
    options = {name: value for name, value in settings.items() if name not in fields}
    return Variant(label, strategy, options, fields)


def _refuse_grid_fields(where: str, fields: Iterable[str]) -> None:
    for name in fields:
        if name in _SET_BY_GRID:
            raise InputError(
                f"{where}: {name} is the grid's to set; give world, strategies, budgets, seeds and grader there"
            )


class Grid(ClusterOptions, QuestionFile):
    """Everything that decides a bench, and how it is read. Unknown keys are refused.

    Seeds of the searches are 0 to `seeds` - 1. `search` holds fields of `rollwise.Config` for every search.
    """

    world: Annotated[str, Shown(QUESTIONS, "countdown; text with --data")] = Field(
        default="countdown", description="The world whose problems are asked if there is no --data."
    )
    strategies: Annotated[tuple[str, ...], Shown(START)] = Field(
        default=("temperature", "rebase", "dora"),
        description="The strategies to compare, each with settings if you like: rebase, dora:directions=state.",
    )
    budgets: Annotated[Numbers, Shown(START)] = Field(
        default=(Limits.budget,), description="Rollouts of a search; several with commas: 16,64."
    )
    limit: Annotated[int | None, Shown(START, f"{LIMIT}; all of --data")] = Field(
        default=None, ge=1, description="Questions of each level; of --data, in all."
    )
    search: Annotated[dict[str, Any], Shown(ALLOCATION, flag="set")] = Field(
        default_factory=dict,
        description="A field of every search: reward=dial(0.5,1), directions=state, vote=majority.",
    )
    grader: Annotated[str, Shown(QUESTIONS)] = Field(
        default="auto",
        description="How answers to --data are graded: math (auto), integer, number or number(TOLERANCE), choice (A to "
        "E), text (exact), or your own as file.py:function.",
    )
    seeds: Annotated[int, Shown(QUESTIONS)] = Field(
        default=1, ge=1, description="Searches of each question, with seeds 0 on."
    )
    levels: Annotated[Numbers, Shown(QUESTIONS, "all")] = Field(default=(), description="Levels: 3,4,5.")
    first_seed: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, ge=0, description="Seed of each level's first question."
    )
    split: Annotated[str, Shown(QUESTIONS)] = Field(
        default="validation", description="validation while you tune; test once, at the end."
    )
    only: Annotated[Names, Shown(QUESTIONS, "all")] = Field(
        default=(), description="The ids of the questions to ask; the others are left out."
    )
    baseline: Annotated[str | None, Shown(QUESTIONS, "rebase, else the first")] = Field(
        default=None, description="The strategy that the others are compared with."
    )
    in_flight: Annotated[int, Shown(RUN)] = Field(
        default=4, ge=1, description="Searches at once, in each job or Ray worker."
    )
    jobs: Annotated[int, Shown(RUN)] = Field(
        default=1, ge=1, description="Processes that share the searches, a core each."
    )
    events: Annotated[bool, Shown(RUN)] = Field(default=False, description="Keep the events of every search too.")

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
        for value in given:
            if given.count(value) > 1:
                raise InputError(f"{value} is given twice; give each once")
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
        grid._refuse_other_engine()
        baseline = grid.baseline or ("rebase" if "rebase" in grid.strategies else grid.strategies[0])
        return grid.model_copy(update={"baseline": baseline, **grid._chosen_problems()})

    def _refuse_other_engine(self) -> None:
        """Raise InputError for jobs on a Ray cluster, and for a cluster without the engine that reads it."""
        if self.engine == "ray" and self.jobs != 1:
            raise InputError("--jobs are processes on this machine; with --engine ray give --ray-workers instead")
        self.refuse_idle_cluster()

    def _chosen_problems(self) -> dict[str, Any]:
        """The fields that choose the problems, with what was left out. Raises InputError if they do not fit."""
        self.refuse_fields_without_data()
        if self.data is not None:
            return {"world": self._world_of_data(), "levels": ()}
        if "world" not in self.model_fields_set:
            self._refuse_servers()
        levels = self.levels or tuple(find_problems(self.world).levels)
        if not levels:
            raise InputError(
                f"the world {self.world} draws no problems to compare on: give your own by --data FILE, or name a "
                "world that draws some by --world"
            )
        return {"levels": levels, "limit": self.limit or LIMIT}

    def _world_of_data(self) -> str:
        """The world of questions of --data. Raises InputError for an option that only a world's problems read."""
        if self.world not in ("text", Grid.model_fields["world"].default):
            raise InputError(f"--data brings its own questions: leave --world {self.world} out")
        for name, instead in (("levels", "--where level=5"), ("first_seed", "--shuffle"), ("split", "another file")):
            if getattr(self, name) not in (Grid.model_fields[name].default, ()):
                raise InputError(f"--{name.replace('_', '-')} is for a world's problems; with --data take {instead}")
        for variant in map(read_variant, self.strategies):
            if "policy" not in variant.fields | self.search:
                raise InputError(
                    f"{variant.label}: no model is named that answers --data: give --set policy=URL, or the folder of "
                    "a causal language model"
                )
        return "text"

    def _refuse_servers(self) -> None:
        """Raise InputError if a variant's policy is behind a server: its questions are then not those of the default
        world as a matter of course, as `rollwise solve` would ask it any question.
        """
        for variant in map(read_variant, self.strategies):
            policy = variant.fields.get("policy", self.search.get("policy"))
            if is_url(policy):
                raise InputError(
                    f"the policy {policy} answers questions of any kind: give your own by --data FILE, or name the "
                    f"world that poses them by --world, {', '.join(WORLDS)} or your own as file.py:name"
                )

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the results, as plain values."""
        return self.model_dump(mode="json", exclude=_READING)

    def cells(self) -> dict[Cell, Config]:
        """Every cell with the config of its searches: budgets, then seeds, then strategies in the order given.

        Searches vote by weighted majority by default: a vote that checks answers would make accuracy and coverage the
        same. They spend all rollouts by default: coverage counts all paths. Raises InputError.
        """
        return {
            Cell(variant.label, budget, seed): Config.of(
                **{"vote": "weighted_majority", "stop_early": "never"} | self.search | variant.fields,
                world=self.world,
                grader=self.grader,
                strategy=variant.strategy,
                options=variant.options,
                budget=budget,
                seed=seed,
            )
            for budget in self.budgets
            for seed in range(self.seeds)
            for variant in map(read_variant, self.strategies)
        }

    def refuse_idle(self, runners: Mapping[Cell, Runner]) -> None:
        """Raise InputError for evidence that a variant asks for by name and that nothing in its search reads."""
        for variant in map(read_variant, self.strategies):
            parts = runners[Cell(variant.label, self.budgets[0], 0)].parts
            for evidence in ("directions", "belief"):
                if evidence in variant.fields:
                    parts.refuse_idle(evidence, variant.label)

    def asked(self) -> Questions:
        """The questions of --data; else a world's, levels in turn, so that a stopped bench holds as many of each."""
        if self.data is not None:
            return self._chosen(self.questions(self.grader))
        world = find_problems(self.world)
        seeds = range(self.first_seed, self.first_seed + (self.limit or LIMIT))
        problems = [world.problem(level, seed, self.split) for seed in seeds for level in self.levels]
        return self._chosen(Questions(self.world, tuple(problems)))

    def _chosen(self, questions: Questions) -> Questions:
        """The questions that `only` names; all without it. Raises InputError for an id that no question has."""
        if unknown := set(self.only) - {problem.id for problem in questions.problems}:
            raise InputError(f"only: no question has the id {sorted(unknown)[0]!r}; leave it out")
        if not self.only:
            return questions
        return questions.among(self.only)
