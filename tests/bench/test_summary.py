"""Intervals against closed forms and enumeration; summaries against sums by hand."""

from __future__ import annotations

import io
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Result
from rollwise.bench.summary import Interval, summarise
from rollwise.core import Usage
from rollwise.errors import InputError
from rollwise.numerics import (
    bootstrap_interval,
    bootstrap_intervals,
    detectable_difference,
    keyed_generator,
    wilson_interval,
)
from rollwise.report.sheets import Sheet, sheet_markdown, sheet_tables, summary_notes, summary_sheets

values_of = st.lists(st.floats(-1, 1), min_size=1, max_size=40).map(np.array)


def test_bootstrap_of_many_values_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(0.3, 2.0, 2000)
    low, high = bootstrap_interval(values, keyed_generator("test"), resamples=20_000)
    half = 1.959964 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.03 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.03 * half)


@pytest.mark.parametrize("values", [[0.0, 0.25, 1.0], [-1.0, 0.1, 0.3, 0.35], [0.0, 0.0, 0.5, -0.25, 1.0]])
def test_bootstrap_of_few_values_agrees_with_enumeration(values: list[float]) -> None:
    every = np.sort([np.mean(drawn) for drawn in itertools.product(values, repeat=len(values))])
    for confidence in (0.5, 0.8, 0.95):
        interval = bootstrap_interval(np.array(values), keyed_generator("test"), confidence, resamples=100_000)
        for edge, quantile in zip(interval, (0.5 - confidence / 2, 0.5 + confidence / 2), strict=True):
            assert np.mean(every < edge - 1e-9) <= quantile + 0.01
            assert np.mean(every <= edge + 1e-9) >= quantile - 0.01


@settings(max_examples=50, deadline=None)
@given(values_of, st.floats(-2, 2), st.floats(0.1, 3))
def test_bootstrap_intervals_shift_and_scale_with_the_values(values: np.ndarray, shift: float, scale: float) -> None:
    low, high = bootstrap_interval(values, keyed_generator("test"), resamples=500)
    assert values.min() - 1e-12 <= low <= high <= values.max() + 1e-12
    moved = bootstrap_interval(values * scale + shift, keyed_generator("test"), resamples=500)
    assert moved == pytest.approx((low * scale + shift, high * scale + shift), abs=1e-9)
    assert bootstrap_interval(values, keyed_generator("test"), resamples=500) == (low, high)


def test_bootstrap_in_blocks_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(30)
    whole = bootstrap_interval(values, keyed_generator("test"))
    monkeypatch.setattr("rollwise.numerics._BLOCK", 100)
    assert bootstrap_interval(values, keyed_generator("test")) == pytest.approx(whole)
    with pytest.raises(InputError):
        bootstrap_interval(np.array([]), keyed_generator("test"))


def test_columns_resampled_together_have_the_intervals_that_they_have_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(3).random((37, 5)) * [1, 10, -3, 1, 0]
    monkeypatch.setattr("rollwise.numerics._BLOCK", 37 * 64)
    together = bootstrap_intervals(columns, keyed_generator("test"), 0.9, 1000)
    alone = [bootstrap_interval(column, keyed_generator("test"), 0.9, 1000) for column in columns.T]
    assert together == pytest.approx(np.array(alone), abs=1e-12)
    with pytest.raises(InputError):
        bootstrap_intervals(np.empty((0, 2)), keyed_generator("test"))


def test_a_detectable_difference_is_detected_with_the_stated_power() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 0.4, (4000, 100))
    reach = detectable_difference(noise[0] * 0.4 / noise[0].std(ddof=1))
    assert reach is not None
    assert reach == pytest.approx(2.801585 * 0.04)
    tested = noise + reach
    detected = np.abs(tested.mean(axis=1)) > 1.959964 * 0.4 / 10
    assert detected.mean() == pytest.approx(0.8, abs=0.02)
    assert detectable_difference(np.array([0.5])) is None
    assert detectable_difference(np.zeros(9)) is None


def result(label: str, seed: int, problem: int, right: int, level: int = 1, error: str | None = None) -> Result:
    usage = {} if error else {"policy": Usage(100 * (seed + 1), 10, 0, 3)}
    done = Outcome(right > 1, right > 0, right, 8, 0, rounds=3, flops=6.0, seconds=0.5, error=error, usage=usage)
    return Result(Cell(label, 8, seed), f"p{problem}", level, done)


def test_a_summary_agrees_with_sums_by_hand() -> None:
    rights = {
        ("dora", 0): [0, 1, 2, 8],
        ("dora", 1): [2, 2, 0, 8],
        ("rebase", 0): [0, 0, 2, 4],
        ("rebase", 1): [1, 0, 0, 0],
    }
    results = [result(label, seed, p, right) for (label, seed), many in rights.items() for p, right in enumerate(many)]
    summary = summarise(results, "rebase", planned=20)
    dora, rebase = summary.rows
    assert (dora.strategy, dora.questions, dora.results, dora.errors) == ("dora", 4, 8, 0)
    assert dora.measures["accuracy"].mean == 5 / 8
    assert dora.measures["coverage"].mean == 6 / 8
    assert dora.measures["pass_rate"].mean == 23 / 64
    assert (dora.measures["accuracy"].low, dora.measures["accuracy"].high) == wilson_interval(2.5, 4)
    by_question = np.array([(2 - 1) / 16, 3 / 16, 0, (16 - 4) / 16])
    difference = dora.measures["pass_rate"].difference
    assert difference is not None
    assert difference.mean == pytest.approx(by_question.mean())
    assert difference.detectable == pytest.approx(2.801585 * by_question.std(ddof=1) / 2)
    assert rebase.measures["accuracy"].difference is None
    assert dora.tokens == {"policy": {"generated": 150, "prefilled": 10, "cached": 0, "calls": 3}}
    assert (dora.rounds, dora.flops, dora.seconds) == (3, 6.0, 0.5)
    assert dora.costs["tokens"] == Interval(160.0, 160.0, 160.0)
    assert (dora.costs["flops"].mean, dora.costs["seconds"].mean) == (6.0, 0.5)
    assert summary.by_level == ()
    assert summary_notes(summary) == [
        "16 of 20 results are here. If the bench is not running, --resume adds the others."
    ]
    assert summarise(results, "rebase", planned=20) == summary


