"""What is kept of a search, and the digests that the audit log holds of it."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import platform
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pydantic
import scipy

import rollwise
from rollwise.core import Directions
from rollwise.search import Allocated, Config, Event, event_records

_TEXTS = {"grown": ("text", "wrote", "unplaced"), "failed": ("reason",)}
"""The fields of events that hold text of a prompt, a solution or a server."""
MOST_SIMILAR = 256
"""The most candidates whose similarity is kept; that of 256 takes about 250 KB."""
_UNCOVERED = ("text",)
"""Fields that may be erased after a search is recorded, so its digest does not cover them."""


@dataclass(frozen=True)
class Signals:
    """What the figures of a route read of a search beside its record: see `SignalsRow`."""

    characters: int
    numbers: int
    turns: int
    reward: float | None = None
    directions: float | None = None


@dataclass(frozen=True)
class Record:
    """A search as it is kept. The fields are those of the table of searches, `events` and `signals`."""

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
    signals: Signals | None = None


COLUMNS = tuple(each.name for each in fields(Record) if each.name not in ("events", "signals"))


def now() -> str:
    """The time as text that sorts, in UTC with microseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def digest_of(value: Any) -> str:
    """The SHA-256 of a plain value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def plain_events(events: Sequence[Event], keep_text: bool) -> tuple[list[dict[str, Any]], str]:
    """Events as plain values, and their digest. Without `keep_text` each text becomes its digest."""
    plain = event_records(events, {})
    for event, record in zip(events, plain, strict=True):
        if isinstance(event, Allocated):
            record["evidence"] = packed(event.candidates.directions)
    records: list[dict[str, Any]] = json.loads(json.dumps(plain))
    if not keep_text:
        records = [_without_texts(record) for record in records]
    return records, digest_of(records)


def packed(directions: Directions | None) -> dict[str, Any] | None:
    """Directions as plain values: of a similarity the upper triangle in float64, compressed. None if that is of more
    than MOST_SIMILAR candidates; such a round cannot be replayed.
    """
    if directions is None:
        return None
    if directions.similarity is None:
        array = directions.labels if directions.labels is not None else directions.weights
        assert array is not None
        return {"labels" if directions.labels is not None else "weights": array.tolist()}
    count = len(directions.similarity)
    if count > MOST_SIMILAR:
        return None
    upper = directions.similarity[np.triu_indices(count, 1)]
    return {"size": count, "similarity": base64.b64encode(zlib.compress(upper.tobytes())).decode()}


def unpacked(evidence: Mapping[str, Any] | None) -> Directions | None:
    """The directions that `packed` made plain."""
    if evidence is None:
        return None
    if "labels" in evidence:
        return Directions(labels=np.array(evidence["labels"], dtype=np.int64))
    if "weights" in evidence:
        return Directions(weights=np.array(evidence["weights"], dtype=np.float64))
    similarity = np.eye(evidence["size"])
    rows, columns = np.triu_indices(evidence["size"], 1)
    values = np.frombuffer(zlib.decompress(base64.b64decode(evidence["similarity"])))
    similarity[rows, columns] = similarity[columns, rows] = values
    return Directions(similarity=similarity)


def _without_texts(record: Mapping[str, Any]) -> dict[str, Any]:
    texts = _TEXTS.get(record["event"], ())
    return {name: _digested(value) if name in texts else value for name, value in record.items()}


def _digested(value: Any) -> Any:
    return f"sha256:{hashlib.sha256(str(value).encode(errors='replace')).hexdigest()}" if value else value


def record_digest(values: Mapping[str, Any]) -> str:
    """The digest of a search by its columns. Its texts and events count by their own digests, so a text can be erased
    and the record still be verified.
    """
    return digest_of({name: values[name] for name in COLUMNS if name not in _UNCOVERED})


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
