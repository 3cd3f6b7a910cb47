"""Studies over the laboratory's worlds: pairing, intervals, tables, pictures, and the command line."""

import dataclasses
import importlib
import json
import math
import multiprocessing
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from rollwise.cli import build_app
from rollwise.core import Allocation, Candidates, IntArray
from rollwise.errors import AllocationError, InputError
from rollwise.registry import find_strategy
from rollwise.report.charts import Point, lines_svg
from rollwise.report.regrets import simulation_sheets, simulation_svg
from rollwise.report.sheets import sheet_markdown
from rollwise.simulation import study as studies
from rollwise.simulation.branching import Branching
from rollwise.simulation.oneshot import OneShot
from rollwise.simulation.study import Mean, Study, read_contenders, sweep

ROOT = Path(__file__).parents[2]
OWN = """
import numpy as np

def all_to_the_best(candidates, width, options):
    counts = np.zeros(len(candidates), dtype=int)
    counts[np.argsort(candidates.rewards)[-options.get("best", 1)]] = width
    return counts
"""


def study(strategies: str = "temperature,rebase,dora", instances: int = 30, **fields: Any) -> Study:
    settings = sweep(OneShot(noise=0.1), "noise", [0.0, 0.2], [8, 16])
    return Study(settings, read_contenders(strategies), instances, **fields)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["simulate", "--instances", "5", "--budgets", "8", *words])


# Studies


def test_all_strategies_and_settings_meet_the_same_instances() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(candidates: Candidates, width: int) -> Allocation:
        seen.append((candidates.question, width, candidates.rewards.tolist(), candidates.directions))
        return read_contenders("temperature")["temperature"](candidates, width)

    world = OneShot(candidates=6, noise=0.1)
    Study(sweep(world, "noise", [0.1, 0.4], [4, 8]), {"a": look, "b": look}, 2).run()
    assert len(seen) == 2 * 2 * 2 * 2
    assert seen[0][2] == seen[2][2]
    assert seen[1][2] == seen[3][2]
    labels = [directions.labels.tolist() for question, _, _, directions in seen if question == "0"]
    assert all(other == labels[0] for other in labels)
    assert {width for _, width, _, _ in seen} == {4, 8}
    assert seen[0][2] != seen[1][2]


def test_a_study_repeats_itself_and_resumes_after_a_stop() -> None:
    whole, parts = study(), study()
    whole.run()

    class Stopped(Exception):  # noqa: N818 (no error)
        pass

    def stop(done: int) -> None:
        if done == 41:
            raise Stopped

    with pytest.raises(Stopped):
        parts.run(stop)
    assert [result.instances for result in parts.found()] == [30, 11]
    parts.run()
    assert parts.found() == whole.found()
    other = study(seed=1)
    other.run()
    assert other.found() != whole.found()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_the_number_of_processes_changes_nothing_and_a_stopped_study_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "AT_ONCE", 7)
    alone, divided, parts = study(), study(), study()
    finished: list[int] = []
    alone.run()
    divided.run(finished.append, jobs=3)
    assert finished == list(range(1, 121))
    assert divided.found() == alone.found()

    def stop(done: int) -> None:
        if done == 41:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.run(stop, jobs=2)
    assert [result.instances for result in parts.found()] == [30, 11]
    parts.run(jobs=2)
    assert parts.found() == alone.found()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_an_error_in_another_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "AT_ONCE", 5)
    home = os.getpid()

    def ends(candidates: Candidates, width: int) -> Allocation:
        assert os.getpid() != home
        os._exit(3)

    def short(candidates: Candidates, width: int) -> IntArray:
        return np.zeros(len(candidates), dtype=np.int64)

    settings = sweep(OneShot(), None, [], [4])
    with pytest.raises(InputError, match="a process is gone"):
        Study(settings, {"mine": ends}, 20).run(jobs=2)
    with pytest.raises(AllocationError, match="handed out 0 rollouts of 4"):
        Study(settings, {"mine": find_strategy(short).bind()}, 20).run(jobs=2)


