"""Benches over scripted parts whose solutions are known, and over the bundled models as a person runs them."""

import contextlib
import itertools
import json
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path as FilePath
from typing import Any

import command
import numpy as np
import pytest
from beliefs import voting_belief
from typer.testing import CliRunner

import rollwise
from rollwise.allocation.labels import split_variants
from rollwise.bench.finding import begun
from rollwise.bench.grid import Cell, Grid, read_variant
from rollwise.bench.places import RESULTS_FILE
from rollwise.bench.run import Bench, begin, read, resume, run_in_jobs
from rollwise.bench.store import Outcome, Result, Store
from rollwise.cli import build_app
from rollwise.core import Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.errors import EngineError, InputError
from rollwise.numerics import keyed_generator
from rollwise.report.sheets import summary_sheets
from rollwise.search.config import Config
from rollwise.search.runner import Runner, run_to_end

SMALL = {"strategies": "temperature,rebase,dora", "budgets": [4, 8], "seeds": 2, "levels": [1], "limit": 3}


def solved_by_search(question: str) -> str:
    """An expression that makes the target, found by trying all of three numbers."""
    *numbers, target = map(int, re.findall(r"\d+", question))
    signs = {"+": "+", "-": "−", "*": "×", "/": "÷"}
    for (a, b, c), s, t in itertools.product(itertools.permutations(numbers), signs, signs):
        for text in (f"({a} {s} {b}) {t} {c}", f"{a} {s} ({b} {t} {c})"):
            try:
                made = eval(text)
            except ZeroDivisionError:
                continue
            if made == target:
                return "".join(signs.get(each, each) for each in text)
    raise AssertionError(question)


class Planned:
    """A policy that first takes one of three plans and then answers, right with a chance that the plan has.

    The chances are 0.1, 0.5 and 0.9; the hidden state is the plan. `broken` names a problem that cannot be opened, a
    path in `lost` fails.
    """

    parameters = 1

    def __init__(self, broken: str = "", lost: frozenset[PathKey] = frozenset()) -> None:
        self.broken, self.lost = broken, lost

    def open(self, problem: Problem, sampling: Sampling) -> "PlannedSession":
        if problem.id == self.broken:
            raise RuntimeError("the model is on fire")
        return PlannedSession(self, problem, sampling.seed)


class PlannedSession:
    room = 100

    def __init__(self, policy: Planned, problem: Problem, seed: int) -> None:
        self.policy, self.problem, self.seed, self.usage = policy, problem, seed, Usage()
        self.plans: dict[PathKey, int] = {}
        self.answer = solved_by_search(problem.question)

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        return [self._step(path) for path in paths]

    def _step(self, path: Path) -> Step | Failure:
        if path.key in self.policy.lost:
            return Failure("the connection was lost")
        draw = keyed_generator(self.seed, self.problem.id, path.key)
        self.usage.generated += 7
        if not path.steps:
            self.plans[path.key] = int(draw.integers(3))
            return Step(f"plan {self.plans[path.key]}\n\n", 7, Stop.STEP)
        right = draw.random() < (0.1, 0.5, 0.9)[int(path.steps[0].text.split()[1])]
        return Step(f"Answer: \\boxed{{{self.answer if right else '1 + 1'}}}", 7, Stop.END)

    def hidden(self, key: PathKey) -> FloatArray:
        return np.eye(3)[self.plans[key]]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class ByPlan:
    """A reward model that likes later plans better."""

    parameters = 0

    def open(self, problem: Problem, seed: int) -> "ByPlan":
        self.usage = Usage()
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [0.2 + 0.1 * int(path.steps[0].text.split()[1]) for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def scripted(**policy: Any) -> Callable[[Config], Runner]:
    return lambda config: Runner(config.model_copy(update={"policy": Planned(**policy), "reward": ByPlan()}))


def run(out: FilePath, make: Callable[[Config], Runner] | None = None, **fields: Any) -> Bench:
    bench = begin(out, SMALL | fields, make or scripted())
    run_to_end(bench.run())
    return bench


def results(out: FilePath) -> list[tuple[Any, ...]]:
    """Every result of a folder apart from seconds and times."""
    columns = (
        "label, budget, seed, name, right, covered, right_paths, finished, failed, support, results.answer, rounds"
    )
    columns += ", results.flops, usages.flops, error, role, generated, prefilled, cached, calls, events"
    joins = "join cells on cell_id = cells.id join problems on problem_id = problems.id"
    more = "left join usages on usages.result_id = results.id left join events on events.result_id = results.id"
    with sqlite3.connect(out / RESULTS_FILE) as plain:
        rows = plain.execute(f"select {columns} from results {joins} {more}").fetchall()
    return sorted(((*row[:-1], re.sub(r', "spans": \{[^}]*\}', "", row[-1] or "")) for row in rows), key=repr)


def stored(bench: Bench) -> list[Result]:
    return bench.store.results(bench.experiment.id)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("temperature, dora", ["temperature", "dora"]),
        (
            "rebase:reward_temperature=0.2,reward=dial(0.5,1), dora:directions=state,dvts",
            ["rebase:reward_temperature=0.2,reward=dial(0.5,1)", "dora:directions=state", "dvts"],
        ),
        (
            "mine.py:best,mine.py:best:weights=[1,2],temperature=0",
            ["mine.py:best", "mine.py:best:weights=[1,2],temperature=0"],
        ),
        ("dora:rounding=divisor(0.5), reward=dial", ["dora:rounding=divisor(0.5), reward=dial"]),
        (" , ", []),
    ],
)
def test_commas_separate_strategies_and_their_settings(text: str, labels: list[str]) -> None:
    assert split_variants(text) == labels


