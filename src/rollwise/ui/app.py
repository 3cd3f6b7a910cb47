"""The dashboard as a FastAPI application that stands alone or is mounted into another one, such as at `/ui`.

Every address in its pages is relative, so it works wherever it is mounted. It serves static files and JSON; the pages
draw themselves. Nothing in them asks another machine for anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any

from rollwise.errors import InputError, MissingExtraError

try:
    from fastapi import APIRouter, FastAPI, Query, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response
except ImportError as error:
    raise MissingExtraError("the dashboard", "ui") from error

from rollwise.allocation import STRATEGIES
from rollwise.bench import OUTCOMES, Filter, Place
from rollwise.report import LANGUAGES, asset, catalogue, search_data, search_html, why_of
from rollwise.ui.laboratory import Setting, laboratory
from rollwise.ui.recorded import Run
from rollwise.ui.trials import Asked, Trials

_SCRIPTS = ("tree.js", "search.js", "charts.js", "run.js", "lab.js", "trial.js", "app.js")
_SHARED = ("tree.js", "search.js", "search.css")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class View:
    """A view that another part adds to the dashboard, such as a service its operations.

    `name` is its place in the address, `titles` its name by language, `script` the JavaScript that sets
    `rollwise.views[name]` to a function (holder, app), and `router` answers what the script asks for.
    """

    name: str
    titles: Mapping[str, str]
    script: str
    router: APIRouter | None = None


@dataclass(frozen=True)
class Shown:
    """What a dashboard shows: a run, if there is one, the searches to try, further views, and the first language."""

    run: Run | None = None
    trials: Trials | None = None
    views: Sequence[View] = field(default_factory=tuple)
    language: str = "en"


def dashboard(
    run: Place | None = None,
    trial_fields: Mapping[str, Any] | None = None,
    views: Sequence[View] = (),
    language: str = "en",
) -> FastAPI:
    """The dashboard over the bench at `run`, to serve or to mount.

    `trial_fields` are the config's fields of searches that visitors may start; None lets them start none. Raises
    InputError if the place holds no bench.
    """
    catalogue(language)
    trials = None if trial_fields is None else Trials(trial_fields, tuple(STRATEGIES))
    shown = Shown(None if run is None else Run(run), trials, tuple(views), language)
    app = FastAPI(title="rollwise", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(InputError, _refused)
    app.include_router(_pages(shown))
    app.include_router(_of_run(shown), prefix="/api")
    app.include_router(_of_trials(shown), prefix="/api")
    for view in shown.views:
        if view.router is not None:
            app.include_router(view.router, prefix=f"/api/{view.name}")
    return app


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=422)


def _pages(shown: Shown) -> APIRouter:
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse)
    def index() -> Response:
        scripts = "".join(f'<script defer src="static/{name}"></script>' for name in _SCRIPTS)
        scripts += "".join(f'<script defer src="static/view/{view.name}.js"></script>' for view in shown.views)
        page = _asset("index.html").replace("<!-- scripts -->", scripts)
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in {*_SCRIPTS, *_SHARED, "app.css"}:
            return JSONResponse({"error": f"there is no file {name}"}, status_code=404)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(asset(name) if name in _SHARED else _asset(name), media_type=kind, headers=_FRESH)

    @router.get("/static/view/{name}.js")
    def script(name: str) -> Response:
        found = next((view.script for view in shown.views if view.name == name), None)
        if found is None:
            return JSONResponse({"error": f"there is no view {name}"}, status_code=404)
        return Response(found, media_type="text/javascript", headers=_FRESH)

    @router.get("/api/about")
    def about(language: str = shown.language) -> dict[str, Any]:
        words = catalogue(language)
        return {
            "language": language,
            "languages": list(LANGUAGES),
            "words": {**words["page"], **words["dashboard"], **words["operations"]},
            "run": None if shown.run is None else _about_run(shown.run),
            "strategies": list(STRATEGIES),
            "tries": shown.trials is not None,
            "views": [{"name": view.name, "title": view.titles.get(language, view.name)} for view in shown.views],
        }

    @router.post("/api/lab")
    def lab(setting: Setting) -> dict[str, Any]:
        return laboratory(setting)

    return router


_FRESH = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def _about_run(run: Run) -> dict[str, Any]:
    experiment = run.browser.experiment
    results, errors = run.browser.counts()
    names = ("world", "strategies", "budgets", "levels", "seeds", "limit", "baseline", "events")
    config = {name: experiment.config.get(name) for name in names}
    return {
        "folder": run.place.name,
        "begun": experiment.created,
        "results": results,
        "errors": errors,
        "planned": run.browser.planned,
        **config,
    }


def attached(page: str, name: str) -> Response:
    """An HTML page as a file to save under this name."""
    return HTMLResponse(page, headers={"Content-Disposition": f'attachment; filename="{name}"'} | _FRESH)


Offset = Annotated[int, Query(ge=0, le=10**9)]
Size = Annotated[int, Query(ge=1, le=200)]


def _of_run(shown: Shown) -> APIRouter:
    router = APIRouter()

    def held() -> Run:
        if shown.run is None:
            raise InputError("this dashboard shows no run; start it with `rollwise ui FOLDER`")
        return shown.run

    @router.get("/summary")
    def summary() -> dict[str, Any]:
        return held().summary()

    @router.get("/searches")
    def searches(
        strategy: str | None = None,
        budget: int | None = None,
        seed: int | None = None,
        level: int | None = None,
        right: bool | None = None,
        text: str | None = None,
        offset: Offset = 0,
        limit: Size = 50,
    ) -> dict[str, Any]:
        wanted = Filter(strategy, budget, seed, level, right, text)
        total, listed = held().browser.page(wanted, offset, limit)
        return {"total": total, "offset": offset, "searches": [vars(one) for one in listed]}

    @router.get("/pairs")
    def pairs(
        one: str, other: str, budget: int, only: str | None = None, offset: Offset = 0, limit: Size = 50
    ) -> dict[str, Any]:
        if only is not None and only not in OUTCOMES:
            raise InputError(f"only: one of {', '.join(OUTCOMES)}, not {only!r}")
        totals, found = held().browser.pairs(one, other, budget, only, offset, limit)
        return {"totals": totals, "offset": offset, "pairs": [vars(pair) for pair in found]}

    @router.get("/searches/{number}")
    def search(number: int) -> dict[str, Any]:
        return search_data(held().account(number), why=False)

    @router.get("/searches/{number}/why")
    def why(number: int, path: str, language: str = shown.language) -> dict[str, str]:
        return {"why": why_of(held().account(number), path, language)}

    @router.get("/searches/{number}/page")
    def page(number: int, language: str = shown.language) -> Response:
        return attached(search_html(held().account(number), language), f"search-{number}.html")

    return router


def _of_trials(shown: Shown) -> APIRouter:
    router = APIRouter()

    def held() -> Trials:
        if shown.trials is None:
            raise InputError("this dashboard starts no searches")
        return shown.trials

    @router.post("/tries")
    def start(asked: Asked) -> dict[str, int]:
        return {"number": held().start(asked).number}

    @router.get("/tries/{number}")
    def look(number: int, seen: int = -1) -> dict[str, Any]:
        trial = held().trial(number)
        done, rounds = trial.done, trial.rounds
        told = {"done": done, "rounds": rounds, "error": trial.error, "verdict": trial.verdict, "notes": trial.notes}
        account = trial.account() if rounds > seen or done else None
        return told | {"search": None if account is None else search_data(account, why=False)}

    @router.get("/tries/{number}/why")
    def why(number: int, path: str, language: str = shown.language) -> dict[str, str]:
        account = held().trial(number).account()
        return {"why": "" if account is None else why_of(account, path, language)}

    @router.get("/tries/{number}/page")
    def page(number: int, language: str = shown.language) -> Response:
        account = held().trial(number).account()
        if account is None:
            raise InputError("the search has not begun; wait for its first step")
        return attached(search_html(account, language), "search.html")

    @router.delete("/tries/{number}")
    def stop(number: int) -> dict[str, bool]:
        held().stop(number)
        return {"stopped": True}

    return router


def _asset(name: str) -> str:
    return files("rollwise.ui").joinpath("assets", name).read_text(encoding="utf-8")