def test_lines_are_means_over_the_played_instances() -> None:
    sample = study(baseline="dora")
    sample.run()
    failure = np.stack([played.failure for played in sample.played[3]])
    least = np.array([played.least for played in sample.played[3]])
    found = sample.found()[3]
    assert (found.budget, found.value) == (16, 0.2)
    assert found.least == pytest.approx(least.mean())
    rebase = found.lines[1]
    gaps = failure[:, 1] - failure[:, 2]
    assert rebase.difference is not None
    assert rebase.difference.mean == pytest.approx(gaps.mean())
    assert rebase.difference.half == pytest.approx(1.96 * gaps.std(ddof=1) / math.sqrt(30))
    assert rebase.regret.mean == pytest.approx(rebase.failure.mean - least.mean())
    assert found.lines[2].difference is None


def test_intervals_cover() -> None:
    generator = np.random.default_rng(0)
    covered = [abs(mean.mean) <= mean.half for mean in map(Mean.of, generator.normal(size=(2000, 200)))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert Mean.of(np.array([0.5])) == Mean(0.5, math.inf)


def test_own_allocators_and_options(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    label = f"{file}:all_to_the_best"
    contenders = read_contenders(f"{label}, {label}:best=2, rebase:reward_temperature=0")
    sample = Study(sweep(OneShot(noise=0.1, shared=0), None, [], [8]), contenders, 40)
    sample.run()
    best, second, rebase = sample.found()[0].lines
    assert best.failure == rebase.failure
    assert best.failure.mean < second.failure.mean


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: study("rebase,rebase"), "twice"),
        (lambda: study(" , "), "at least one"),
        (lambda: study("rebase:warmth=2"), "no option"),
        (lambda: study(instances=0), "at least one"),
        (lambda: study().run(jobs=0), "at least 1 process"),
        (lambda: study(baseline="beam"), "not among"),
        (lambda: Study(sweep(OneShot(), None, [], [0]), read_contenders("rebase")), "budget"),
    ],
)
def test_impossible_studies_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


# Tables and pictures


def test_sheets_hold_every_strategy_and_value() -> None:
    sample = study()
    sample.run()
    sheets = simulation_sheets(sample.found(), "noise", "rebase")
    assert [sheet.title.split(",")[0] for sheet in sheets] == ["N = 8", "N = 8", "N = 16", "N = 16"]
    names = ["temperature", "rebase", "dora", "(best by scores)", "the ceiling fails in"]
    assert [row[0] for row in sheets[0].rows] == names
    assert [row[0] for row in sheets[1].rows] == ["temperature", "dora"]
    line = sample.found()[0].lines[0]
    assert sheets[0].rows[0][1] == f"{100 * line.regret.mean:.1f} ± {100 * line.regret.half:.1f}"
    assert "| temperature |" in sheet_markdown(sheets[0])


def test_tables_of_trees_have_a_column_for_the_vote() -> None:
    sample = Study(sweep(Branching(depth=2), None, [], [4]), read_contenders("rebase"), 5)
    sample.run()
    failures, rights = simulation_sheets(sample.found(), None, "rebase")
    assert [row[-1] for row in failures.rows] == ["-"]
    assert rights.columns == ("strategy", "right rollouts", "vote right")
    plain = Study(sweep(OneShot(), None, [], [4]), read_contenders("rebase"), 5)
    plain.run()
    assert simulation_sheets(plain.found(), None, "rebase")[1].columns == ("strategy", "right rollouts")


def test_a_picture_is_to_scale() -> None:
    panels = {"one": {"a<b": [Point(1, 0.5), Point(2, math.inf)]}, "two": {"a<b": [Point(0), Point(0.5)]}}
    root = ElementTree.fromstring(lines_svg(panels, ["x", "y"], "across", "title"))
    lines = [line.attrib["points"] for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in lines]
    bottom, top = heights[1][0], heights[0][1]
    assert heights[0][0] == pytest.approx((bottom + top) / 2, abs=0.1)
    assert heights[1][1] == pytest.approx(bottom + (top - bottom) / 4, abs=0.1)
    strokes = [line for line in root.iter("{http://www.w3.org/2000/svg}line") if line.attrib["stroke"] != "#dde0e6"]
    assert len(strokes) == 3
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b", "one", "two", "across", "title", "x", "y"} <= set(texts)