def test_a_variant_sets_fields_of_the_config_and_options_of_its_strategy() -> None:
    variant = read_variant("rebase:reward_temperature=0.2, reward=dial(0.5,1),constant_width=true")
    assert variant.strategy == "rebase"
    assert variant.options == {"reward_temperature": 0.2}
    assert variant.fields == {"reward": "dial(0.5,1)", "constant_width": True}
    own = read_variant("some/mine.py:best:weights=[1,2]")
    assert (own.strategy, own.options, own.fields) == ("some/mine.py:best", {"weights": [1, 2]}, {})
    assert read_variant("some/mine.py:best").strategy == "some/mine.py:best"


def test_further_votes_are_counted_on_the_same_paths(tmp_path: FilePath) -> None:
    """Each as a search that votes so would, and in the tables and differences beside the others."""
    votes = ["majority", "best_of_n"]
    together = stored(run(tmp_path / "all", search={"votes": votes}))
    for vote in votes:
        alone = stored(run(tmp_path / vote, search={"vote": vote}))
        assert [one.outcome.votes[vote] for one in together] == [one.outcome.right for one in alone]
        assert {True, False} <= {one.outcome.right for one in alone}
    summary = read(tmp_path / "all").summary
    apart = read(tmp_path / "majority").summary
    assert [*summary.rows[0].measures] == ["accuracy", "coverage", "pass_rate", *votes]
    for row, other in zip(summary.rows, apart.rows, strict=True):
        assert row.measures["majority"] == other.measures["accuracy"]
    assert any("best of n" in sheet.columns for sheet in summary_sheets(summary))


def test_the_grid_is_every_strategy_budget_and_seed_over_the_levels() -> None:
    grid = Grid.of(strategies=["dora:vote=majority", "rebase"], budgets=[4, 8], seeds=2, limit=2, search={"top_p": 0.9})
    cells = grid.cells()
    assert len(cells) == 8
    config = cells[Cell("dora:vote=majority", 8, 1)]
    assert (config.strategy, config.budget, config.seed, config.vote, config.top_p) == ("dora", 8, 1, "majority", 0.9)
    assert cells[Cell("rebase", 4, 0)].vote == "weighted_majority"
    assert grid.baseline == "rebase"
    assert [problem.level for problem in grid.asked().problems] == [1, 2, 3, 4, 5] * 2
    assert len({problem.id for problem in grid.asked().problems}) == 10
    assert Grid.of(strategies="dora,temperature").baseline == "dora"


def test_directions_for_all_are_allowed_where_some_read_none() -> None:
    cells = Grid.of(strategies="rebase,dora", search={"directions": "state"}).cells()
    assert {config.directions for config in cells.values()} == {"state"}


