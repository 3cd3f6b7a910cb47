"""One declaration makes flags, TOML fields and the reference page."""

import inspect
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

import rollwise
from rollwise.cli import build_app
from rollwise.cli.bench import BenchOptions
from rollwise.cli.calibrate import CalibrateOptions
from rollwise.cli.options import command, default_text, flag_of, shown, value_type
from rollwise.cli.serve import ServeOptions
from rollwise.cli.simulate import SimulateOptions
from rollwise.cli.solve import SolveOptions
from rollwise.cli.world import EvaluateOptions, ExportOptions, ProblemOptions, RolloutsOptions, TrainOptions
from rollwise.search import Config, Limits, Options
from rollwise.search.options import START, Shown
from rollwise.simulation import Branching, OneShot

MODELS: dict[str, type[Options]] = {
    "solve": SolveOptions,
    "bench": BenchOptions,
    "calibrate": CalibrateOptions,
    "simulate": SimulateOptions,
    "serve-model": ServeOptions,
    "world problem": ProblemOptions,
    "world train": TrainOptions,
    "world rollouts": RolloutsOptions,
    "world evaluate": EvaluateOptions,
    "world export": ExportOptions,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_option_is_described_and_stands_in_the_help(name: str) -> None:
    run = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(build_app(), [*name.split(), "--help"])
    assert run.exit_code == 0
    for field_name, field in MODELS[name].model_fields.items():
        assert field.description, field_name
        assert field.description.rstrip().endswith("."), field_name
        if not shown(field).argument:
            assert flag_of(field_name, field) in run.output


@pytest.mark.parametrize("name", MODELS)
def test_a_newcomer_needs_at_most_five_and_finds_them_first(name: str) -> None:
    first = [field for field, info in MODELS[name].model_fields.items() if shown(info).group == START]
    assert 1 <= len(first) <= 5
    output = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(build_app(), [*name.split(), "--help"]).output
    groups = dict.fromkeys(shown(info).group for info in MODELS[name].model_fields.values())
    places = [output.index(f"─ {group} ─") for group in groups]
    assert places == sorted(places)
    assert next(iter(groups)) == START


@pytest.mark.parametrize("name", ["solve", "bench"])
def test_a_search_starts_with_five_options(name: str) -> None:
    assert [shown(info).group for info in MODELS[name].model_fields.values()].count(START) == 5


def given(model: type[Options], words: list[str]) -> dict[str, Any]:
    """What a command of this model gets from these words."""
    got: list[dict[str, Any]] = []
    app = typer.Typer()
    app.command()(command(model, got.append))
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    return got[0]


def test_a_command_gets_what_was_given_and_nothing_else() -> None:
    assert given(SolveOptions, []) == {}
    assert given(SolveOptions, ["2 + 2", "--budget", "8", "--option", "a=1", "--option", "b=x", "--json"]) == {
        "question": "2 + 2",
        "budget": 8,
        "options": ["a=1", "b=x"],
        "as_json": True,
    }
    assert given(BenchOptions, ["--budgets", "4,8", "--set", "vote=majority", "--out", "there"]) == {
        "budgets": "4,8",
        "search": ["vote=majority"],
        "out": Path("there"),
    }


class Needed(Options):
    file: Annotated[Path, Shown(START)] = Field(description="A file.")


def test_an_option_without_a_default_has_to_be_given() -> None:
    assert default_text(Needed.model_fields["file"]) == "required"
    app = typer.Typer()
    app.command()(command(Needed, lambda given: None))
    run = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [])
    assert run.exit_code == 2
    assert "Missing option '--file'" in run.output
    assert given(Needed, ["--file", "a"]) == {"file": Path("a")}


def test_an_argument_shows_its_default() -> None:
    run = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(build_app(), ["world", "problem", "--help"])
    assert "The world. Default: countdown." in run.output
    assert given(ProblemOptions, []) == {}
    assert given(ProblemOptions, ["stories", "--count", "2"]) == {"world": "stories", "count": 2}


def test_every_field_of_a_simulated_world_is_an_option() -> None:
    known = {field.name for world in (OneShot, Branching) for field in fields(world)}
    assert known <= set(SimulateOptions.model_fields)
    assert default_text(SimulateOptions.model_fields["noise"]) == str(OneShot.noise) == str(Branching.noise)
    assert default_text(SimulateOptions.model_fields["worth"]) == f"{OneShot.worth}; in a tree {Branching.worth}"
    assert default_text(SimulateOptions.model_fields["branches"]) == str(Branching.branches)
    assert default_text(SimulateOptions.model_fields["told_concentration"]).startswith("the true κ; in a tree")


def test_defaults_are_those_of_the_classes_that_commands_fill() -> None:
    """The models cannot read these defaults from the classes, because their modules load torch."""
    from rollwise.model_server import Choice
    from rollwise.training import Questions, Recipe
    from rollwise.training.fitting import TrainingOptions
    from rollwise.training.reward import REWARD_OPTIONS

    filled: list[tuple[type[Options], type[Any]]] = [
        (TrainOptions, Recipe),
        (EvaluateOptions, Questions),
        (ServeOptions, Choice),
    ]
    for model, record in filled:
        wanted = {field.name: field.default for field in fields(record)}
        assert {name: model.model_fields[name].default for name in wanted} == wanted
    steps = f"{TrainingOptions.steps} for a policy, {REWARD_OPTIONS.steps} for a reward model"
    assert default_text(TrainOptions.model_fields["steps"]) == steps


def test_flags_take_the_type_of_their_field() -> None:
    wanted = {"budget": int, "temperature": float, "explain": bool, "draw": Path, "options": dict, "vote": str}
    assert {name: value_type(SolveOptions.model_fields[name]) for name in wanted} == wanted


def test_defaults_are_shown_as_they_are() -> None:
    for name, field in BenchOptions.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if shown(field).default is None and isinstance(default, int) and not isinstance(default, bool):
            assert default_text(field) == str(default), name
    assert default_text(BenchOptions.model_fields["events"]) == "off"
    assert default_text(BenchOptions.model_fields["budgets"]) == str(Limits.budget)


def test_the_default_budget_stands_in_one_place() -> None:
    source = Path(rollwise.__file__).parent
    declared = re.compile(r"budgets?: [^=(\n]*= ?\(?\d+")
    places = [file.name for file in source.rglob("*.py") for _ in declared.findall(file.read_text(encoding="utf-8"))]
    assert places.count("machine.py") == 1
    assert set(places) <= {"machine.py", "evaluation.py"}  # the latter's are what pass@N is measured at
    assert Config().budget == Limits.budget == inspect.signature(rollwise.solve).parameters["budget"].default
    assert BenchOptions().budgets == (Limits.budget,)


def test_a_toml_file_takes_the_names_of_the_fields(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('strategies = "rebase"\nbudgets = [4]\nlimit = 1\nlevels = [1]\n[search]\nvote = "majority"\n')
    assert set(tomllib.loads(file.read_text())) <= set(BenchOptions.model_fields)
    words = ["bench", "--config", str(file), "--limit", "2", "--out", str(tmp_path / "out"), "--json"]
    run = CliRunner().invoke(build_app(), words)
    assert run.exit_code == 0, run.output
    assert '"limit": 2' in run.stdout
