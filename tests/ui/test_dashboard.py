"""The dashboard's answers: the same figures as elsewhere, one clear line for what it cannot do, and safe pages."""

import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bench import small_bench
from typer.testing import CliRunner

import rollwise
from rollwise.allocation import STRATEGIES
from rollwise.bench import Browser, figures_of, read, read_run
from rollwise.cli import build_app
from rollwise.errors import InputError
from rollwise.report import LANGUAGES, catalogue
from rollwise.ui import View, dashboard, export, running
from rollwise.ui.laboratory import Group, Setting, candidates_of, laboratory
from rollwise.ui.recorded import account_of_recorded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bench(tmp_path_factory.mktemp("run") / "bench")


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    return TestClient(dashboard(folder, {}))


def test_the_run_is_what_the_bench_found(client: TestClient, folder: Path) -> None:
    summary = client.get("/api/summary").json()
    assert summary["rows"] == list(read(folder).summary.as_dict()["rows"])
    costs = summary["rows"][0]["costs"]
    assert set(costs) == {"tokens", "flops", "seconds"}
    assert all(cost["low"] <= cost["mean"] <= cost["high"] for cost in costs.values())
    overall = [one for one in summary["differences"] if one["level"] is None]
    reported = figures_of(read_run(folder)).comparisons
    assert [(one["strategy"], one["joint_low"], one["joint_high"]) for one in overall] == [
        (each.strategy, each.joint_low, each.joint_high) for each in reported
    ]
    assert {one["level"] for one in summary["differences"]} == {None, 3, 4}
    about = client.get("/api/about").json()
    assert about["run"]["results"] == 8
    assert about["run"]["strategies"] == ["rebase", "dora"]


def test_searches_open_by_number_with_their_sentences(client: TestClient) -> None:
    listed = client.get("/api/searches", params={"strategy": "dora", "limit": 1}).json()
    number = listed["searches"][0]["id"]
    search = client.get(f"/api/searches/{number}").json()
    assert search["question"] == [["text", listed["searches"][0]["question"]]]
    path = search["nodes"]["key"][0]
    english = client.get(f"/api/searches/{number}/why", params={"path": path}).json()["why"]
    assert english.startswith("It scored")
    japanese = client.get(f"/api/searches/{number}/why", params={"path": path, "language": "ja"}).json()["why"]
    assert "ロールアウト" in japanese
    page = client.get(f"/api/searches/{number}/page")
    assert page.text.startswith("<!doctype html>")
    assert "attachment" in page.headers["content-disposition"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/api/searches/999", "no search number 999"),
        ("/api/searches/1/why?path=x", "5.0.2"),
        ("/api/searches/1/why?path=99", "no path 99"),
        ("/api/searches/1/why?path=0&language=fr", "en, ja"),
        ("/api/pairs?one=dora&other=rebase&budget=4&only=all", "both, one, other, neither"),
        ("/api/tries/5", "start it again"),
    ],
)
def test_what_is_not_there_is_one_clear_line(client: TestClient, address: str, said: str) -> None:
    reply = client.get(address)
    assert reply.status_code == 422
    assert said in reply.json()["error"]
    assert "\n" not in reply.json()["error"]


def test_a_dashboard_without_a_run_says_so() -> None:
    bare = TestClient(dashboard())
    assert bare.get("/api/about").json()["run"] is None
    assert "rollwise ui FOLDER" in bare.get("/api/summary").json()["error"]
    assert "starts no searches" in bare.post("/api/tries", json={}).json()["error"]


def test_every_file_of_the_page_is_served_and_nothing_else(client: TestClient) -> None:
    index = client.get("/")
    assert "default-src 'none'" in index.headers["content-security-policy"]
    files = [word.split('"')[0] for word in index.text.split('"static/')[1:]]
    assert len(files) > 6
    for file in files:
        assert client.get(f"/static/{file}").status_code == 200
    for file in ("app.py", "index.html", "../app.py", "en.toml"):
        assert client.get(f"/static/{file}").status_code == 404


def test_it_mounts_into_another_application_which_may_add_a_view(folder: Path) -> None:
    router = APIRouter()
    router.get("/state")(lambda: {"alarms": 0})
    view = View("operations", {"en": "Operations", "ja": "運用"}, "rollwise.views.operations = () => {};", router)
    service = FastAPI()
    service.mount("/ui", dashboard(folder, views=[view]))
    client = TestClient(service)
    assert client.get("/ui", follow_redirects=True).url.path == "/ui/"
    assert 'src="static/view/operations.js"' in client.get("/ui/").text
    assert client.get("/ui/static/view/operations.js").text.startswith("rollwise.views")
    assert client.get("/ui/static/view/other.js").status_code == 404
    assert client.get("/ui/api/operations/state").json() == {"alarms": 0}
    assert client.get("/ui/api/about?language=ja").json()["views"] == [{"name": "operations", "title": "運用"}]