def test_a_cost_has_the_bootstrap_interval_of_its_means_over_seeds() -> None:
    def took(seconds: float, each: Result) -> Result:
        return replace(each, outcome=replace(each.outcome, seconds=seconds))

    spent = [1.0, 2.0, 4.0, 8.0]
    results = [
        took(seconds * (1 + seed), result("dora", seed, p, 1)) for seed in (0, 1) for p, seconds in enumerate(spent)
    ]
    cost = summarise(results, "dora").rows[0].costs["seconds"]
    by_question = 1.5 * np.array(spent)
    low, high = bootstrap_interval(by_question, keyed_generator("questions", 4))
    assert cost.mean == pytest.approx(by_question.mean())
    assert (cost.low, cost.high) == pytest.approx((low, high))


def test_differences_use_the_problems_that_both_strategies_have() -> None:
    results = [result("rebase", 0, problem, 8 * (problem % 2)) for problem in range(6)]
    results += [result("dora", 0, problem, 8) for problem in (1, 3)]
    dora = summarise(results, "rebase").rows[1]
    assert dora.measures["accuracy"].mean == 1
    assert dora.measures["accuracy"].difference is not None
    assert dora.measures["accuracy"].difference.mean == 0
    disjoint = summarise([result("rebase", 0, 0, 8), result("dora", 0, 1, 8)], "rebase").rows[1]
    assert disjoint.measures["accuracy"].difference is None


def test_a_search_that_raised_counts_as_not_solved_and_has_no_cost() -> None:
    results = [result("dora", 0, 0, 8), result("dora", 0, 1, 0, error="RuntimeError: no | pipe")]
    summary = summarise(results, "dora")
    (row,) = summary.rows
    assert row.errors == 1
    assert {measure.mean for measure in row.measures.values()} == {0.5}
    assert row.tokens["policy"]["generated"] == 100
    assert summary.errors == ("RuntimeError: no | pipe",)
    assert "1 of 2 searches raised" in summary_notes(summary)[0]
    assert summary_sheets(summary)[0].rows[0][-1] == "1/2"


def test_lost_rollouts_have_a_column_only_if_there_are_any() -> None:
    whole, short = (result(label, 0, 0, 2) for label in ("dora", "rebase"))
    whole = replace(whole, outcome=replace(whole.outcome, unplaced=5))
    short = replace(short, outcome=replace(short.outcome, finished=6, failed=2))
    raised = result("dora", 0, 1, 0, error="RuntimeError")
    sheet = summary_sheets(summarise([whole, raised, short], "dora"))[0]
    assert sheet.columns[-3:] == ("errors", "lost rollouts", "unplaced paths")
    assert [row[-3:] for row in sheet.rows] == [("1/2", "0/8", "5"), ("0/1", "2/8", "0")]
    assert summary_sheets(summarise([result("dora", 0, 0, 2)], "dora"))[0].columns[-1] == "pass rate"


def test_levels_have_rows_of_their_own_and_tables_are_complete() -> None:
    results = [
        result(label, 0, problem, min(8, problem + bonus), level=1 + problem % 2)
        for label, bonus in (("rebase", 0), ("a|b", 1))
        for problem in range(8)
    ]
    summary = summarise(results, "rebase")
    assert [(row.level, row.strategy, row.questions) for row in summary.by_level] == [
        (1, "rebase", 4), (1, "a|b", 4), (2, "rebase", 4), (2, "a|b", 4),
    ]  # fmt: skip
    sheets = summary_sheets(summary)
    assert len(sheets) == 5
    for sheet in sheets:
        assert {len(row) for row in sheet.rows} == {len(sheet.columns)}
        (table,) = sheet_tables(sheet, 120)
        assert table.row_count == len({row[: sheet.names] for row in sheet.rows})
        lines = sheet_markdown(sheet).splitlines()[2:]
        assert {line.replace("\\|", "").count("|") for line in lines} == {len(sheet.columns) + 1}
    assert json.loads(json.dumps(summary.as_dict(), allow_nan=False))["baseline"] == "rebase"


@pytest.mark.parametrize("width", [20, 40, 61, 80, 200])
def test_no_column_of_a_table_is_lost_on_a_narrow_terminal(width: int) -> None:
    columns = ("strategy", "N", *(f"measure {index}" for index in range(7)))
    rows = tuple(("dora: directions=minilm", str(n), *(f"{n}{index}.0 (31–50)" for index in range(7))) for n in (4, 8))
    tables = sheet_tables(Sheet("percent", columns, rows, 2), width)
    file = io.StringIO()
    console = Console(width=max(width, 40), file=file)
    for table in tables:
        console.print(table)
    text = file.getvalue()
    assert [text.count(f"measure {index}") for index in range(7)] == [1] * 7
    assert [text.count(cell) for row in rows for cell in row[2:]] == [1] * 14
    assert text.count("percent") == 1
    assert "…" not in text
    assert len(tables) == {20: 7, 40: 7, 61: 3, 80: 2, 200: 1}[width]