def test_a_picture_of_a_study() -> None:
    sample = study()
    sample.run()
    names = {text.text for text in ElementTree.fromstring(simulation_svg(sample.found(), "noise")).iter()}
    assert {"N = 8", "N = 16", "0.0", "0.2", "noise", "dora"} <= names
    flat = dataclasses.replace(sample.found()[0], value=None), dataclasses.replace(sample.found()[2], value=None)
    assert {"8", "16", "rollouts"} <= {text.text for text in ElementTree.fromstring(simulation_svg(flat, None)).iter()}


# The command


def test_simulate_prints_tables(tmp_path: Path) -> None:
    run = invoke("--draw", str(tmp_path / "regret.svg"), "--imbalance", "0,2")
    assert run.exit_code == 0, run.output
    assert "regret in points against imbalance" in run.output
    assert (tmp_path / "regret.svg").read_text(encoding="utf-8").startswith("<svg")
    assert invoke("--imbalance", "0,2").output == run.output


def test_the_json_of_simulate_is_the_study() -> None:
    run = invoke("--json", "--told", "fitted", "--strategies", "rebase,optimal_directions", "--candidates", "4")
    document = json.loads(run.stdout)
    sample = Study(
        sweep(OneShot(candidates=4, told="fitted"), None, [], [8]), read_contenders("rebase,optimal_directions"), 5
    )
    sample.run()
    assert (document["world"], document["baseline"], document["swept"]) == ("OneShot", "rebase", None)
    assert document["settings"] == json.loads(json.dumps([found.as_dict() for found in sample.found()]))


def test_simulate_a_tree() -> None:
    run = invoke("--depth", "2,3", "--branches", "2", "--json")
    settings = json.loads(run.stdout)["settings"]
    assert [setting["value"] for setting in settings] == [2, 3]
    assert all("best policy" in setting["ceiling"] and setting["lines"][0]["voted"] for setting in settings)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--branches", "3"], "without --depth"),
        (["--depth", "3", "--correlation", "0.5"], "a tree"),
        (["--noise", "0,0.1", "--bias", "0,0.1"], "one option may be a list"),
        (["--noise", "much"], "takes a number"),
        (["--noise", "0.1,0.1"], "twice"),
        (["--candidates", "2.5"], "whole numbers"),
        (["--draw", "regret.svg"], "--draw shows regret against a list of values"),
        (["--strategies", "rebase,nobody"], "no strategy"),
    ],
)
def test_simulate_refuses_impossible_options(words: list[str], says: str) -> None:
    run = invoke(*words)
    assert isinstance(run.exception, InputError)
    assert says in str(run.exception)


def test_an_interrupt_prints_the_finished_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    play, calls = OneShot.play, []

    def stop(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return play(*arguments)

    monkeypatch.setattr(OneShot, "play", stop)
    run = invoke("--noise", "0,0.1", "--json")
    assert run.exit_code == 130
    assert [setting["instances"] for setting in json.loads(run.stdout)["settings"]] == [5]
    assert "interrupted after 5 of 10" in run.stderr


# Benchmarks and experiments


def test_the_speed_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    importlib.import_module("simulate_speed").main(["--instances", "5", "--budgets", "8"])
    assert "optimal_directions" in capsys.readouterr().out


def test_the_regret_experiment_runs_and_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    regret, out = importlib.import_module("regret"), tmp_path / "regret.json"
    monkeypatch.setattr(regret, "NOISES", ((0.1, 1.0),))
    regret.main(["--most", "4", "--budgets", "4", "--out", str(out)])
    told = capsys.readouterr().out
    held = json.loads(out.read_text(encoding="utf-8"))
    assert len(held) == told.count("| 4 (±")
    assert "optimal_directions is worse than both rebase and dora in" in told
    monkeypatch.setattr(regret, "play", None)
    regret.main(["--budgets", "4", "--out", str(out)])
    assert capsys.readouterr().out == told


def test_the_failure_table_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    importlib.import_module("failure_table").main(["--instances", "3", "--budget", "8"])
    assert capsys.readouterr().out.count("\n| ") == 6
