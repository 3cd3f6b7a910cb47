"""Take the pictures of the dashboard in docs/img: `python docs/screens.py RUN`, RUN a bench with its events.

The bench of the pictures: `rollwise bench --strategies temperature,rebase,dora,optimal_directions --budgets 8,16,32
--levels 3,4 --limit 6 --seeds 2 --events --out RUN`. The pictures need Playwright and a Chromium.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from rollwise.report import account_of, search_html
from rollwise.search import Config, Runner, run_to_end
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
    browser: Browser, url: str, name: str, ready: str, keys: str = "", phone: bool = False, dark: bool = False
) -> None:
    """Take one picture after pressing the keys."""
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 960}
    page = browser.new_page(viewport=size, color_scheme="dark" if dark else "light")
    page.goto(url)
    page.wait_for_selector(ready)
    for key in keys.split():
        page.keyboard.press(key)
    page.wait_for_timeout(400)
    page.screenshot(path=IMAGES / name)
    page.close()


def main(run: Path) -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    pages = {language: search_page(run / f"search-{language}.html", language) for language in ("en", "ja")}
    with sync_playwright() as playwright, running(dashboard(run, {})) as url:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shoot(browser, pages["en"], "search.png", ".tree svg", "ArrowLeft")
        shoot(browser, pages["en"], "search-dark.png", ".tree svg", "ArrowLeft ArrowLeft", dark=True)
        shoot(browser, pages["ja"], "search-ja.png", ".tree svg", "ArrowLeft")
        shoot(browser, pages["ja"], "search-ja-phone.png", ".tree svg", "ArrowLeft ArrowLeft", phone=True)
        shoot(browser, f"{url}/#/run", "run.png", ".chart")
        shoot(browser, f"{url}/#/beside/34/35", "beside.png", ".half:nth-child(2) .tree svg", "ArrowLeft")
        shoot(browser, f"{url}/#/lab", "laboratory.png", ".stack")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
