"""Finds the bench at a place: opens its store, and reads which experiment it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollwise.bench.places import RESULTS_FILE, Place, Shared
from rollwise.bench.store import Experiment, Store
from rollwise.errors import InputError


def open_store(place: Place) -> Store:
    """The store of a place; a file is made if there is none. Raises InputError if it cannot be used."""
    if isinstance(place, Shared):
        return Store(place.url, "give another --store")
    return Store(place / RESULTS_FILE)


def find_experiment(place: Place) -> tuple[Store, Experiment] | None:
    """The opened store of a place and the bench in it; None, with nothing left open or made, if there is none."""
    if isinstance(place, Path) and not (place / RESULTS_FILE).is_file():
        return None
    store = open_store(place)
    experiment = store.named(place.name) if isinstance(place, Shared) else store.latest()
    if experiment is None:
        store.close()
        return None
    return store, experiment


def stored(place: Place) -> tuple[Store, Experiment]:
    """The opened store of a place and the bench in it. Raises InputError if there is none."""
    found = find_experiment(place)
    if found is None:
        raise InputError(f"{place} holds no bench; {_instead(place)}")
    return found


def begun(place: Place) -> bool:
    """Whether a place holds a bench."""
    found = find_experiment(place)
    if found is not None:
        found[0].close()
    return found is not None


def begun_search(place: Place) -> dict[str, Any]:
    """The fields that every search of the bench at a place was begun with. Raises InputError if there is no bench."""
    store, experiment = stored(place)
    store.close()
    return dict(experiment.config["search"])


def _instead(place: Place) -> str:
    begin = "leave out --resume and --report to begin one"
    if isinstance(place, Path):
        return f"{begin}, or give another --out"
    store = open_store(place)
    try:
        names = store.names()
    finally:
        store.close()
    return f"{begin}, or name one of: {', '.join(names)}" if names else f"{begin}; the store is empty"
