"""Take the pictures of the dashboard in docs/img: `python docs/screens.py [RUN]`, RUN a bench with its events.

The pictures of a service come from searches that a service answers here, with the gate that the script declares.
The bench of the other pictures: `rollwise bench --strategies temperature,rebase,dora,optimal_directions --budgets
8,16,32 --levels 3,4 --limit 6 --seeds 2 --events --out RUN`. The pictures need Playwright and a Chromium.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from rollwise.report import account_of, search_html
from rollwise.search import Config, Runner, run_to_end
from rollwise.service import Settings, Store, advance_route
from rollwise.service import running as serve
from rollwise.ui import dashboard, running

IMAGES = Path(__file__).parent / "img"
CHROMIUM = os.environ.get("ROLLWISE_CHROMIUM", "/usr/bin/chromium")


def search_page(out: Path, language: str) -> str:
    """The address of a file with one search of the numbers game: DORA, 64 rollouts."""
    runner = Runner(Config.of(strategy="dora", budget=64, seed=2))
    solution = run_to_end(runner.solve(runner.parts.problems.problem(5, 2)))
    out.write_text(search_html(account_of(solution, runner.parts), language), encoding="utf-8")
    return out.resolve().as_uri()


def shoot(
    browser: Browser,
    url: str,
    name: str,
    ready: str,
    keys: str = "",
    phone: bool = False,
    dark: bool = False,
    language: str = "en",
    whole: bool = False,
) -> None:
    """Take one picture after pressing the keys, of the window or of the whole page."""
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 960}
    page = browser.new_page(viewport=size, color_scheme="dark" if dark else "light")
    if url.startswith("http"):
        page.add_init_script(f"localStorage.setItem('rollwise-language', '{language}')")
    page.goto(url)
    page.wait_for_selector(ready)
    for key in keys.split():
        page.keyboard.press(key)
    page.wait_for_timeout(400)
    page.screenshot(path=IMAGES / name, full_page=whole)
    page.close()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """The URL of a service that moves from plain sampling to REBASE, and the id of its last search of the canary."""
    problems = Runner(Config.of(budget=2)).parts.problems
    golden = folder / "golden.jsonl"
    asked = [problems.problem(3, 1000 + seed) for seed in range(24)]
    golden.write_text("\n".join(json.dumps({"question": each.question, "answer": each.answer}) for each in asked))
    route = {
        "budget": 8,
        "rules": ["temperature", "rebase", "dora"],
        "vote": "weighted_majority",
        "gate": {"golden": golden, "samples": 24, "least_gain": -0.2},
        "canary": [25, 50],
        "shadow": {"share": 0.5},
        "price": {"generated": 2.0, "prefilled": 0.5},
        "alarms": {"samples": 10, "most_seconds": 0.5, "reference": 40, "most_tokens": 600},
    }
    settings = Settings(routes={"math": route}, store=folder / "service.db", keep_text=True)  # type: ignore[dict-item]
    with serve(settings) as url, httpx.Client(base_url=url, timeout=120) as client:
        store = Store(settings.store)
        for stage in range(2):
            with ThreadPoolExecutor(1) as pool:  # the browser's loop runs in this thread
                work = advance_route(settings, store, "math", None, lambda done, total: None)
                pool.submit(asyncio.run, work).result()
            time.sleep(2)
            for number in range(40):
                problem = problems.problem(2 + number % 3, 100 * stage + number)
                body = {"messages": [{"role": "user", "content": problem.question}]}
                found = client.post("/v1/chat/completions", json=body).json()["rollwise"]
                right = found["answer"] is not None and problems.is_right(problem, found["answer"])
                client.post("/v1/feedback", json={"id": found["id"], "right": right})
        last = client.get("/ui/api/records/list?stage=canary&rule=rebase&purpose=answer").json()["searches"][0]["id"]
        yield url, last


def shoot_run(browser: Browser, run: Path) -> None:
    """Take the pictures of a search and of a bench."""
    pages = {language: search_page(run / f"search-{language}.html", language) for language in ("en", "ja")}
    shoot(browser, pages["en"], "search.png", ".tree svg", "ArrowLeft")
    shoot(browser, pages["en"], "search-dark.png", ".tree svg", "ArrowLeft ArrowLeft", dark=True)
    shoot(browser, pages["ja"], "search-ja.png", ".tree svg", "ArrowLeft")
    shoot(browser, pages["ja"], "search-ja-phone.png", ".tree svg", "ArrowLeft ArrowLeft", phone=True)
    with running(dashboard(run, {})) as url:
        shoot(browser, f"{url}/#/run", "run.png", ".chart")
        shoot(browser, f"{url}/#/beside/34/35", "beside.png", ".half:nth-child(2) .tree svg", "ArrowLeft")
        shoot(browser, f"{url}/#/lab", "laboratory.png", ".stack")


def shoot_service(browser: Browser) -> None:
    """Take the pictures of a service."""
    phone = {"phone": True, "dark": True, "language": "ja"}
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (url, search):
        shoot(browser, f"{url}/ui/#/operations", "operations.png", ".route")
        shoot(browser, f"{url}/ui/#/operations", "operations-ja-phone.png", ".route", **phone)
        shoot(browser, f"{url}/ui/#/records", "service-searches.png", "tbody tr")
        shoot(browser, f"{url}/ui/#/record/{search}", "service-search.png", ".tree svg", "ArrowLeft", whole=True)


def main(run: Path | None) -> None:
    """Take the pictures of a service and, given a bench, all others."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if run is not None:
            shoot_run(browser, run)
        shoot_service(browser)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
