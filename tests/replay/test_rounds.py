"""Recorded rounds: an allocator replayed on its own search gives what it gave, and chances are those of simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rollwise.bench import begin, recorded
from rollwise.cli import build_app
from rollwise.core import Belief, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.replay import recorded_rounds, replay_round
from rollwise.replay.rounds import effective_number
from rollwise.search import run_to_end

FIELDS = {"policy": "demonstrator", "reward": "dial(0.3,1)"}
STRATEGIES = ("rebase", "dora:directions=state")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bench of the word problems with events."""
    folder = tmp_path_factory.mktemp("replay") / "run"
    given: dict[str, Any] = {
        "world": "stories",
        "strategies": STRATEGIES,
        "budgets": (12,),
        "limit": 2,
        "levels": (4,),
        "search": FIELDS,
        "events": True,
    }
    run_to_end(begin(folder, given).run())
    return folder


def believe(rewards: FloatArray, depth: IntArray) -> Belief:
    return Belief(np.clip(rewards, 0.05, 0.95), np.full(len(rewards), 3.0), correlation=0.5)


def test_an_allocator_replayed_on_its_own_search_changes_nothing(run: Path) -> None:
    searches = list(recorded(run))
    assert {result.cell.label for result, _ in searches} == set(STRATEGIES)
    for result, events in searches:
        strategy = find_strategy(result.cell.label.partition(":")[0])
        rounds = recorded_rounds(events, result.problem, result.cell.seed)
        assert rounds
        for happened in rounds:
            replayed = replay_round(happened, strategy, {})
            assert replayed.moved == 0
            assert replayed.given == replayed.other
            assert replayed.directions[0] == replayed.directions[1]
            assert replayed.chance is None


def test_the_optimum_has_the_best_chance_of_all_at_every_round(run: Path) -> None:
    others = [find_strategy(name) for name in ("rebase", "dora", "beam", "temperature", "optimal_directions")]
    for result, events in recorded(run):
        for happened in recorded_rounds(events, result.problem, 0, believe):
            replayed = [replay_round(happened, other, {}) for other in others]
            assert all(sum(each.other) == happened.width for each in replayed)
            chances = [each.chance[1] for each in replayed if each.chance]
            assert max(chances) == pytest.approx(chances[-1])
            assert all(each.chance[0] <= chances[-1] + 1e-12 for each in replayed if each.chance)


def test_the_effective_number_of_directions() -> None:
    labels = np.array([0, 0, 1, 2])
    assert effective_number(np.array([1, 1, 2, 2]), labels) == pytest.approx(3)
    assert effective_number(np.array([4, 4, 0, 0]), labels) == 1
    assert effective_number(np.zeros(4, np.int64), labels) == 0


def invoke(*words: str) -> str:
    result = CliRunner().invoke(build_app(), ["replay", *words], env={"COLUMNS": "120"})
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_command_takes_the_folder_alone(run: Path) -> None:
    found = json.loads(invoke(str(run), "--strategy", "rebase,beam", "--json"))
    assert (
        invoke("rounds", str(run), "--strategy", "rebase,beam", "--json")
        == json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    )
    own, other = (each for each in found["summaries"] if each["recorded"] == "rebase")
    assert (own["strategy"], own["moved"], own["changed"]) == ("rebase", 0, 0)
    assert other["moved"] > 0
    moved = sum(one["moved"] for each in _of(found, "rebase", "beam") for one in each["rounds"])
    assert other["moved"] == pytest.approx(moved / other["rollouts"])
    first = _of(found, "rebase", "beam")[0]
    assert "step" in invoke(str(run), "--strategy", "dora", "--problem", first["problem"])


def _of(found: dict[str, Any], before: str, other: str) -> list[dict[str, Any]]:
    return [each for each in found["searches"] if (each["recorded"], each["strategy"]) == (before, other)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategy", "optimal"), "needs a belief"),
        (("--strategy", "nonsense"), "no strategy is called"),
        (("--strategy", "rebase:nonsense=1"), "nonsense"),
        (("--strategy", "dora", "--problem", "nowhere"), "holds no events of 'nowhere'"),
        (("--strategy", "dora", "--set", "belief=3"), "takes a file"),
        (("--strategy", "dora", "--set", "belief=nowhere.json"), "cannot read the belief"),
        (("--strategy", ","), "give at least one"),
    ],
)
def test_what_cannot_be_replayed_is_said(run: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        invoke(str(run), *words)


def test_a_folder_without_a_bench_and_events_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no bench"):
        invoke(str(tmp_path), "--strategy", "dora")
    with pytest.raises(InputError, match="cannot be read"):
        recorded_rounds([{"event": "allocated", "round": 0}], "p", 0)
