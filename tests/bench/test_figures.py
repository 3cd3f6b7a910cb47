"""Figures of a report against values worked out by hand, and the files of prices and of published curves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rollwise.bench import (
    Run,
    benchmark_of,
    curves_of_model,
    figures_of,
    join_runs,
    read_paper,
    read_prices,
    read_run,
    verdict,
)
from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Store
from rollwise.core import Problem, Usage
from rollwise.errors import InputError
from rollwise.report import summary_sheets

PROBLEMS = [Problem(f"p{number}", f"question {number}", "4", "world", number % 2) for number in range(10)]


def outcome(right: bool, seconds: float = 1.0, flops: float | None = 8.0, tokens: int = 100) -> Outcome:
    return Outcome(
        right=right,
        covered=True,
        right_paths=2,
        finished=4,
        seconds=seconds,
        flops=flops or 0.0,
        usage={"policy": Usage(tokens, 10, 1000, 1), "reward": Usage(0, 50, 5, 1)},
        flops_of={"reward": 2.0} | ({} if flops is None else {"policy": flops - 2.0}),
        seconds_of={"policy": 0.5, "reward": 0.25},
    )


def stored(
    folder: Path, labels: tuple[str, ...] = ("rebase", "dora"), budgets: tuple[int, ...] = (4, 8), **config: object
) -> Run:
    """A bench with two seeds in which dora solves two questions more than the others, and its last search raised."""
    folder.mkdir()
    store = Store(folder / "results.db")
    cells = [Cell(label, budget, seed) for budget in budgets for seed in (0, 1) for label in labels]
    fields = {"world": "world", "strategies": list(labels), "baseline": labels[0], "seeds": 2} | config
    begun = store.begin(fields, "hash", "0.1.0", {cell: {} for cell in cells}, PROBLEMS)
    for cell in cells:
        for number, problem in enumerate(PROBLEMS):
            right = number < (5 if cell.label == "dora" else 3)
            found = outcome(right, seconds=1.0 + number)
            if cell.label == "dora" and cell.budget == budgets[-1] and cell.seed == 1 and number == 9:
                found = Outcome(error="ValueError: no")
            store.record(begun.id, cell, problem.id, found)
    store.close()
    return read_run(folder)


def test_figures_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    figures = figures_of(stored(tmp_path / "run"))
    assert (figures.baseline, figures.strategies, figures.budgets) == ("rebase", ("rebase", "dora"), (4, 8))
    cost = next(each for each in figures.costs if (each.strategy, each.budget) == ("dora", 4))
    assert (cost.accuracy, cost.tokens, cost.flops) == (0.5, 160, 8.0)
    assert (cost.roles["policy"].flops, cost.roles["reward"].flops) == (6.0, 2.0)
    assert (cost.roles["policy"].generated, cost.roles["reward"].prefilled, cost.roles["policy"].seconds) == (
        100,
        50,
        0.5,
    )
    seconds = np.repeat(np.arange(1.0, 11.0), 2)
    assert (cost.latency_50, cost.latency_95) == pytest.approx((np.median(seconds), np.percentile(seconds, 95)))
    assert [(each.budget, each.wins, each.losses, each.ties) for each in figures.comparisons] == [
        (4, 2, 0, 8),
        (8, 2, 0, 8),
    ]
    assert all(each.mean == pytest.approx(0.2) for each in figures.comparisons)
    match = figures.matches[0]
    assert (match.one, match.other, match.wins, match.losses, match.ties) == ("rebase", "dora", 0, 2, 8)
    assert figures.asked[4].right == {
        ("rebase", 4): (0, 2),
        ("dora", 4): (2, 2),
        ("rebase", 8): (0, 2),
        ("dora", 8): (2, 2),
    }


def test_failed_searches_stay_in_the_denominator_and_are_listed(tmp_path: Path) -> None:
    figures = figures_of(stored(tmp_path / "run"))
    (failure,) = figures.failures
    assert (failure.cell, failure.problem, failure.error) == (Cell("dora", 8, 1), "p9", "ValueError: no")
    row = figures.row("dora", 8)
    assert row is not None
    assert (row.results, row.errors, row.measures["accuracy"].mean) == (20, 1, 0.5)
    assert any("1 of 80 searches raised" in sentence for sentence in verdict(figures))


def test_flops_are_unknown_if_those_of_a_role_are(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    known = [replace(each, outcome=replace(each.outcome, flops=0.0, flops_of={"reward": 2.0})) for each in run.results]
    cost = figures_of(replace(run, results=tuple(known))).costs[0]
    assert (cost.roles["policy"].flops, cost.roles["reward"].flops, cost.flops) == (None, 2.0, None)
    partly = [replace(each, outcome=replace(each.outcome, flops=2.0, flops_of={"reward": 2.0})) for each in run.results]
    figures = figures_of(replace(run, results=tuple(partly)))
    assert figures.costs[0].flops is None
    shown = next(sheet for sheet in summary_sheets(figures.summary) if "FLOPs" in sheet.columns)
    assert {row[shown.columns.index("FLOPs")] for row in shown.rows} == {"unknown", ""}
    older = [replace(each, outcome=replace(each.outcome, flops_of={})) for each in run.results]
    cost = figures_of(replace(run, results=tuple(older))).costs[0]
    assert (cost.roles["policy"].flops, cost.flops) == (None, 8.0)  # an older store kept the sum


def test_the_baseline_can_be_chosen(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    figures = figures_of(run, "dora")
    assert {each.strategy for each in figures.comparisons} == {"rebase"}
    assert figures.comparisons[0].mean == pytest.approx(-0.2)
    with pytest.raises(InputError, match="not among the strategies"):
        figures_of(run, "beam")
    with pytest.raises(InputError, match="no results yet"):
        figures_of(replace(run, results=()))


def test_runs_on_the_same_questions_are_read_as_one(tmp_path: Path) -> None:
    one = stored(tmp_path / "one", ("rebase",))
    other = stored(tmp_path / "other", ("dora",))
    elsewhere = stored(tmp_path / "elsewhere", ("beam",), search={"policy": "another"})
    together = join_runs([one, other, elsewhere])
    assert [run.strategies for run in together] == [("rebase", "dora"), ("beam",)]
    assert figures_of(together[0]).comparisons[0].mean == pytest.approx(0.2)
    assert len(join_runs([one, one])) == 2
    assert together[0].events(Cell("dora", 4, 0), "p0") is None


def test_a_verdict_says_which_strategy_is_best_and_whether_it_is_told_apart(tmp_path: Path) -> None:
    lead, first, *_ = verdict(figures_of(stored(tmp_path / "run")))
    assert lead.startswith("No strategy is told apart from rebase at any budget (10 questions, 2 seeds each).")
    assert first.startswith("At 4 rollouts: dora is best with 50.0 % right, rebase has 30.0 %; the difference is +20.0")
    assert first.endswith("not told apart, on 10 questions.")


def test_a_verdict_on_questions_that_nobody_solved_says_what_the_rollouts_found(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    wrong = [replace(each, outcome=replace(each.outcome, right=False)) for each in run.results]
    first, second = verdict(figures_of(replace(run, results=tuple(wrong))))[1:3]
    found = "rebase has a right rollout on 100.0 % of the questions, which no vote elected."
    assert first == f"At 4 rollouts: no strategy has any question right, but {found}"
    assert second.startswith("At 8 rollouts: no strategy has any question right, but")
    never = [replace(each, outcome=replace(each.outcome, right=False, covered=False)) for each in run.results]
    first = verdict(figures_of(replace(run, results=tuple(never))))[1]
    assert first.endswith("any question right, and no rollout ended right, so a vote cannot tell them apart.")


def test_an_unfinished_bench_says_what_is_missing(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    assert not any("--resume" in sentence for sentence in verdict(figures_of(run)))
    part = replace(run, results=run.results[:30])
    assert "30 of 80 planned results are here. If the bench is not running, --resume adds the others." in verdict(
        figures_of(part)
    )


def test_money_is_tokens_times_prices_or_hours_times_rate(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('currency = "EUR"\n[policy]\ngenerated = 2.0\nprefilled = 1\ncached = 0.5\n[reward]\nprefilled = 4')
    prices = read_prices(file)
    assert prices.money(outcome(True)) == pytest.approx((100 * 2 + 10 * 1 + 1000 * 0.5 + 50 * 4) / 1e6)
    file.write_text("per_hour = 3.6\nsearches_at_once = 4")
    assert read_prices(file).money(outcome(True, seconds=8.0)) == pytest.approx(3.6 * 8 / 3600 / 4)
    figures = figures_of(stored(tmp_path / "run"), prices=read_prices(file))
    assert figures.costs[0].money == pytest.approx(3.6 * 5.5 / 3600 / 4)
    assert figures.currency == "USD"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "either per_hour, or a table"),
        ("per_hour = 1\n[policy]\ngenerated = 1", "either per_hour, or a table"),
        ("per_hour = -1", "number from 0 on"),
        ("per_hour = inf", "number from 0 on"),
        ("per_hour = 1\nsearches_at_once = 0", "at least 1"),
        ("[policy]\nread = 1", "no field 'read'"),
        ("policy = 3", "takes the fields"),
        ("[judge]\ngenerated = 1", "no field 'judge'"),
        ("per_hour = [", "is not TOML"),
    ],
)
def test_prices_that_cannot_be_used_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_prices(tmp_path / "prices.toml")


def test_published_curves_are_read(tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    given = {"accuracy|MATH500|Llama-3.2-1B": {"DORA": [10, 20.5], "Own": [0, 100]}, "_meta": {"budgets": [16, 64]}}
    file.write_text(json.dumps(given))
    (curves,) = read_paper(file)
    assert (curves.measure, curves.benchmark, curves.model) == ("accuracy", "MATH500", "Llama-3.2-1B")
    assert (curves.budgets, curves.lines) == ((16, 64), {"dora": (0.1, 0.205), "Own": (0.0, 1.0)})
    other = replace(curves, model="Qwen2.5-1.5B")
    assert curves_of_model([curves, other], "meta-llama/Llama-3.2-1B-Instruct") == [curves]
    assert curves_of_model([curves, other], "http://127.0.0.1:8000") == [curves, other]


@pytest.mark.parametrize(
    "given",
    [
        [],
        {"accuracy": {}},
        {"speed|MATH500|M": {}},
        {"accuracy|MATH500|M": []},
        {"accuracy|MATH500|M": {"DORA": [1, 2]}},
        {"accuracy|MATH500|M": {"DORA": [1, 2, 3, 4, "5"]}},
        {"accuracy|MATH500|M": {"DORA": [1, 2, 3, 4, 500]}},
        {"accuracy|MATH500|M": {"DORA": [1]}, "_meta": {"budgets": [True]}},
        {"accuracy|MATH500|M": {"DORA": [1]}, "_meta": {"budgets": 7}},
    ],
)
def test_curves_that_cannot_be_used_are_refused(tmp_path: Path, given: object) -> None:
    (tmp_path / "paper.json").write_text(json.dumps(given))
    with pytest.raises(InputError, match="paper"):
        read_paper(tmp_path / "paper.json")


@pytest.mark.parametrize(
    ("config", "benchmark"),
    [
        ({"data": "MATH-500"}, "MATH500"),
        ({"data": "/data/math500.jsonl"}, "MATH500"),
        ({"data": ["aime24.jsonl"]}, "AIME2024"),
        ({"data": "AIME 2025"}, "AIME2025"),
        ({"data": "math5000"}, None),
        ({"data": "gsm8k", "world": "countdown"}, None),
        ({"world": "countdown"}, None),
    ],
)
def test_the_papers_benchmark_is_known_by_the_name_of_the_data(
    config: dict[str, object], benchmark: str | None
) -> None:
    assert benchmark_of(config) == benchmark
