"""Where a bench is kept: in a folder of its own, or under a name in a store that several benches share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rollwise.database import is_url
from rollwise.errors import InputError

RESULTS_FILE = "results.db"


@dataclass(frozen=True)
class Shared:
    """A bench in a store that several benches share: the URL of the store, and the name of the bench in it.

    As text it is `URL#NAME`, with *** for a password.
    """

    url: str = field(repr=False)
    name: str

    def __str__(self) -> str:
        return f"{self.shown_url}#{self.name}"

    @property
    def shown_url(self) -> str:
        """The URL, with *** for a password."""
        from rollwise.database import shown

        return shown(self.url)


Place = Path | Shared
"""A folder, which holds the file `results.db` and no other bench, or a name in a shared store."""


def read_place(text: str) -> Place:
    """The place that a text names, a folder or URL#NAME. Raises InputError for a URL without a name."""
    if not is_url(text):
        return Path(text)
    url, _, name = text.partition("#")
    if not name:
        raise InputError(f"{Shared(url, '').shown_url}: a store holds several benches; add the name of one: URL#NAME")
    return Shared(url, name)


def options_of(place: Place) -> str:
    """The options of `rollwise bench` that name a place, for messages."""
    return f"--store {place.shown_url} --name {place.name}" if isinstance(place, Shared) else f"--out {place}"


def other_place(place: Place) -> str:
    """How to choose another place, for messages."""
    return "another --name" if isinstance(place, Shared) else "another --out"