def test_results_are_those_of_the_searches_alone(tmp_path: FilePath) -> None:
    bench = run(tmp_path, events=True)
    found = stored(bench)
    assert len(found) == bench.size == 3 * 2 * 2 * 3
    for result in found[::5]:
        problem = next(one for one in bench.problems if one.id == result.problem)
        alone = run_to_end(scripted()(bench.runners[result.cell].parts.config).solve(problem))
        assert result.outcome.right_paths == sum(alone.rights)
        assert result.outcome.right == alone.right
        assert result.outcome.covered == any(alone.rights)
        assert result.outcome.usage["policy"].generated == 14 * result.cell.budget
        events = bench.store.events(bench.experiment.id, result.cell, result.problem) or []
        assert sum(event.get("right", False) for event in events) == sum(alone.rights)
        assert sum(sum(event["counts"]) for event in events if event["event"] == "allocated") == result.cell.budget
        assert json.loads(json.dumps(events, allow_nan=False)) == events


def test_strategies_share_their_first_round(tmp_path: FilePath) -> None:
    bench = run(tmp_path, events=True)
    firsts: dict[tuple[str, int], set[tuple[str, ...]]] = {}
    for result in stored(bench):
        events = bench.store.events(bench.experiment.id, result.cell, result.problem) or []
        texts = tuple(event["text"] for event in events if event["event"] == "grown" and event["round"] == 0)
        firsts.setdefault((result.problem, result.cell.seed), set()).add(texts[:4])
    assert len(firsts) == 6
    assert all(len(texts) == 1 for texts in firsts.values())
    assert len(set.union(*firsts.values())) > 1


def test_how_many_are_in_flight_changes_nothing(tmp_path: FilePath) -> None:
    for name, count in (("one", 1), ("many", 7)):
        run(tmp_path / name, in_flight=count, events=True)
    assert results(tmp_path / "one") == results(tmp_path / "many")


def test_an_interrupted_bench_goes_on_and_ends_the_same(tmp_path: FilePath) -> None:
    run(tmp_path / "whole", events=True)
    bench, seen = begin(tmp_path / "cut", SMALL | {"events": True}, scripted()), []

    def stop(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_to_end(bench.run(stop))
    part = read(tmp_path / "cut")
    assert 10 <= part.summary.results < part.summary.planned == 36
    on = resume(tmp_path / "cut", {"in_flight": 2}, scripted())
    assert len(list(on.waiting(itertools.count().__next__))) == 36 - part.summary.results
    run_to_end(on.run())
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    run_to_end(resume(tmp_path / "cut", SMALL, scripted()).run())
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_rounds_are_told_before_a_search_has_ended(tmp_path: FilePath) -> None:
    told: list[int] = []
    seen: list[Outcome] = []

    def on_round() -> None:
        told.append(len(seen))

    run_to_end(begin(tmp_path, SMALL, scripted()).run(seen.append, on_round=on_round))
    assert len(told) == sum(outcome.rounds for outcome in seen)
    assert told[0] == 0


def test_what_a_stopped_bench_holds_can_be_compared(tmp_path: FilePath) -> None:
    bench = begin(tmp_path, SMALL, scripted())
    order = list(bench.waiting(itertools.count().__next__))
    assert [(cell.label, cell.budget) for cell, _ in order[:6]] == [
        (label, budget) for budget in (4, 8) for label in ("temperature", "rebase", "dora")
    ]
    assert len({(cell.seed, problem.id) for cell, problem in order[:6]}) == 1


def test_jobs_take_the_next_search_each_and_none_twice(tmp_path: FilePath) -> None:
    bench = begin(tmp_path, SMALL, scripted())
    numbers = itertools.count()
    jobs = [bench.waiting(numbers.__next__), resume(tmp_path, {}, scripted()).waiting(numbers.__next__)]
    quick = [next(jobs[0]) for _ in range(30)]
    taken = [next(jobs[1]), *quick, *jobs[1], *jobs[0]]
    assert len(taken) == len({(cell, problem.id) for cell, problem in taken}) == bench.size == 36


def test_a_problem_that_raises_stays_in_the_denominator(tmp_path: FilePath) -> None:
    problems = Grid.of(**SMALL).asked().problems
    run(tmp_path, scripted(broken=problems[1].id))
    found = read(tmp_path).summary
    assert found.results == found.planned == 36
    assert found.errors == ("RuntimeError: the model is on fire",)
    with contextlib.closing(Store(tmp_path / RESULTS_FILE)) as store:
        assert store.counts(1) == (36, 12)
    for row in found.rows:
        assert (row.questions, row.results, row.errors) == (3, 6, 2)
        assert row.measures["coverage"].mean <= 2 / 3 + 1e-9
    whole = run(tmp_path / "whole")
    kept = [result for result in stored(whole) if result.problem != problems[1].id]
    by_hand = sum(result.outcome.covered for result in kept if result.cell.label == "dora") / 12
    dora = [row.measures["coverage"].mean for row in found.rows if row.strategy == "dora"]
    assert np.mean(dora) == pytest.approx(by_hand)


def test_lost_rollouts_stay_in_the_denominator(tmp_path: FilePath) -> None:
    bench = run(tmp_path, scripted(lost=frozenset({(0,), (1,)})), budgets=[4])
    (row, *_) = read(tmp_path).summary.rows
    mine = [result.outcome for result in stored(bench) if result.cell.label == "temperature"]
    assert {(outcome.finished, outcome.failed) for outcome in mine} == {(2, 2)}
    assert row.measures["pass_rate"].mean == pytest.approx(sum(outcome.right_paths for outcome in mine) / (6 * 4))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"budgets": [4]}, "budgets was 4, 8 and is 4"),
        ({"strategies": "dora,rebase"}, "strategies was temperature, rebase, dora and is dora, rebase"),
        ({"search": {"vote": "majority"}}, "search was none and is vote majority"),
        ({"seeds": 3, "limit": 4}, "limit was 3 and is 4; seeds was 2 and is 3"),
        ({"colour": 1}, "colour"),
        ({"strategies": 3}, "strategies"),
    ],
)
def test_a_changed_config_is_refused(tmp_path: FilePath, fields: dict[str, Any], says: str) -> None:
    begin(tmp_path, SMALL, scripted())
    with pytest.raises(InputError, match=says):
        resume(tmp_path, fields, scripted())


