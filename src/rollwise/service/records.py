"""What is kept of a search, and the digests that the audit log holds of it."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pydantic
import scipy

import rollwise
from rollwise.search import Config, Event, event_records

_TEXTS = {"grown": ("text", "unplaced"), "failed": ("reason",)}
"""The fields of events that hold text of a prompt, a solution or a server."""
_COVERED = ("text", "agrees")
"""Fields that may change after a search is recorded, so its digest does not cover them."""


@dataclass(frozen=True)
class Record:
    """A search as it is kept. The fields are those of the table of searches, and `events`."""

    id: str
    began: str
    ended: str
    client: str
    route: str
    rule: str
    stage: str
    purpose: str
    question: str
    strategy: str
    budget: int
    seed: int
    outcome: str
    config: Mapping[str, Any]
    text: Mapping[str, Any] | None
    text_digest: str
    events: Sequence[Mapping[str, Any]] = ()
    events_digest: str = ""
    error: str | None = None
    answer: str | None = None
    support: float = 0.0
    confidence: float | None = None
    spent: int = 0
    saved: int = 0
    rounds: int = 0
    seconds: float = 0.0
    generated: int = 0
    money: float = 0.0
    beside: str | None = None
    agrees: bool | None = None
    moved: float | None = None
    right: bool | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)


COLUMNS = tuple(each.name for each in fields(Record) if each.name != "events")


def now() -> str:
    """The time as text that sorts, in UTC with microseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def digest_of(value: Any) -> str:
    """The SHA-256 of a plain value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def plain_events(events: Sequence[Event], keep_text: bool) -> tuple[list[dict[str, Any]], str]:
    """Events as plain values, and their digest. Without `keep_text` each text becomes its digest."""
    records: list[dict[str, Any]] = json.loads(json.dumps(event_records(events, {})))
    if not keep_text:
        records = [_without_texts(record) for record in records]
    return records, digest_of(records)


def _without_texts(record: Mapping[str, Any]) -> dict[str, Any]:
    texts = _TEXTS.get(record["event"], ())
    return {name: _digested(value) if name in texts else value for name, value in record.items()}


def _digested(value: Any) -> Any:
    return f"sha256:{hashlib.sha256(str(value).encode(errors='replace')).hexdigest()}" if value else value


def record_digest(values: Mapping[str, Any]) -> str:
    """The digest of a search by its columns. Its texts and events count by their own digests, so a text can be erased
    and the record still be verified.
    """
    return digest_of({name: values[name] for name in COLUMNS if name not in _COVERED})


def plain_config(config: Config) -> dict[str, Any]:
    """A config as plain values; a part that is no name counts by its type."""
    return {name: _plain(value) for name, value in config if name in Config.model_fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else type(value).__name__


def versions() -> dict[str, str]:
    """The versions that decide a search's result in this process."""
    return {
        "rollwise": rollwise.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "pydantic": pydantic.VERSION,
    }
