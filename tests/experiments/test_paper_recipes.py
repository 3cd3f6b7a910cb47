"""The recipes of the paper's grid: they ask for what the paper did, and each runs to its report on tiny models."""

import importlib
import json
import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rollwise.bench import Grid, curves_of_model, figures_of, read_paper, read_run

FOLDER = Path(__file__).parents[2] / "experiments" / "paper"
RECIPES = sorted(FOLDER.glob("*.toml"))
POLICIES = {
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
}
BENCHMARKS = {"math500": ("MATH-500", 5), "aime2024": ("AIME-2024", 10), "aime2025": ("AIME-2025", 10)}


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name: str) -> Any:
    return importlib.import_module(name)


def test_there_is_a_recipe_for_each_benchmark_and_policy() -> None:
    assert {file.stem for file in RECIPES} == {"-".join(pair) for pair in product(BENCHMARKS, POLICIES)}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_asks_what_the_paper_asked(recipe: Path) -> None:
    benchmark, _, policy = recipe.stem.partition("-")
    grid = Grid.of(**tomllib.loads(recipe.read_text(encoding="utf-8")))
    assert (grid.data, grid.seeds) == BENCHMARKS[benchmark]
    assert grid.budgets == (16, 32, 64, 128, 256)
    assert set(grid.strategies) >= {"temperature", "beam", "dvts", "rebase", "dora"}
    assert len(grid.cells()) == 5 * grid.seeds * len(grid.strategies)
    for config in grid.cells().values():
        assert config.policy.endswith("#" + POLICIES[policy])
        assert "qwen_prm@" in config.reward
        assert "bge-m3" in config.directions
        assert (config.temperature, config.top_p, config.aggregate) == (0.8, 1.0, "last")
        assert (config.max_step_tokens, config.max_tokens, config.max_steps) == (256, 2048, 40)
        assert config.constant_width
        assert config.vote == "weighted_majority"
        assert config.options == {}  # M = 4, T_b = 0.1 and T_s = 0.01 are the defaults


def runs_to_its_report(recipe: Path, folder: Path) -> None:
    smoke, grid = module("smoke"), tomllib.loads(recipe.read_text(encoding="utf-8"))
    curves = folder / "curves.json"
    lines = {"REBASE": [1, 2, 3, 4, 5], "DORA": [5, 4, 3, 2, 1]}
    names = {"MATH-500": "MATH500", "AIME-2024": "AIME2024", "AIME-2025": "AIME2025"}
    models = ["Llama-3.2-1B", "Llama-3.2-3B", "Qwen2.5-1.5B"]
    curves.write_text(json.dumps({f"accuracy|{names[grid['data']]}|{model}": lines for model in models}))
    page = smoke.smoke(recipe, folder / "run", curves).read_text(encoding="utf-8")
    figures = figures_of(read_run(folder / "run" / "bench"))
    assert figures.summary.results == figures.summary.planned == 2 * 2 * 6
    assert not figures.failures
    assert {row.strategy for row in figures.summary.rows} == set(grid["strategies"])
    for each in figures.costs:
        assert each.roles["policy"].generated > 0
        assert each.roles["reward"].prefilled > 0
        assert (each.roles["embedder"].prefilled > 0) == (each.strategy in ("dora", "optimal_directions"))
    drawn = set(re.findall(r"paper: accuracy, ([\w.-]+)", page))
    assert drawn == {curve.model for curve in curves_of_model(read_paper(curves), smoke.policy_name(grid))}
    assert len(drawn) == 1


def test_a_recipe_runs_to_its_report(tmp_path: Path) -> None:
    runs_to_its_report(FOLDER / "math500-qwen2.5-1.5b.toml", tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_runs_to_its_report(recipe: Path, tmp_path: Path) -> None:
    runs_to_its_report(recipe, tmp_path)


def test_the_cost_is_that_of_the_papers_table() -> None:
    """A question at N = 256 by REBASE took 490 s, by beam search 345 s; here with all five budgets, 496 rollouts."""
    cost = module("cost")
    first = cost.costs(limit=1, seeds=1)["rows"][0]
    seconds = (253 + 345 + 253 + 490) / 256 * 496 + 2 * 124 / 64 * 496
    assert first[:3] == ["MATH-500", "Llama-3.2-1B-Instruct", 30]
    assert first[5] == round(seconds / 3600)
    total = cost.costs()["rows"][-1]
    assert total[2] == 3 * (500 * 5 + 2 * 30 * 10) * 30