def test_a_field_that_is_set_to_go_on_is_compared_and_the_others_stay(tmp_path: FilePath) -> None:
    one = {"strategies": "temperature", "budgets": [1], "levels": [1], "limit": 1}
    begin(tmp_path, one | {"search": {"reward": "dial(0.5,1)", "max_steps": 3}})
    for same in ("max_steps=3", "reward=dial(0.5,1)"):
        assert command.rollwise("bench", "--out", str(tmp_path), "--resume", "--set", same).returncode == 0
    other = command.rollwise("bench", "--out", str(tmp_path), "--resume", "--set", "max_steps=4")
    assert other.returncode == 2
    assert "search was" in other.stderr
    assert "max_steps 3 and is" in other.stderr
    assert "reward" in other.stderr.partition("and is")[2]


def test_what_else_decides_is_held_too(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def even(candidates, width):\n    return [1] * width\n")
    begin(tmp_path / "out", SMALL | {"strategies": ["temperature", f"{mine}:even"]}, scripted())
    resume(tmp_path / "out", {"baseline": f"{mine}:even"}, scripted())
    with monkeypatch.context() as patched:
        patched.setattr(rollwise, "__version__", "9.9")
        with pytest.raises(InputError, match=r"version was 0\.1\.0 and is 9\.9"):
            resume(tmp_path / "out", {}, scripted())
    mine.write_text("def even(candidates, width):\n    return [1] * width  # changed\n")
    with pytest.raises(InputError, match=r"mine\.py was"):
        resume(tmp_path / "out", {}, scripted())


def test_a_belief_that_votes_is_held_where_the_strategy_reads_none(tmp_path: FilePath) -> None:
    belief = tmp_path / "belief.json"
    belief.write_text(json.dumps(voting_belief(1.0)))
    read = {"strategies": ["temperature"], "search": {"belief": str(belief), "vote": "auto"}}
    unread = {"strategies": ["temperature"], "search": {"belief": str(belief)}}
    for name, fields in (("read", read), ("unread", unread)):
        begin(tmp_path / name, SMALL | fields, scripted())
    belief.write_text(json.dumps(voting_belief(0.5)))
    with pytest.raises(InputError, match=r"belief \S+belief\.json was"):
        resume(tmp_path / "read", {}, scripted())
    resume(tmp_path / "unread", {}, scripted())


def test_a_bench_is_begun_once_and_only_when_its_parts_are_there(tmp_path: FilePath) -> None:
    with pytest.raises(InputError, match="no option 'colour'"):
        begin(tmp_path / "out", SMALL | {"strategies": "dora:colour=red"}, scripted())
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="holds no bench"):
        resume(tmp_path / "out", {}, scripted())
    assert not begun(tmp_path / "out")
    begin(tmp_path / "out", SMALL, scripted())
    with pytest.raises(InputError, match="--resume goes on with it"):
        begin(tmp_path / "out", SMALL, scripted())


