"""One declaration makes flags, TOML fields and the reference page."""

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import rollwise
from rollwise.cli import build_app
from rollwise.cli.bench import BenchOptions
from rollwise.cli.options import command, default_text, flag_of, shown, value_type
from rollwise.cli.solve import SolveOptions
from rollwise.search import Config, Limits, Options
from rollwise.search.options import START

MODELS: dict[str, type[Options]] = {"solve": SolveOptions, "bench": BenchOptions}


@pytest.mark.parametrize("name", MODELS)
def test_every_option_is_described_and_stands_in_the_help(name: str) -> None:
    run = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(build_app(), [name, "--help"])
    assert run.exit_code == 0
    for field_name, field in MODELS[name].model_fields.items():
        assert field.description, field_name
        assert field.description.rstrip().endswith("."), field_name
        if not shown(field).argument:
            assert flag_of(field_name, field) in run.output


@pytest.mark.parametrize("name", MODELS)
def test_a_newcomer_needs_five_and_finds_them_first(name: str) -> None:
    first = [field for field, info in MODELS[name].model_fields.items() if shown(info).group == START]
    assert len(first) == 5
    output = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(build_app(), [name, "--help"]).output
    groups = dict.fromkeys(shown(info).group for info in MODELS[name].model_fields.values())
    places = [output.index(f" {group} ") for group in groups]
    assert places == sorted(places)
    assert next(iter(groups)) == START


def given(model: type[Options], words: list[str]) -> dict[str, Any]:
    """What a command of this model gets from these words."""
    import typer

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
    declared = re.compile(r"budgets?: [^=\n]*= ?\(?\d+")
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
