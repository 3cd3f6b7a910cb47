"""Recorded searches as accounts, and a run's summary, both kept for the next who asks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import asdict
from typing import Any

from rollwise.bench import Browser, Place, RecordedSearch, read_run, summarise, with_baseline
from rollwise.bench import Run as Stored
from rollwise.report import Account, account_of_records, search_html

_KEPT = 32
_REST = 3.0
"""A summary is computed anew after so many times the seconds that it took, so that a bench keeps the processor."""


def account_of_recorded(recorded: RecordedSearch) -> Account:
    """The account of a recorded search of a bench."""
    problem = recorded.problem
    return account_of_records(recorded.config, problem.question, recorded.events, problem.id, recorded.seed)


def export(place: Place, identity: int, language: str = "en") -> str:
    """A recorded search of the bench at `place` as one HTML file. Raises InputError if it is not there."""
    browser = Browser(place)
    try:
        return search_html(account_of_recorded(browser.search(identity)), language)
    finally:
        browser.close()


class Run:
    """A bench in a folder or in a store, finished or under way."""

    def __init__(self, place: Place) -> None:
        self.place, self.browser = place, Browser(place)
        self._accounts: OrderedDict[int, Account] = OrderedDict()
        self._lock = threading.Lock()
        self._summary: tuple[int, dict[str, Any]] = (-1, {})
        self._computing: threading.Thread | None = None
        self._rests = 0.0

    def close(self) -> None:
        """Close the connections to the store."""
        self.browser.close()

    def account(self, identity: int) -> Account:
        """The account of a recorded search; the last ones stay at hand. Raises InputError if it is not there."""
        with self._lock:
            if identity in self._accounts:
                self._accounts.move_to_end(identity)
                return self._accounts[identity]
        account = account_of_recorded(self.browser.search(identity))
        with self._lock:
            self._accounts[identity] = account
            while len(self._accounts) > _KEPT:
                self._accounts.popitem(last=False)
        return account

    def summary(self, patience: float = 2.0) -> dict[str, Any]:
        """The summary of the results so far as plain values, computed once for each number of results.

        If it takes longer than `patience` seconds, the figures that the database gives at once come first, marked as
        `pending`; the others follow when they are asked for again. While a bench is under way the last summary comes
        first, and one that takes long is not computed anew at once.
        """
        results, _ = self.browser.counts()
        if not results:
            return self._first_figures(pending=False)
        with self._lock:
            if self._summary[0] == results:
                return self._summary[1]
            if time.monotonic() < self._rests:
                return self._summary[1] | {"pending": True}
            if self._computing is None or not self._computing.is_alive():
                self._computing = threading.Thread(target=self._summarise, args=(results,), daemon=True)
                self._computing.start()
            computing = self._computing
        computing.join(patience)
        with self._lock:
            if self._summary[0] == results:
                return self._summary[1]
            last = self._summary[1]
        return last | {"pending": True} if last else self._first_figures(pending=True)

    def _first_figures(self, pending: bool) -> dict[str, Any]:
        """What the database tells at once."""
        rows, by_level = (self.browser.quick(split) for split in (False, True))
        return {
            "rows": rows,
            "by_level": by_level,
            "baseline": self.browser.experiment.config.get("baseline"),
            "planned": self.browser.planned,
            "differences": [],
            "pending": pending,
        }

    def _summarise(self, results: int) -> None:
        began = time.monotonic()
        found = _summary_of(read_run(self.place)) | {"pending": False}
        took = time.monotonic() - began
        with self._lock:
            self._summary = results, found
            self._rests = time.monotonic() + _REST * took


def _summary_of(run: Stored) -> dict[str, Any]:
    """The summary of a run, and the differences to its baseline with intervals that hold together.

    The differences of a level hold together among themselves; those over all levels have the level None.
    """
    found = run.in_order
    levels: list[int | None] = [None, *sorted({result.level for result in found if result.level is not None})]
    differences = []
    for level in levels if len(levels) > 2 else [None]:
        compared = with_baseline([each for each in found if level is None or each.level == level], run.baseline)
        differences += [{"level": level, **asdict(each), "told_apart": each.told_apart} for each in compared]
    return summarise(found, run.baseline, run.planned).as_dict() | {"differences": differences}
