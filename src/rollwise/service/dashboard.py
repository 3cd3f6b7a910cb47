"""The dashboard of a service: the stages and figures of its routes, and its searches with their audit records."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import Response

from rollwise.errors import InputError
from rollwise.report import LANGUAGES, Account, account_of_records, catalogue, search_data, search_html, why_of
from rollwise.service.audit import FILTERS, choices, search_audit, search_page, search_record
from rollwise.service.login import PLACE, Guard, Passes, login_routes
from rollwise.service.operations import operations
from rollwise.ui import View, attached, dashboard

if TYPE_CHECKING:
    from rollwise.service.service import Service

Value = TypeVar("Value")
_KEPT = 16
_FRESH = 2.0
"""Seconds for which several visitors read the same state."""


def mount_dashboard(app: FastAPI, service: Service) -> None:
    """Mount the dashboard at /ui, with the form that lets a browser in. Raises MissingExtraError."""
    views = [
        View(name, _titles(name), _script(name), make(service))
        for name, make in (("operations", _operations), ("records", _records))
    ]
    secret = bytes.fromhex(service.writer.store.secret("cookies")) if service.settings.shared else None
    passes = Passes(service.settings, secret)
    app.include_router(login_routes(passes))
    app.mount(PLACE, Guard(dashboard(views=views), passes))


def _titles(name: str) -> dict[str, str]:
    return {language: catalogue(language)["operations"][f"title_{name}"] for language in LANGUAGES}


def _script(name: str) -> str:
    return files("rollwise.service").joinpath("assets", f"{name}.js").read_text(encoding="utf-8")


class _Held:
    """A value that is made again when it is older than `seconds`, by one thread at a time."""

    def __init__(self, make: Callable[[], Any], seconds: float) -> None:
        self._make, self._seconds = make, seconds
        self._lock, self._made, self._value = threading.Lock(), float("-inf"), None

    def get(self) -> Any:
        """The value."""
        with self._lock:
            if time.monotonic() - self._made > self._seconds:
                self._value, self._made = self._make(), time.monotonic()
            return self._value


def _operations(service: Service) -> APIRouter:
    router, held = APIRouter(), _Held(lambda: operations(service), _FRESH)

    @router.get("/state")
    def state() -> dict[str, Any]:
        return held.get()

    return router


Place = Annotated[int, Query(ge=0, le=10**6)]


def _records(service: Service) -> APIRouter:
    router, store = APIRouter(), service.writer.store
    named = _Held(lambda: choices(store), 30.0)
    accounts = Accounts(service)

    @router.get("/choices")
    def choices_() -> dict[str, Any]:
        return named.get()

    @router.get("/list")
    def listed(
        page: Place = 0,
        size: Annotated[int, Query(ge=1, le=200)] = 50,
        route: str | None = None,
        rule: str | None = None,
        stage: str | None = None,
        purpose: str | None = None,
        outcome: str | None = None,
        client: str | None = None,
        strategy: str | None = None,
    ) -> dict[str, Any]:
        given = dict(zip(FILTERS, (route, rule, stage, purpose, outcome, client, strategy), strict=False))
        wanted = {name: value for name, value in given.items() if value is not None}
        rows, total = search_page(store, page, size, wanted)
        return {"total": total, "searches": rows}

    @router.get("/{id_}")
    def record(id_: str) -> dict[str, Any]:
        found = search_record(store, id_)
        recorded = bool(found.pop("events"))
        return {"record": found, "recorded": recorded, "audit": search_audit(store, id_)}

    @router.get("/{id_}/search")
    def search(id_: str) -> dict[str, Any]:
        return search_data(accounts.of(id_), why=False)

    @router.get("/{id_}/why")
    def why(id_: str, path: str, language: str = "en") -> dict[str, str]:
        return {"why": why_of(accounts.of(id_), path, language)}

    @router.get("/{id_}/page")
    def page(id_: str, language: str = "en") -> Response:
        return attached(search_html(accounts.of(id_), language), f"search-{id_}.html")

    return router


class Accounts:
    """The accounts of searches that were opened last. What was erased from the store is not shown any more."""

    def __init__(self, service: Service) -> None:
        self.store = service.writer.store
        self._kept: OrderedDict[str, Account] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, id_: str) -> Account:
        """The account of a search. Raises InputError if its events are not kept."""
        if not self.store.has_events(id_):
            with self._lock:
                self._kept.pop(id_, None)
            search_record(self.store, id_)
            raise _without_events(id_)
        with self._lock:
            if id_ in self._kept:
                self._kept.move_to_end(id_)
                return self._kept[id_]
        account = _account(search_record(self.store, id_))
        with self._lock:
            self._kept[id_] = account
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return account


def _without_events(id_: str) -> InputError:
    return InputError(f"search {id_} has no events: it ended before its first step, or its texts were erased")


def _account(record: Mapping[str, Any]) -> Account:
    if not record["events"]:
        raise _without_events(record["id"])
    text: Mapping[str, Any] = record["text"] or {}
    question = str(text.get("question") or f"sha256:{record['question'][:12]}…")
    config = {**record["config"], "seed": record["seed"]}
    return account_of_records(config, question, record["events"], record["question"], record["seed"])
