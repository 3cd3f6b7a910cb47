"""The operations of a service in a real browser: both widths, light and dark, keyboard, axe's rules, no other host."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from browsing import WIDTHS, Watched, opened_browser, overflow, violations
from playwright.sync_api import Browser
from serving import HARD, QUESTION, chat, serving

from rollwise.service import advance_route

pytestmark = pytest.mark.heavy

KEY = "a key of the test"
HEADERS = {"Authorization": f"Bearer {KEY}"}
READY = {"operations": ".route .figure", "records": "tbody tr", "record": ".tree svg"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


def advanced(running: Any, reason: str) -> None:
    """Move the route on by force, in a thread, since the browser's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        work = advance_route(running.settings, running.writer.store, "game", reason, lambda done, total: None)
        pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="module", params=[True, False], ids=["texts", "digests"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Any]]:
    folder = tmp_path_factory.mktemp("operations")
    golden = folder / "golden.jsonl"
    golden.write_text(json.dumps({"question": QUESTION, "answer": "17"}))
    route = {
        "budget": 4,
        "rules": ["temperature", "dora", "rebase"],
        "canary": [50],
        "gate": {"golden": golden, "samples": 2},
        "alarms": {"samples": 2, "most_seconds": 0.001},
        "price": {"generated": 2.0},
    }
    keys = {"ann": hashlib.sha256(KEY.encode()).hexdigest()}
    with serving(folder, routes={"game": route}, keys=keys, keep_text=request.param) as (url, running):
        advanced(running, "a test")
        with httpx.Client(base_url=url, headers=HEADERS, timeout=60) as client:
            for number in range(12):
                said = client.post("/v1/chat/completions", json=chat(HARD if number else QUESTION, seed=number)).json()
                client.post("/v1/feedback", json={"id": said["rollwise"]["id"], "right": number % 3 > 0})
        yield url, said["rollwise"]["id"], running


def entered(browser: Browser, url: str, width: int, scheme: str = "light") -> Watched:
    """A page that has logged in by the form, with the keyboard."""
    watched = Watched(browser, width, scheme)
    page = watched.open(f"{url}/ui/", "form")
    assert violations(page) == []
    assert overflow(page) <= 0
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(READY["operations"])
    return watched


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view(browser: Browser, service: tuple[str, str, Any], width: int, scheme: str) -> None:
    url, id_, _ = service
    watched = entered(browser, url, width, scheme)
    for view, selector in READY.items():
        for language in ("en", "ja"):
            page = watched.page
            page.goto(f"{url}/ui/#/{view}/{id_}" if view == "record" else f"{url}/ui/#/{view}")
            page.select_option(".top select", language)
            page.wait_for_selector(f"html[lang={language}] {selector}")
            page.wait_for_timeout(200)
            assert not watched.errors, view
            assert overflow(page) <= 0, view
            assert violations(page) == [], view
    assert {asked for asked in watched.asked if not asked.startswith((url, "data:"))} == set()
    assert not any(KEY in asked for asked in watched.asked)
    watched.page.close()


def test_it_refreshes_itself_and_keeps_the_focus(browser: Browser, service: tuple[str, str, Any]) -> None:
    url, _, running = service
    page = entered(browser, url, 1280).page
    assert "0.001" in page.locator(".alarms").inner_text()
    assert page.locator(".stages [aria-current]").inner_text() == "shadow"
    page.focus(".route a")
    advanced(running, "the next test")
    page.wait_for_selector("text=the next test", timeout=15_000)
    assert page.locator(".stages [aria-current]").inner_text() == "canary 50 %"
    page.click("text=Stop refreshing")
    assert page.get_by_text("Go on refreshing").is_visible()
    page.close()


def test_it_leads_from_the_list_to_a_path_and_out(browser: Browser, service: tuple[str, str, Any]) -> None:
    url, _, running = service
    page = entered(browser, url, 1280).page
    page.click(".route h2 a")
    page.wait_for_selector("tbody tr")
    page.select_option("select[name=outcome]", index=1)
    page.wait_for_selector("tbody tr")
    page.click("tbody tr:first-child a")
    page.wait_for_selector(".why:not(:empty)")
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('.steps [aria-current]').innerText === '1'")
    kept = running.settings.keep_text
    assert ("Only digests of the texts were kept" in page.locator(".head").inner_text()) is not kept
    assert "record, text and events match the log" in page.locator(".about-record").inner_text()
    page.goto(f"{url}/ui/#/operations")
    page.click("text=Log out")
    page.wait_for_selector("input[name=key]")
    page.goto(f"{url}/ui/")
    page.wait_for_selector("input[name=key]")
    page.close()
