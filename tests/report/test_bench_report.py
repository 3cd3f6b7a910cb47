"""The report of a real small bench: its page says what the store holds, loads nothing, and lets no text act."""

import csv
import json
import re
import shutil
import sqlite3
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from rollwise.bench import begin, figures_of, read_run
from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Store
from rollwise.cli import build_app
from rollwise.core import Problem, Usage
from rollwise.report import Part, pictures_of, tables_of, write_report
from rollwise.report.curves import Point, bounds_of, looks_of
from rollwise.report.data_tables import Column, DataTable, table_csv, table_markdown
from rollwise.search.runner import run_to_end

SMALL = {
    "strategies": "temperature,rebase,dora",
    "budgets": [2, 4],
    "seeds": 2,
    "levels": [1, 2],
    "limit": 2,
    "events": True,
}


class Page(HTMLParser):
    """What a page shows: its tables by the id of their section, its texts, its links and ids, what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.points: list[str] = []
        self.sections: list[str] = []
        self.cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids.add(given.get("id") or "")
        if tag == "section":
            self.sections.append(given.get("id") or "")
        self.links += [given["href"] or ""] if tag == "a" and "href" in given else []
        self.loads += [given[name] or "" for name in ("src", "srcset", "data", "action", "poster") if name in given]
        self.loads += [given["href"] or ""] if tag in ("link", "use", "image", "base") else []
        assert not [name for name in given if name.startswith("on")], f"{tag} has a handler"
        if tag == "g" and given.get("class") == "point":
            self.points.append(given["aria-label"] or "")
        rows = self.tables.setdefault(self.sections[-1], []) if self.sections else []
        if tag == "tr":
            rows.append([])
        self.cell = tag in ("td", "th") or (self.cell and tag not in ("tr", "table"))
        if tag in ("td", "th"):
            rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self.sections.pop()
        if tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data: str) -> None:
        if self.cell and self.sections and self.tables.get(self.sections[-1]):
            self.tables[self.sections[-1]][-1][-1] += data


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    running = begin(folder, SMALL)
    run_to_end(running.run())
    running.store.close()
    result = CliRunner().invoke(build_app(), ["report", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def page(bench: Path) -> Page:
    return Page((bench / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def store(bench: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(bench / "results.db")
    yield connection
    connection.close()


def test_the_page_shows_the_accuracy_and_intervals_of_the_store(page: Page, store: sqlite3.Connection) -> None:
    shown = {(row[0], row[1]): row for row in page.tables["p0-table-measures"][1:]}
    asked = "SELECT label, budget, avg(right), avg(covered), avg(right_paths * 1.0 / budget), count(*) FROM results "
    rows = store.execute(f"{asked} JOIN cells ON cells.id = cell_id GROUP BY label, budget").fetchall()
    assert len(rows) == len(shown) == 6
    for label, budget, right, covered, passed, count in rows:
        row = shown[label, str(budget)]
        low, high = stats.binomtest(round(right * 8), 8).proportion_ci(method="wilson")
        wide = stats.binomtest(round(right * 4), 4).proportion_ci(method="wilson")
        assert [row[2], row[3]] == ["4", str(count)]
        assert [row[4], row[7], row[10]] == [f"{100 * share:.1f}" for share in (right, covered, passed)]
        assert float(row[5]) <= 100 * low + 0.1  # questions are the trials, so it is wider than with 8
        assert float(row[6]) >= 100 * high - 0.1
        if float(right * 4).is_integer():
            assert [row[5], row[6]] == [f"{100 * each:.1f}" for each in wide]


def test_the_page_shows_the_costs_of_the_store(page: Page, store: sqlite3.Connection) -> None:
    head, *shown = page.tables["p0-table-costs"]
    assert head[:5] == ["strategy", "N", "accuracy %", "policy FLOPs", "reward model FLOPs"]
    for row in shown:
        where = "FROM results JOIN cells ON cells.id = cell_id WHERE label = ? AND budget = ?"
        arm = (row[0], int(row[1]))
        (total,) = store.execute(f"SELECT avg(flops) {where}", arm).fetchone()
        by_role = "FROM usages JOIN results ON results.id = result_id JOIN cells ON cells.id = cell_id"
        roles = [
            store.execute(
                f"SELECT avg(usages.flops), avg(generated + prefilled) {by_role} "
                "WHERE label = ? AND budget = ? AND role = ?",
                (*arm, role),
            ).fetchone()
            for role in ("policy", "reward")
        ]
        assert row[3:6] == [f"{roles[0][0]:.2e}", f"{roles[1][0]:.2e}", f"{total:.2e}"]
        assert row[6] == f"{sum(tokens for _, tokens in roles):,.0f}"
        seconds = [each for (each,) in store.execute(f"SELECT seconds {where}", arm)]
        assert row[7:9] == [f"{np.percentile(seconds, share):.2f}" for share in (50, 95)]


def test_the_page_shows_the_differences_of_the_store(page: Page, store: sqlite3.Connection) -> None:
    for row in page.tables["p0-table-differences"][1:]:
        pairs = store.execute(
            "SELECT r.problem_id, avg(r.right - b.right) FROM results r JOIN cells c ON c.id = r.cell_id "
            "JOIN cells d ON d.label = 'rebase' AND d.budget = c.budget AND d.seed = c.seed "
            "JOIN results b ON b.cell_id = d.id AND b.problem_id = r.problem_id "
            "WHERE c.label = ? AND c.budget = ? GROUP BY r.problem_id",
            (row[0], int(row[1])),
        ).fetchall()
        gaps = np.array([gap for _, gap in pairs])
        assert row[3] == f"{100 * gaps.mean():+z.1f}"
        assert row[10:] == [str(count) for count in ((gaps > 0).sum(), (gaps < 0).sum(), (gaps == 0).sum())]
        assert float(row[6]) <= float(row[4]) + 0.1
        assert float(row[5]) <= float(row[7]) + 0.1


def test_every_question_and_its_searches_can_be_reached(page: Page, store: sqlite3.Connection) -> None:
    (searches,) = store.execute("SELECT count(*) FROM events").fetchone()
    targets = {link[1:] for link in page.links if re.fullmatch(r"#p0-s\d+", link)}
    assert len(targets) == searches == 48
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert {f"p0-q{number}" for number in range(4)} <= page.ids
    head, *rows = page.tables["p0-questions"]
    for (name,) in store.execute("SELECT name FROM problems"):
        (row,) = [row for row in rows if row[0].startswith(name)]
        for label, budget, right in store.execute(
            "SELECT label, budget, sum(right) FROM results JOIN cells ON cells.id = cell_id "
            "JOIN problems ON problems.id = problem_id WHERE name = ? GROUP BY label, budget",
            (name,),
        ):
            assert row[head.index(f"{label}N = {budget}")].startswith(f"{right}/2")


def test_points_of_the_figures_can_be_reached_by_keyboard_and_tell_their_values(page: Page) -> None:
    shown = {(row[0], row[1]): row for row in page.tables["p0-table-measures"][1:]}
    for (label, budget), row in shown.items():
        told = f"{label}: N = {budget}, {row[4]} % ({row[5]} to {row[6]}) on 4 questions"
        assert told in page.points


def test_the_page_loads_nothing(bench: Path, page: Page) -> None:
    text = (bench / "report" / "index.html").read_text(encoding="utf-8")
    assert page.loads == []
    assert not [link for link in page.links if not link.startswith("#")]
    assert "link" not in page.tags
    assert page.tags.count("script") == 1
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    assert "default-src 'none'" in text


def test_pictures_tables_and_text_stand_beside_the_page(bench: Path, page: Page) -> None:
    out = bench / "report"
    for name in ("accuracy", "cost", "levels"):
        root = ET.parse(out / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (out / "tables" / "measures.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = page.tables["p0-table-measures"][1:]
    assert [f"{100 * float(row['accuracy %']):.1f}" for row in rows] == [row[4] for row in shown]
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Bench of countdown\n")
    assert all(f"figures/{name}.svg" in text for name in ("accuracy", "cost", "levels"))
    assert f"| temperature | 2 | 4 | 8 | {shown[0][4]} |" in text


def test_json_holds_the_figures_and_the_files(bench: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["report", str(bench), "--out", str(tmp_path), "--json", "--margin", "5"])
    found = json.loads(result.stdout)
    (part,) = found["parts"]
    assert part["baseline"] == "rebase"
    assert {each["margin"] for each in part["savings"]} == {0.05}
    assert part["summary"]["rows"][0]["measures"]["accuracy"]["mean"] == part["costs"][0]["accuracy"]
    assert all(Path(file).is_file() for file in found["files"])


HOSTILE = "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)> ${7*7} {{ 7*7 }} | `x`"


def hostile_bench(folder: Path) -> Path:
    """A bench in which every text of a question, an answer, a model or an error is hostile."""
    folder.mkdir()
    store = Store(folder / "results.db")
    cells = [Cell(label, 4, 0) for label in ("rebase", f"dora:{HOSTILE}")]
    problems = [Problem(f"{HOSTILE} {number}", HOSTILE, HOSTILE, HOSTILE, 1) for number in range(2)]
    config = {"world": HOSTILE, "baseline": "rebase", "search": {"policy": HOSTILE}}
    begun = store.begin(config, "hash", HOSTILE, {cell: {} for cell in cells}, problems, {HOSTILE: HOSTILE})
    grown = {"event": "grown", "round": 0, "path": "0", "text": HOSTILE, "tokens": 3, "stop": "end", "reward": 0.5}
    finished = {"event": "finished", "round": 0, "path": "0", "stop": "end", "right": True}
    for cell in cells:
        usage = {"policy": Usage(3, 1, 0, 1)}
        store.record(begun.id, cell, problems[0].id, Outcome(True, answer=HOSTILE, usage=usage), [grown, finished])
        store.record(begun.id, cell, problems[1].id, Outcome(error=f"=ValueError: {HOSTILE}"))
    store.close()
    return folder


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    folder = hostile_bench(tmp_path / "hostile")
    result = CliRunner().invoke(build_app(), ["report", str(folder)])
    assert result.exit_code == 0, result.output
    out = folder / "report"
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.loads == []
    assert page.tables["p0-table-failures"][1][4] == " ".join(f"=ValueError: {HOSTILE}".split())
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    for file in (out / "figures").glob("*.svg"):
        assert "script" not in {element.tag.rpartition("}")[2] for element in ET.parse(file).iter()}
    assert "'=ValueError" in (out / "tables" / "failures.csv").read_text(encoding="utf-8")


def test_without_the_extra_all_but_the_page_and_the_png_are_written(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    run = read_run(bench)
    figures = figures_of(run)
    written, notes = write_report([Part(run, figures, pictures_of(figures), tables_of(figures))], tmp_path, "a bench")
    assert {file.suffix for file in written} == {".svg", ".csv", ".md"}
    assert len(notes) == 2
    assert all("pip install 'rollwise[report]'" in note for note in notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere holds no bench"),
        (["RUN", "--baseline", "beam"], "not among the strategies"),
        (["RUN", "--margin", "101"], "margin"),
        (["RUN", "--prices", "nowhere.toml"], "cannot read nowhere.toml"),
        (["RUN", "--paper", "nowhere.json"], "cannot read nowhere.json"),
    ],
)
def test_mistakes_are_told_in_one_line(bench: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    given = [str(bench) if each == "RUN" else each for each in arguments]
    result = CliRunner().invoke(build_app(), ["report", *given, "--out", str(tmp_path / "out")])
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_papers_curves_are_drawn_beside_ours_on_its_benchmark(bench: Path, tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    lines = {"DORA": [10, 20, 30, 40, 50.5], "DVTS": [5, 6, 7, 8, 9]}
    file.write_text(json.dumps({"accuracy|MATH500|M": lines, "pass_rate|MATH500|M": lines}))
    note = CliRunner().invoke(build_app(), ["report", str(bench), "--paper", str(file), "--out", str(tmp_path / "a")])
    assert "none of these benches is on a benchmark" in note.stderr
    copy = tmp_path / "copy"
    shutil.copytree(bench, copy)
    with sqlite3.connect(copy / "results.db") as plain:
        plain.execute("""UPDATE experiments SET config = json_set(config, '$.data', 'math500.jsonl')""")
    result = CliRunner().invoke(build_app(), ["report", str(copy), "--paper", str(file), "--out", str(tmp_path / "b")])
    assert result.stderr == ""
    page = Page((tmp_path / "b" / "index.html").read_text(encoding="utf-8"))
    assert "dora: N = 256, 50.5 % (paper, M)" in page.points
    assert "dvts: N = 16, 5.0 % (paper, M)" in page.points


def test_axes_hold_all_points_and_every_curve_has_its_own_look() -> None:
    points = [Point(1, 33.0, 28.0, 61.0, ""), Point(2, 95.0, None, None, "")]
    low, high = bounds_of([{"a": points}])
    assert (low, high) == (20, 100)
    assert bounds_of([{"a": [Point(1, 0.0, 0.0, 0.0, "")]}]) == (0, 1)
    looks = looks_of([str(number) for number in range(14)])
    assert len(set(looks.values())) == 14


def test_a_table_keeps_raw_values_in_csv_and_plain_text_in_markdown() -> None:
    columns = (Column("name"), Column("share", "percent"))
    table = DataTable("t", "A table", "", columns, (("=1+1", 0.123456), ("a|b", None), ("plain", -1.0)))
    assert table_csv(table) == "name,share\n'=1+1,0.123456\na|b,\nplain,-1.0\n"
    assert table_markdown(table).splitlines()[2:] == [
        *("| name | share |", "| --- | ---: |", "| =1+1 | 12.3 |", "| a\\|b | – |", "| plain | -100.0 |"),
    ]


@pytest.mark.heavy
def test_a_browser_runs_the_page(bench: Path) -> None:
    page = bench / "report" / "index.html"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    run = subprocess.run(
        ["/usr/bin/chromium", *flags, f"file://{page}#p0-s3"], capture_output=True, text=True, check=True
    )
    assert re.search(r'<details class="search" id="p0-s3" open="">', run.stdout)
    assert re.search(r"<output[^>]*>\w+ wins \d+, rebase wins \d+, ties \d+; 4 shown</output>", run.stdout)
    assert "<title>" not in run.stdout.partition("</head>")[2]