MODELS = ("--strategies", "rebase,dora", "--budgets", "4", "--limit", "6", "--levels", "1", "--in-flight", "1")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_cleanly_and_resume_ends_the_same(jobs: str, tmp_path: FilePath) -> None:
    out = tmp_path / "cut"
    words = [sys.executable, "-m", "rollwise", "bench", *MODELS, "--jobs", jobs, "--out", str(out)]
    ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **ready)  # type: ignore[call-overload]
    deadline = time.monotonic() + 600
    while not (begun(out) and results(out)) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 130, told
    assert f"go on with: rollwise bench --out {out} --resume" in told
    assert "Traceback" not in told
    assert 0 < read(out).summary.results < 12
    alike = ["--jobs", jobs]
    whole = CliRunner().invoke(build_app(), ["bench", *MODELS, *alike, "--out", str(tmp_path / "whole"), "--json"])
    on = CliRunner().invoke(build_app(), ["bench", "--out", str(out), "--resume"])
    assert (whole.exit_code, on.exit_code) == (0, 0)
    assert results(out) == results(tmp_path / "whole")
    assert "difference to rebase" in on.stdout
    document = json.loads((out / "summary.json").read_text())
    assert document["results"] == document["planned"] == 12
    assert [row["measures"] for row in document["rows"]] == [
        row["measures"] for row in json.loads(whole.stdout)["rows"]
    ]
    assert (out / "summary.md").read_text().count("| dora | 4 |") == 6
    report = CliRunner().invoke(build_app(), ["bench", "--out", str(out), "--report", "--baseline", "dora"])
    assert "difference to dora" in report.stdout


def test_a_job_that_dies_is_told_and_what_it_had_is_kept(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollwise.bench.run._LOOK_EVERY", 0.02)
    given = {"strategies": "rebase", "budgets": [4], "limit": 40, "levels": [1], "jobs": 2, "in_flight": 1}
    bench = begin(tmp_path / "out", given)

    def kill(held: int, raised: int) -> None:
        assert raised == 0
        if held and len(multiprocessing.active_children()) == 2:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(EngineError, match=r"1 of 2 jobs ended early \(exit status -9\); go on with --resume"):
        run_in_jobs(bench, tmp_path / "out", kill)
    assert read(tmp_path / "out").summary.results in (39, 40), "all but what it had in flight, by the other job"
    assert not multiprocessing.active_children()


def test_jobs_end_with_whoever_began_them(tmp_path: FilePath) -> None:
    out = tmp_path / "out"
    words = ["--strategies", "rebase", "--budgets", "4", "--limit", "500", "--levels", "1", "--jobs", "2"]
    process = subprocess.Popen([sys.executable, "-m", "rollwise", "bench", *words, "--out", str(out)])
    deadline = time.monotonic() + 600
    while not (begun(out) and results(out)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    counts = [0, len(results(out))]
    while counts[-1] > counts[-2]:  # the jobs notice in their own time
        time.sleep(2)
        counts.append(len(results(out)))
    assert 0 < counts[-1] < 500


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strategies", "best"], "no strategy"),
        (["--strategies", "dora,dora"], "dora is given twice"),
        (["--strategies", "dora:budget=4"], "budget is the grid's to set"),
        (["--strategies", ","], "strategies: give at least one"),
        (["--budgets", "0"], "budget"),
        (["--budgets", "many"], "budgets: give whole numbers"),
        (["--levels", "9"], "levels 1 to 5"),
        (["--baseline", "beam"], "'beam' is not among the strategies"),
        (["--set", "colour=red"], "colour"),
        (
            ["--strategies", "rebase:directions=state"],
            "directions=state: this strategy reads no",
        ),
        (["--strategies", "rebase", "--set", "directions=nonsense"], "no direction finder"),
        (["--set", "seed=1"], "seed is the grid's to set"),
        (["--set", "reward=5"], "reward: give a name, or an object"),
        (["--set", "policy=null"], "policy: give a name, or an object"),
        (["--set", "dtype=float17"], "'float16'"),
        (["--set", "temperature=Infinity"], "temperature"),
        (["--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (["--resume"], "holds no bench"),
        (["--report"], "holds no bench"),
        (["--report", "--seeds", "2", "--resume"], "so seeds, resume would change nothing"),
    ],
)
def test_bench_refuses_bad_input_in_one_line(tmp_path: FilePath, arguments: list[str], says: str) -> None:
    run = command.rollwise("bench", *arguments, "--out", str(tmp_path / "out"))
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bench_names_a_folder_that_cannot_be_made(tmp_path: FilePath) -> None:
    (tmp_path / "taken").write_text("mine")
    few = ("--strategies", "temperature", "--budgets", "1", "--limit", "1", "--levels", "1")
    for out in (str(tmp_path / "taken"), "/proc/x"):
        run = command.rollwise("bench", *few, "--out", out)
        assert run.returncode == 2
        assert out in run.stderr
        assert run.stderr.count("\n") == 1


def test_a_bench_in_which_every_search_raised_has_failed(tmp_path: FilePath) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def none(candidates, width):\n    return [0] * len(candidates)\n")
    few = ("--budgets", "2", "--limit", "1", "--levels", "1", "--set", "reward=dial(0)")
    run = command.rollwise("bench", "--strategies", f"{file}:none", *few, "--out", str(tmp_path / "out"))
    assert run.returncode == 1
    assert "rollwise: every search raised, the first: AllocationError: strategy 'none' handed out 0" in run.stderr
    some = command.rollwise("bench", "--strategies", f"temperature,{file}:none", *few, "--out", str(tmp_path / "some"))
    assert some.returncode == 0, some.stderr


def test_infinity_is_kept_as_such(tmp_path: FilePath) -> None:
    begin(tmp_path, SMALL | {"strategies": ["rebase:reward_temperature=Infinity"]}, scripted())
    with sqlite3.connect(tmp_path / RESULTS_FILE) as plain:
        kept = {json.dumps(json.loads(config)["options"]) for (config,) in plain.execute("select config from cells")}
    assert kept == {'{"reward_temperature": "Infinity"}'}


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "merges.txt", "spiece.model"])
def test_all_that_decides_in_a_models_folder_is_held(tmp_path: FilePath, name: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / name).write_text("before")
    fields = SMALL | {"search": {"policy": str(model)}}
    begin(tmp_path / "out", fields, scripted())
    (model / name).write_text("after")
    with pytest.raises(InputError, match=f"policy {model} was"):
        resume(tmp_path / "out", {}, scripted())


