"""Every view in a real browser: at both widths, light and dark, by keyboard, by axe's rules, without the network."""

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browsing import WIDTHS, Watched, opened_browser, overflow, violations
from playwright.sync_api import Browser, Dialog
from shown_searches import HOSTILE, hostile_account, large_search
from small_bench import small_bench

from rollwise.bench import Browser as Browsed
from rollwise.bench import Outcome, begin
from rollwise.report import search_html
from rollwise.ui import dashboard, running

pytestmark = pytest.mark.heavy

VIEWS = {
    "run": "h1",
    "searches": "tbody tr",
    "search/1": ".tree svg",
    "compare": "tbody tr",
    "beside/1/2": ".half:nth-child(2) .tree svg",
    "lab": ".stack",
    "try": "form",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = small_bench(tmp_path_factory.mktemp("run") / "bench")
    with running(dashboard(folder, {})) as url:
        yield url


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "search.html"
    out.write_text(search_html(large_search(16, 4)), encoding="utf-8")
    return out.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view(browser: Browser, address: str, view: str, width: int, scheme: str) -> None:
    watched = Watched(browser, width, scheme)
    page = watched.open(f"{address}/#/{view}", VIEWS[view])
    assert not watched.errors
    assert overflow(page) <= 0
    assert violations(page) == []
    assert {url for url in watched.asked if not url.startswith((address, "data:"))} == set()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_an_exported_page(browser: Browser, file: str, width: int, scheme: str) -> None:
    watched = Watched(browser, width, scheme)
    page = watched.open(file, ".tree svg")
    assert not watched.errors
    assert overflow(page) <= 0
    assert violations(page) == []
    assert watched.asked == [file]
    page.keyboard.press("Home")
    assert violations(page) == []
    page.close()


def test_the_keyboard_goes_through_steps_and_paths(browser: Browser, file: str) -> None:
    page = Watched(browser, 1280).open(file, ".tree svg")

    def state() -> tuple[int, str]:
        step = page.locator(".steps [aria-current]").inner_text()
        return int(step), str(page.locator(".path h2").inner_text())

    last, winner = state()
    assert last == 4
    page.keyboard.press("ArrowLeft")
    step, parent = state()
    assert step == 3
    assert winner.split()[1].startswith(parent.split()[1])
    page.keyboard.press("Home")
    assert state()[0] == 1
    page.keyboard.press("End")
    assert state()[0] == 4
    page.keyboard.press("Home")
    page.focus(".tree")
    before = state()[1]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert state()[1] != before
    assert page.locator(".why").inner_text().startswith("It scored")
    page.close()


def test_a_click_picks_the_nearest_path(browser: Browser, file: str) -> None:
    page = Watched(browser, 1280).open(file, ".tree svg")
    where = page.evaluate(
        "(() => { const t = rollwise.view.tree, n = t.column(0)[5], b = t.svg.getBoundingClientRect();"
        " return [n, b.left + t.place.x[0], b.top + t.place.y[n], rollwise.view.data.nodes.key[n]]; })()"
    )
    page.mouse.click(where[1], where[2])
    assert where[3] in page.locator(".path h2").inner_text().split()
    page.close()


def test_hostile_text_does_not_run(browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "hostile.html"
    out.write_text(search_html(hostile_account()), encoding="utf-8")
    watched = Watched(browser, 1280)

    def opened(dialog: Dialog) -> None:
        watched.errors.append("a dialog opened")
        dialog.dismiss()

    watched.page.on("dialog", opened)
    page = watched.open(out.as_uri(), ".tree svg")
    assert not watched.errors
    assert HOSTILE[0] in page.locator("h1").inner_text()
    for node in range(len(HOSTILE)):
        page.evaluate(f"rollwise.view.show(1, {len(HOSTILE)} + {node})")
    assert page.locator("img, iframe, .path script").count() == 0
    assert not watched.errors
    page.close()


def test_a_search_is_watched_while_it_runs(browser: Browser, address: str) -> None:
    watched = Watched(browser, 1280)
    page = watched.open(f"{address}/#/try", "form")
    page.fill("textarea", "Use 4, 6, 21, 25 to make 85")
    page.fill("input[name=budget]", "8")
    page.click("button[type=submit]")
    page.wait_for_selector(".tree svg", timeout=60_000)
    page.wait_for_selector("button[type=submit]:not([disabled])", timeout=60_000)
    assert "Use 4, 6, 21, 25" in page.locator("h1").nth(1).inner_text()
    assert not watched.errors
    page.fill("textarea", "no numbers here")
    page.click("button[type=submit]")
    page.wait_for_selector(".error", timeout=60_000)
    assert "countdown" in page.locator(".error").inner_text()
    page.close()


def test_a_bench_is_watched_while_it_runs(browser: Browser, tmp_path: Path) -> None:
    bench = begin(tmp_path / "bench", {"strategies": ["rebase", "dora"], "budgets": [4], "levels": [3], "limit": 4})
    some, go_on = threading.Event(), threading.Event()
    ended: list[Outcome] = []

    def on_result(outcome: Outcome) -> None:
        ended.append(outcome)
        if len(ended) == 3:
            some.set()
            go_on.wait(120)

    with running(dashboard(tmp_path / "bench", {})) as url, ThreadPoolExecutor(1) as pool:
        watched = Watched(browser, 1280)
        page = watched.open(f"{url}/#/run", ".progress")
        page.wait_for_selector("text=No search has ended yet")
        page.evaluate("window.opened = true")
        work = pool.submit(asyncio.run, bench.run(on_result))
        assert some.wait(120)
        stored = Browsed(tmp_path / "bench").counts()[0]
        assert 3 <= stored < 8
        page.wait_for_selector(f".progress[aria-valuenow='{stored}'][aria-valuemax='8']", timeout=60_000)
        page.wait_for_selector("tbody tr", timeout=60_000)
        page.focus("tbody a")
        held = page.evaluate("document.activeElement.getAttribute('href')")
        go_on.set()
        work.result(timeout=120)
        page.wait_for_selector(".progress", state="detached", timeout=60_000)
        page.wait_for_function(
            "[...document.querySelectorAll('tbody tr')].every((row) => row.cells[2].innerText === '4')"
        )
        assert page.locator("tbody tr").count() == 2
        assert page.evaluate("document.activeElement.getAttribute('href')") == held
        assert "8 of 8 results" in page.locator("main").inner_text()
        assert page.evaluate("window.opened") is True
        assert not watched.errors
        page.close()


def test_a_run_is_drawn_against_what_it_costs(browser: Browser, address: str) -> None:
    watched = Watched(browser, 1280)
    page = watched.open(f"{address}/#/run", ".chart")
    for name in ("tokens", "seconds", "flops"):
        page.select_option("select[name=against]", name)
        page.wait_for_selector(f".chart[aria-label^='Accuracy, {'FLOPs' if name == 'flops' else name}']")
        assert page.locator(".chart circle").count() == 6
        assert "NaN" not in page.locator(".cards").inner_html()
    page.select_option("select[name=level]", "3")
    page.wait_for_selector(".chart")
    assert "against=flops" in page.url
    assert not watched.errors
    page.close()


def test_the_language_changes_without_reloading(browser: Browser, address: str) -> None:
    page = Watched(browser, 1280).open(f"{address}/#/search/2", ".tree svg")
    page.select_option(".top select", "ja")
    page.wait_for_selector("text=実験室")
    page.wait_for_selector(".why:not(:empty)")
    assert re.search("この経路|この方向", page.locator(".why").inner_text())
    page.close()


WATCH_KEYS = """window.frames = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())
  if (entry.name === "keydown") frames.push([rollwise.view.stage, entry.duration]); })
  .observe({ type: "event", durationThreshold: 16 });"""


@pytest.mark.parametrize("width", WIDTHS)
def test_a_large_search_is_drawn_within_a_second_and_steps_within_a_tenth(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    out = tmp_path / "large.html"
    out.write_text(search_html(large_search(256, 40), why=False), encoding="utf-8")
    page = Watched(browser, width).open(out.as_uri(), ".tree svg")
    page.wait_for_timeout(500)
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1000
    page.evaluate(WATCH_KEYS)
    for key in 2 * [*39 * ["ArrowLeft"], *39 * ["ArrowRight"], "Home", "End"]:
        page.keyboard.press(key)
        page.wait_for_timeout(100)
    frames: dict[int, list[float]] = {}
    for stage, milliseconds in page.evaluate("frames"):  # from the key to the frame that shows the step
        frames.setdefault(stage, []).append(milliseconds)
    assert len(frames) > 30
    # a step is taken four times, so that what else this machine does is not taken for the page's own time
    assert max(map(min, frames.values())) < 100
    page.close()


def test_steps_that_are_not_reached_are_hidden(browser: Browser, file: str) -> None:
    page = Watched(browser, 1280).open(file, ".tree svg")
    shown = "[...document.querySelectorAll('.tree .clip')].map((clip) => clip.clientWidth)"
    place = page.evaluate("({ x: rollwise.view.tree.place.x, step: rollwise.view.tree.place.step })")
    for stage, key in ((3, "End"), (2, "ArrowLeft"), (0, "Home")):
        page.keyboard.press(key)
        lines, dots = page.evaluate(shown)
        assert abs(lines - place["x"][stage]) < 1
        assert place["x"][stage] + 15 < dots < place["x"][stage] + place["step"] - 15
    page.close()
