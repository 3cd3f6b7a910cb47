"""Pages of searches, pairs and quick figures agree with what the whole list of results says."""

from pathlib import Path

import pytest
from small_bench import small_bench

from rollwise.bench import OUTCOMES, Browser, Filter, read
from rollwise.bench.places import RESULTS_FILE
from rollwise.bench.store import Result, Store
from rollwise.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bench(tmp_path_factory.mktemp("run") / "bench")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[Result]:
    store = Store(folder / RESULTS_FILE)
    experiment = store.latest()
    assert experiment is not None
    return store.results(experiment.id)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(strategy="dora"),
        Filter(level=3),
        Filter(right=True),
        Filter(right=False, budget=4),
        Filter(seed=7),
    ],
)
def test_a_page_lists_what_passes_the_filter(folder: Path, results: list[Result], wanted: Filter) -> None:
    def passes(result: Result) -> bool:
        known = {
            "strategy": result.cell.label,
            "budget": result.cell.budget,
            "seed": result.cell.seed,
            "level": result.level,
            "right": result.outcome.right,
        }
        return all(getattr(wanted, name) in (None, value) for name, value in known.items())

    expected = [result for result in results if passes(result)]
    browser = Browser(folder)
    total, listed = browser.page(wanted)
    assert total == len(expected) == len(listed)
    assert sorted(one.seconds for one in listed) == sorted(result.outcome.seconds for result in expected)
    assert all(one.recorded for one in listed)


def test_pages_follow_each_other(folder: Path) -> None:
    browser = Browser(folder)
    total, everything = browser.page(Filter())
    parts = [one for offset in range(0, total, 3) for one in browser.page(Filter(), offset, 3)[1]]
    assert parts == everything
    assert browser.page(Filter(), total + 5) == (total, [])


def test_a_part_of_the_question_is_found_as_it_is_written(folder: Path) -> None:
    browser = Browser(folder)
    _, everything = browser.page(Filter())
    question = everything[0].question
    assert browser.page(Filter(text=question))[0] == sum(one.question == question for one in everything)
    assert browser.page(Filter(text="%"))[0] == 0


def test_a_recorded_search_has_its_config_and_events(folder: Path) -> None:
    browser = Browser(folder)
    listed = browser.page(Filter(strategy="dora"))[1][0]
    recorded = browser.search(listed.id)
    assert (recorded.strategy, recorded.budget, recorded.config["strategy"]) == ("dora", 4, "dora")
    assert recorded.problem.question == listed.question
    assert {event["event"] for event in recorded.events} >= {"grown", "finished"}
    with pytest.raises(InputError, match="no search number 999"):
        browser.search(999)


def test_pairs_count_who_was_right(folder: Path, results: list[Result]) -> None:
    right = {(result.cell.label, result.problem, result.cell.seed): result.outcome.right for result in results}
    trials = sorted({(problem, seed) for _, problem, seed in right})
    expected = dict.fromkeys(OUTCOMES, 0)
    for trial in trials:
        rebase, dora = right["rebase", *trial], right["dora", *trial]
        expected["both" if rebase and dora else "one" if rebase else "other" if dora else "neither"] += 1
    totals, pairs = Browser(folder).pairs("rebase", "dora", 4)
    assert totals == expected
    assert len(pairs) == len(trials)
    for name, count in expected.items():
        assert len(Browser(folder).pairs("rebase", "dora", 4, name)[1]) == count


def test_quick_figures_are_those_of_the_summary(folder: Path) -> None:
    summary = read(folder).summary
    for by_level, rows in ((False, summary.rows), (True, summary.by_level)):
        quick = {(row["strategy"], row["budget"], row["level"]): row for row in Browser(folder).quick(by_level)}
        assert len(quick) == len(rows)
        for row in rows:
            same = quick[row.strategy, row.budget, row.level]
            assert (same["results"], same["questions"], same["errors"]) == (row.results, row.questions, row.errors)
            assert {name: cost["mean"] for name, cost in same["costs"].items()} == pytest.approx(
                {name: cost.mean for name, cost in row.costs.items() if name != "tokens"}
            )
            assert same["costs"]["seconds"]["mean"] == pytest.approx(row.seconds)
            for name in ("accuracy", "coverage"):
                measure = row.measures[name]
                shown = same["measures"][name]
                assert [shown["mean"], shown["low"], shown["high"]] == pytest.approx(
                    [measure.mean, measure.low, measure.high]
                )


def test_a_folder_without_a_bench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no bench"):
        Browser(tmp_path)


def test_a_bench_without_events_says_how_to_keep_them(tmp_path: Path) -> None:
    browser = Browser(small_bench(tmp_path / "bench", events=False, limit=1, levels=[3], strategies=["rebase"]))
    assert not browser.page(Filter())[1][0].recorded
    with pytest.raises(InputError, match="--events"):
        browser.search(1)