def test_a_config_file_holds_the_same_and_flags_override(tmp_path: FilePath) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(
        'strategies = ["rebase"]\nbudgets = [2]\nlimit = 9\nlevels = [1]\n[search]\nreward = "dial(0)"\ntop_p = 0.9\n'
    )
    arguments = [
        "bench",
        "--config",
        str(file),
        "--limit",
        "1",
        "--set",
        "top_p=1",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    run = CliRunner().invoke(build_app(), arguments)
    assert run.exit_code == 0, run.output
    experiment = json.loads(run.stdout)["experiment"]
    assert (experiment["budgets"], experiment["limit"]) == ([2], 1)
    assert experiment["search"] == {"reward": "dial(0)", "top_p": 1}
    file.write_text("search = 5\n")
    assert "search: a table" in command.rollwise("bench", "--config", str(file), "--set", "top_p=1").stderr
    file.write_text("colour = 1\n")
    assert "colour" in command.rollwise("bench", "--config", str(file), "--out", str(tmp_path / "new")).stderr
    file.write_text("colour = \n")
    assert "is not TOML" in command.rollwise("bench", "--config", str(file), "--out", str(tmp_path / "new")).stderr


def test_the_policy_has_a_flag_of_its_own(tmp_path: FilePath) -> None:
    few = ["--budgets", "1", "--limit", "1", "--levels", "1", "--strategies", "temperature"]
    for number, given in enumerate((["--policy", "small"], ["--set", "policy=small"])):
        assert command.rollwise("bench", *few, *given, "--out", str(tmp_path / str(number))).returncode == 0
    facts = [read(tmp_path / out).facts["search"] for out in ("0", "1")]
    assert facts[0] == facts[1] == {"policy": "small"}
    twice = command.rollwise("bench", *few, "--policy", "small", "--set", "policy=large", "--out", str(tmp_path / "2"))
    assert (twice.returncode, "give it once" in twice.stderr) == (2, True)