def follow(client: TestClient, asked: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    number = client.post("/api/tries", json=asked).json()["number"]
    seen: list[int] = []
    for _ in range(12_000):
        told = client.get(f"/api/tries/{number}").json()
        seen.append(told["rounds"])
        if told["done"]:
            return told, seen
        time.sleep(0.05)
    raise AssertionError("the search did not end")


def test_a_visitor_starts_a_search_and_sees_it_end(client: TestClient) -> None:
    told, seen = follow(client, {"question": "Use 4, 6, 21, 25 to make 85", "strategy": "rebase", "budget": 6})
    assert told["error"] is None
    assert told["verdict"]["finished"] == 6
    assert told["search"]["strategy"] == "rebase"
    assert seen == sorted(seen)
    assert told["rounds"] == len(told["search"]["stages"])


def test_what_goes_wrong_in_a_search_is_told(client: TestClient) -> None:
    told, _ = follow(client, {"question": "What is love?", "budget": 4})
    assert "this is the world countdown" in told["error"]
    refused = client.post("/api/tries", json={"strategy": "/tmp/own.py:run"})
    assert refused.status_code == 422
    assert client.post("/api/tries", json={"budget": 10**6}).status_code == 422
    assert client.post("/api/tries", json={"policy": "http://example.org"}).status_code == 422


chances = st.floats(0.01, 0.99)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(chances, st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([0.5, 4.0, 50.0]),
)
def test_the_laboratory_counts_sum_and_nothing_beats_the_least_failure(
    groups: list[tuple[float, int]], width: int, correlation: float, concentration: float
) -> None:
    setting = Setting(
        groups=[Group(score=score, size=size) for score, size in groups],
        width=width,
        correlation=correlation,
        concentration=concentration,
    )
    found = laboratory(setting)
    candidates, labels = candidates_of(setting)
    assert labels.tolist() == found["labels"]
    for shown in found["strategies"]:
        assert sum(shown["totals"]) == sum(shown["counts"]) == width
        assert np.bincount(labels, shown["counts"]).tolist() == shown["totals"]
        assert shown["failure"] >= found["least"] * (1 - 1e-9)
        if shown["regret"]:
            assert math.exp(shown["regret"]) == pytest.approx(shown["failure"] / found["least"])
    by_name = {shown["strategy"]: shown for shown in found["strategies"]}
    again = STRATEGIES["dora"].bind()(candidates, width).counts.tolist()
    assert by_name["dora"]["counts"] == again
    if correlation == 1:
        assert by_name["optimal_directions"]["failure"] == pytest.approx(found["least"])


@pytest.mark.parametrize("bad", [{}, {"groups": []}, {"groups": [{"score": 2, "size": 1}]}, {"groups": 3}])
def test_the_laboratory_refuses_what_is_no_setting(client: TestClient, bad: dict[str, Any]) -> None:
    assert client.post("/api/lab", json=bad).status_code == 422


def test_every_label_that_a_script_uses_exists() -> None:
    source = Path(rollwise.__file__).parent
    source = Path(rollwise.__file__).parent
    scripts = [file.read_text(encoding="utf-8") for file in source.glob("*/assets/*.js")]
    used = {name for script in scripts for name in re.findall(r"\bwords\.([a-z_]+)", script)} - {"slice", "length"}
    assert len(used) > 60
    for language in LANGUAGES:
        assert used <= {name for table in ("page", "dashboard", "operations") for name in catalogue(language)[table]}


def test_a_search_is_exported_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "search.html"
    done = CliRunner().invoke(build_app(), ["ui", str(folder), "--export", "1", str(out)])
    assert done.exit_code == 0
    assert out.read_text(encoding="utf-8") == export(folder, 1)
    for words in (["--export", "1"], [str(folder), str(out)], [str(folder), str(out), "--export", "77"]):
        refused = CliRunner().invoke(build_app(), ["ui", *words])
        assert isinstance(refused.exception, InputError)


def test_only_requests_that_name_this_machine_are_answered(folder: Path) -> None:
    with running(dashboard(folder)) as address:
        assert httpx.get(address, timeout=60).status_code == 200
        assert httpx.get(address, headers={"Host": "evil.example"}, timeout=60).status_code == 400


def test_a_recorded_search_of_an_own_strategy_runs_no_file(folder: Path) -> None:
    recorded = Browser(folder).search(1)
    foreign = replace(recorded, config={**recorded.config, "strategy": "/nowhere/own.py:run"})
    account = account_of_recorded(foreign)
    assert account.allocate is None
    assert account.nodes
