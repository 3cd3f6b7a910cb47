"""What explains a search shows the directions that its strategy used, also where these are not the true states."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import rollwise
from rollwise.cli import build_app
from rollwise.core import FloatArray, whole_steps
from rollwise.registry import find_world
from rollwise.report.flow import NOT_CONTINUED, fold_flow, path_texts
from rollwise.report.search import explanation, where_table
from rollwise.search.events import Allocated, Grown
from rollwise.search.solution import Solution

STORIES = find_world("stories")
PROBLEM = STORIES.problem(4, 3, "validation")


def merged(similarity: FloatArray, distance: float) -> set[frozenset[int]]:
    """Clusters of average linkage up to a cosine distance, by trying every pair of clusters again and again."""
    clusters = [frozenset([index]) for index in range(len(similarity))]
    while len(clusters) > 1:
        apart = {
            (one, other): float(np.mean([[1 - similarity[a, b] for b in other] for a in one]))
            for one, other in combinations(clusters, 2)
        }
        (one, other), nearest = min(apart.items(), key=lambda item: item[1])
        if nearest > distance:
            break
        clusters = [cluster for cluster in clusters if cluster not in (one, other)] + [one | other]
    return set(clusters)


def groups(labels: list[int]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(np.array(labels) == label).tolist()) for label in labels}


@pytest.fixture(scope="module")
def hidden() -> Solution:
    """DORA on a word problem by hidden states of the policy, whose directions are not the true states."""
    return rollwise.solve(PROBLEM, "dora", 16, world="stories", directions="hidden")


def state(text: str) -> object:
    return STORIES.state(PROBLEM, whole_steps(text, STORIES.separator))


def test_the_directions_shown_are_those_of_the_strategy_and_differ_from_the_true_states(hidden: Solution) -> None:
    folded, texts = fold_flow(hidden.events, state_of=state), path_texts(hidden.events)
    differing = 0
    for event in hidden.events:
        if isinstance(event, Allocated):
            similarity = event.candidates.directions.similarity  # type: ignore[union-attr]
            assert similarity is not None
            paths = event.candidates.paths
            shown = groups([folded.labels[path] for path in paths])  # type: ignore[misc]
            assert shown == merged(similarity, 0.01 * math.log(2))
            states = [state(texts[path]) for path in paths]
            differing += shown != groups([states.index(one) for one in states])
            bands = {band.label: band for band in folded.columns[event.round]}
            for label, band in bands.items():
                members = [index for index, path in enumerate(paths) if folded.labels[path] == label]
                assert band.given == event.allocation.counts[members].sum()
                assert band.states == len({states[index] for index in members} or {None})
    assert folded.by_strategy
    assert differing


def test_the_tables_count_by_the_same_directions(hidden: Solution) -> None:
    folded = fold_flow(hidden.events, state_of=state)
    first = next(event for event in hidden.events if isinstance(event, Allocated))
    assert first.allocation.directions is not None
    directions = len(set(first.allocation.directions.tolist()))
    ended = any(isinstance(event, Grown) and event.round == 0 and event.step.stop == "end" for event in hidden.events)
    table = where_table(folded, hidden)
    assert table.columns[0].header == "direction of the first step"
    assert table.columns[1].header == "true\nstates"
    assert table.row_count == min(directions + ended, 9)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(explanation(folded, hidden))
    assert "true states" in console.export_text()


@pytest.mark.parametrize(("level", "budget"), [(1, 12), (2, 120), (3, 120), (5, 120)])
def test_names_of_directions_keep_room_at_80_columns(level: int, budget: int) -> None:
    problem = find_world("stories").problem(level, 1, "test")
    parts = {"policy": "demonstrator", "reward": "worth(0.1,1)", "directions": "state", "strategy": "dora"}
    solution = rollwise.solve(problem, budget=budget, world="stories", seed=1, **parts)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(where_table(fold_flow(solution.events, state_of=state), solution))
    lines = console.export_text().splitlines()
    names = {path.text.partition("\n")[0] for path in solution.finished}
    assert any(line.startswith(tuple(names)) for line in lines), lines
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_a_strategy_without_directions_is_shown_by_equal_steps_and_says_so() -> None:
    solution = rollwise.solve(PROBLEM, "rebase", 8, world="stories")
    folded = fold_flow(solution.events)
    assert not folded.by_strategy
    for event in solution.events:
        if isinstance(event, Grown) and folded.labels[event.path] not in (None, NOT_CONTINUED):
            assert folded.labels[event.path] == event.step.text.strip()
    assert where_table(folded, solution).columns[0].header == "first step"


def test_paths_that_the_search_leaves_have_a_band_of_their_own() -> None:
    """With a constant width, paths are still active when the last vote comes in."""
    options = {"world": "countdown", "constant_width": True, "max_steps": 3}
    solution = rollwise.solve("Use 3, 6, 8, 25 to make 150", "dora", 6, **options)
    folded = fold_flow(solution.events)
    for column in folded.columns:
        for band in column:
            if band.label == NOT_CONTINUED:
                assert band.given == 0
                assert not band.finished
    assert sum(band.paths for band in folded.columns[-1]) == sum(
        isinstance(event, Grown) and event.round == len(folded.columns) - 1 for event in solution.events
    )


def test_the_json_of_an_explained_search_holds_the_directions_of_the_strategy() -> None:
    words = ["solve", "--world", "stories", "--level", "4", "--seed", "3", "--budget", "8", "--strategy", "dora"]
    run = CliRunner().invoke(build_app(), [*words, "--explain", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["by_strategy"] is True
    first = told["rounds"][0]
    assert sum(band["given"] for band in first) == 8
    assert all(band["states"] >= 1 for band in first)
