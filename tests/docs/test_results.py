"""The figures of the README and of the results pages are those of the data, and the tables are made from it."""

import importlib.util
import math
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rollwise.bench.summary import Difference, Measure, Row, Summary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
PAGES = sorted(RESULTS.glob("*.md"))


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


tables = load_script()
DATA = sorted(path.stem for path in tables.DATA.glob("*.json"))
PAGES_WITH_TABLES = [page for page in tables.PAGES if tables.TABLE.search(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def flat(page: Path) -> str:
    """The text of a page on one line."""
    return " ".join(page.read_text(encoding="utf-8").split())


# --- tables are made from the data


@pytest.mark.parametrize("page", PAGES_WITH_TABLES, ids=name_of)
def test_tables_are_those_of_the_data(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == tables.rewritten(text), "run python docs/tables.py"


def test_every_file_of_data_has_a_table() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES_WITH_TABLES)
    assert {found["what"].split()[0] for found in tables.TABLE.finditer(text)} == set(DATA)


def test_a_stale_table_is_named_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: faults -->\n\n| old |\n\n<!-- end -->\nmore\n", encoding="utf-8")
    monkeypatch.setattr(tables, "PAGES", (page,))
    assert tables.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().err
    assert tables.main([]) == 0
    assert "| 10 % | 2 | 120 | 73.3 | −10.0 (−15.8 to −5.0) |" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").endswith("<!-- end -->\nmore\n")
    assert tables.main(["--check"]) == 0


def measure(mean: float, difference: Difference | None) -> Measure:
    return Measure(mean, mean - 0.1, mean + 0.1, difference)


def row(strategy: str, budget: int, measured: Measure) -> Row:
    return Row(strategy, budget, None, 100, 100, 0, 0, 0, {"coverage": measured}, {}, 0.0, 1.0, 1.0)


def test_a_summary_of_a_bench_becomes_a_table() -> None:
    gain = Difference(-0.045, -0.0949, 0.0, 0.083)
    rows = (
        row("temperature", 16, measure(0.5, None)),
        row("temperature", 64, measure(0.81, None)),
        row("dora", 16, measure(0.505, Difference(0.0, -0.01, 0.01, None))),
        row("dora", 64, measure(0.765, gain)),
    )
    summary = Summary("temperature", 400, 400, (), rows, ()).as_dict()
    document = {"summaries": [summary]}
    columns = "coverage@16 as solved; coverage; coverage-temperature; coverage-temperature?"
    assert tables.bench_table(document, {"budget": "64", "columns": columns, "strategies": "dora; temperature"}) == (
        "| strategy | solved | coverage | against plain sampling | detectable |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| DORA | 50.5 | 76.5 | −4.5 (−9.5 to 0.0) | 8.3 |\n"
        "| plain sampling | 50.0 | 81.0 |  |  |\n"
    )
    assert tables.bench_table(document, {"columns": "coverage"}).splitlines()[2:] == [
        "| plain sampling | 16 | 50.0 |",
        "| plain sampling | 64 | 81.0 |",
        "| DORA | 16 | 50.5 |",
        "| DORA | 64 | 76.5 |",
    ]


@pytest.mark.parametrize(("name", "text"), [("numbers-game", "coverage-nobody"), ("numbers-game", "cover age")])
def test_columns_that_do_not_exist_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"nobody|no column"):
        tables.table(f'{name} columns="{text}"')


# --- the data has the shape of a summary, and says where it comes from


@pytest.mark.parametrize("name", DATA)
def test_data_says_which_command_made_it(name: str) -> None:
    made_by = tables.load(name)["made_by"]
    if "computed_from" in made_by:
        assert set(made_by["computed_from"]) <= set(DATA)
        return
    assert made_by["command"]
    assert made_by["models"]
    for file in re.findall(r"experiments/[\w/-]+\.(?:toml|py)", str(made_by)):
        assert (ROOT / file).exists()


@pytest.mark.parametrize("name", DATA)
def test_data_names_no_file_of_the_machine_that_made_it(name: str) -> None:
    assert not re.findall(r'["\s]/\w+/', (tables.DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in DATA if "summaries" in tables.load(name)])
def test_summaries_have_the_shape_that_a_bench_writes(name: str) -> None:
    for summary in tables.load(name)["summaries"]:
        assert set(summary) - {"experiment"} == {field.name for field in fields(Summary)}
        for each in summary["rows"]:
            later = {"unread", "cut", "costs"}  # what a bench did not write when these results were made
            assert set(each) | later == {field.name for field in fields(Row)}
            for measured in each["measures"].values():
                assert set(measured) == {field.name for field in fields(Measure)}
                difference = measured["difference"]
                assert difference is None or set(difference) == {field.name for field in fields(Difference)}
                assert difference is None or difference["low"] <= difference["mean"] <= difference["high"]
                assert each["strategy"] != summary["baseline"] or difference is None


def test_means_over_tables_are_those_of_their_parts() -> None:
    """The mean of the differences; half its interval is the root of the summed squared halves over their number."""
    for each in tables.load("numbers-game-replications")["rows"]:
        parts = [part for part in each[3:-1] if part is not None]
        mean = sum(part["mean"] for part in parts) / len(parts)
        half = math.hypot(*((part["high"] - part["low"]) / 2 for part in parts)) / len(parts)
        assert each[-1] == pytest.approx({"mean": mean, "low": mean - half, "high": mean + half}, abs=1e-3)


COMPARISONS = {
    "DORA − REBASE": ("dora", "rebase"),
    "DORA − plain sampling": ("dora", "temperature"),
    "REBASE − plain sampling": ("rebase", "temperature"),
    "optimum by direction − plain sampling": ("optimal_directions", "temperature"),
}


def test_parts_of_means_over_tables_are_those_of_the_tables() -> None:
    for title, budget, measured, *parts, _ in tables.load("numbers-game-replications")["rows"]:
        strategy, baseline = COMPARISONS[title]
        column = tables.read_column(f"{'coverage' if measured == 'coverage' else 'accuracy'}-{baseline}")
        for name, part in zip(("numbers-game", "numbers-game-earlier", "softmax"), parts, strict=True):
            if part is not None:
                found = tables.figure(tables.load(name), strategy, budget, column)
                assert part == pytest.approx({key: found[key] for key in ("mean", "low", "high")}, abs=0.05)


# --- README

DORA_RANDOM = "dora:reward=experiments/bad_rewards.py:noise"
README_FIGURES = [
    ("+8.0 points (+4.5 to +12.0) at N = 64", "numbers-game", "optimal_directions", 64, "coverage-temperature"),
    ("0.0 (−4.0 to +4.0)", "softmax", "dora:reward_temperature=0.2", 64, "coverage-optimal_directions"),
    ("−33.3 points (−46.7 to −20.0) at N = 16", "bad-rewards-unguarded", DORA_RANDOM, 16, "coverage-temperature"),
    ("+11.5 points (+2.0 to +20.5)", "stories", "optimal_directions", 64, "accuracy-temperature"),
    ("+15.0 (+4.0 to +26.0)", "stories", "dora", 64, "accuracy-temperature"),
]


def readme_findings() -> list[str]:
    text = tables.README.read_text(encoding="utf-8").partition("## Measured")[2].partition("\n## ")[0]
    return [" ".join(bullet.split()) for bullet in re.findall(r"^- (.*?)(?=\n- |\n\n)", text, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize(("quote", "name", "strategy", "budget", "column"), README_FIGURES)
def test_figures_of_the_readme_are_those_of_the_table(
    quote: str, name: str, strategy: str, budget: int, column: str
) -> None:
    finding = next(text for text in readme_findings() if quote in text)
    pages = re.findall(r"\((docs/results/[\w-]+\.md)\)", finding)
    assert any(f"<!-- table: {name} " in (ROOT / page).read_text(encoding="utf-8") for page in pages), "link its table"
    found = tables.figure(tables.load(name), strategy, budget, tables.read_column(column))
    assert re.sub(r" points| at N = \d+", "", quote) == tables.shown(found, signed=True)


def test_the_readme_has_no_other_figures() -> None:
    findings = readme_findings()
    assert len(findings) == 3
    text = " ".join(findings)
    for quote, *_ in README_FIGURES:
        text = text.replace(quote, "")
    assert re.findall(r"\d+(?:\.\d+)?", text) == []
    assert all("(docs/results/" in finding for finding in findings)


def test_a_useless_reward_solves_what_plain_sampling_solves() -> None:
    """The README's finding without a figure: coverage is plain sampling's on each question."""
    rows = tables.load("bad-rewards")["rows"]
    assert {each[0] for each in rows[1:]} >= {"random", "inverted"}
    assert {each[3] for each in rows} == {rows[0][3]}
    assert {each[4] for each in rows[1:]} == {"0 on each question"}


def test_the_readme_has_one_short_table() -> None:
    text = tables.README.read_text(encoding="utf-8")
    assert len(re.findall(r"^\| ?:?---", text, re.MULTILINE)) == 1
    assert 1 <= len(re.findall(r"^\|", text, re.MULTILINE)) - 2 <= 5
    assert "<!-- table: numbers-game " in text
    assert {each["questions"] for each in tables.load("numbers-game")["summaries"][0]["rows"]} == {100}
    assert "100 test questions" in text


# --- results.md


def answers() -> list[tuple[str, str]]:
    """The questions of results.md with their answers."""
    sections = re.split(r"^## ", (DOCS / "results.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = [section.split("\n", 1) for section in sections]
    return [(title, " ".join(text.split())) for title, text in found if title.endswith("?")]


def test_results_fit_on_three_screens() -> None:
    assert len((DOCS / "results.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_of_results_answers_a_question() -> None:
    linked = {name for _, text in answers() for name in re.findall(r"\(results/([\w-]+)\.md", text)}
    assert linked == {page.stem for page in PAGES}


@pytest.mark.parametrize(("title", "text"), answers(), ids=[title for title, _ in answers()])
def test_figures_of_an_answer_stand_on_its_page(title: str, text: str) -> None:
    pages = re.findall(r"\((results/[\w-]+\.md)", text)
    assert pages, f"{title} has no link to its page"
    shown = " ".join(flat(DOCS / page) for page in pages)
    prose = re.sub(r"\]\([^)]*\)", "", text)
    figures = re.findall(r"[+−]?\d*\.\d+(?: ± \d*\.\d+)?(?: points(?: of (?:votes|coverage))?)?(?: \([^)]*\))?", prose)
    missing = [figure for figure in figures if re.sub(r" points(?: of (?:votes|coverage))?", "", figure) not in shown]
    assert missing == []


# --- pages of results


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_says_what_was_asked_declared_and_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.splitlines()[0].startswith("# ")
    assert text.splitlines()[0].endswith("?")
    assert "**Declared**" in text
    assert "**Models**" in text
    assert "```console\n" in text
    declared = [file for file in re.findall(r"`(experiments/\w+\.toml)`", text) if not (ROOT / file).exists()]
    assert declared == []
