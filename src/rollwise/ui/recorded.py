"""Recorded searches as accounts, and a run's summary, both kept for the next who asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from rollwise.bench import Browser, Place, RecordedSearch, read
from rollwise.report import Account, account_of_records, search_html

_KEPT = 32


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
        `pending`; the others follow when they are asked for again.
        """
        results, _ = self.browser.counts()
        if not results:
            return {"rows": [], "by_level": [], "pending": False}
        with self._lock:
            if self._summary[0] == results:
                return self._summary[1]
            if self._computing is None or not self._computing.is_alive():
                self._computing = threading.Thread(target=self._summarise, args=(results,), daemon=True)
                self._computing.start()
            computing = self._computing
        computing.join(patience)
        with self._lock:
            if self._summary[0] == results:
                return self._summary[1]
        rows, by_level = (self.browser.quick(split) for split in (False, True))
        baseline = self.browser.experiment.config.get("baseline")
        return {"rows": rows, "by_level": by_level, "baseline": baseline, "pending": True}

    def _summarise(self, results: int) -> None:
        found = read(self.place).summary.as_dict() | {"pending": False}
        with self._lock:
            self._summary = results, found
