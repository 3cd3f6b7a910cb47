"""Events as plain values, for a database or a file. Pictures, audit and replay need nothing else of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rollwise.core import (
    Allocation,
    Belief,
    Candidates,
    Directions,
    FloatArray,
    IntArray,
    PathKey,
    Step,
    Stop,
    key_text,
)
from rollwise.errors import InputError
from rollwise.search.events import Allocated, Event, Failed, Finished, Grown, Span, Stopped


def event_records(events: Iterable[Event], rights: Mapping[PathKey, bool]) -> list[dict[str, Any]]:
    """The events in order as plain values, for JSON.

    A finished path that `rights` lists says whether it is right. Of the directions, the numbers that the strategy used
    and each candidate's uniqueness are kept, and the similarity of every pair if the directions are one: its rows below
    the diagonal, to nine decimals.
    """
    records = []
    for event in events:
        record = {"event": type(event).__name__.lower(), "round": event.round} | _fields(event)
        if isinstance(event, Finished) and event.path in rights:
            record["right"] = bool(rights[event.path])
        records.append(record)
    return records


def _fields(event: Event) -> dict[str, Any]:
    match event:
        case Grown(path=path, step=step, reward=reward, unplaced=unplaced, spans=spans):
            logprob = step.logprob if math.isfinite(step.logprob) else None
            grown = {"text": step.text, "tokens": step.tokens, "stop": step.stop.value, "logprob": logprob}
            sure = {"certainty": step.certainty} if math.isfinite(step.certainty) else {}
            alone = {"unplaced": unplaced} if unplaced is not None else {}
            wrote = {"wrote": step.wrote} if step.wrote is not None else {}
            return {"path": key_text(path), **grown, **wrote, **sure, "reward": float(reward), **alone, **_when(spans)}
        case Failed(path=path, reason=reason, spans=spans):
            return {"path": key_text(path), "reason": reason, **_when(spans)}
        case Finished(path=path, stop=stop):
            return {"path": key_text(path), "stop": stop.value}
        case Stopped(reason=reason, saved=saved):
            return {"reason": reason, "saved": saved}
        case Allocated(width=width, candidates=candidates, allocation=allocation):
            return {
                "width": width,
                "paths": [key_text(path) for path in candidates.paths],
                "directions": _plain(allocation.directions),
                "rewards": _plain(candidates.rewards),
                "belief": _believed(candidates.belief),
                "uniqueness": _plain(allocation.uniqueness),
                "weights": _plain(allocation.weights),
                "counts": _plain(allocation.counts),
                **({} if allocation.first_counts is None else {"first_counts": _plain(allocation.first_counts)}),
                **_similar(candidates.directions),
            }


def _when(spans: Mapping[str, Span]) -> dict[str, Any]:
    return {"spans": {name: [round(at, 6) for at in span] for name, span in spans.items()}} if spans else {}


def _believed(belief: Belief | None) -> dict[str, Any] | None:
    if belief is None:
        return None
    values = {"mean": _plain(belief.mean), "concentration": _plain(belief.concentration)}
    return values | {"correlation": belief.correlation, "size_exponent": belief.size_exponent}


def _similar(directions: Directions | None) -> dict[str, Any]:
    if directions is None or directions.similarity is None:
        return {}
    below = directions.similarity[np.tril_indices(len(directions.similarity), -1)]
    return {"similarity": below.round(9).tolist()}


def _plain(array: FloatArray | IntArray | None) -> list[float] | None:
    return None if array is None else array.tolist()


def read_events(records: Iterable[Mapping[str, Any]], question: str | None = None, seed: int = 0) -> list[Event]:
    """The events that `event_records` wrote down. Raises InputError for a record that is none.

    Directions come back as the similarity of every pair if it was kept, else as the strategy's own numbers. The id of
    the `question` and the `seed` are those of the search; only random roundings read them.
    """
    try:
        return [_read(record, question, seed) for record in records]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"a record is no event of a search ({type(error).__name__}: {error}); record the search again"
        ) from error


def _read(record: Mapping[str, Any], question: str | None, seed: int) -> Event:
    kind, at = record["event"], int(record["round"])
    spans = {str(name): (float(began), float(ended)) for name, (began, ended) in record.get("spans", {}).items()}
    if kind == "allocated":
        return Allocated(at, int(record["width"]), _candidates(record, question, seed), _allocation(record))
    if kind == "stopped":
        return Stopped(at, str(record["reason"]), int(record["saved"]))
    path = _key(record["path"])
    if kind == "grown":
        step = Step(
            text=str(record["text"]),
            tokens=int(record["tokens"]),
            stop=Stop(record["stop"]),
            logprob=float("nan") if record["logprob"] is None else float(record["logprob"]),
            certainty=float(record.get("certainty", "nan")),
            wrote=record.get("wrote"),
        )
        return Grown(at, path, step, float(record["reward"]), record.get("unplaced"), spans)
    if kind == "finished":
        return Finished(at, path, Stop(record["stop"]))
    if kind == "failed":
        return Failed(at, path, str(record["reason"]), spans)
    raise ValueError(f"no event is called {kind!r}")


def _key(text: str) -> PathKey:
    return tuple(map(int, text.split(".")))


def _candidates(record: Mapping[str, Any], question: str | None, seed: int) -> Candidates:
    paths = tuple(map(_key, record["paths"]))
    believed = record["belief"]
    return Candidates(
        paths=paths,
        rewards=_array(record["rewards"], len(paths)),
        directions=_directions(record, len(paths)),
        lineage=np.array([path[0] for path in paths]),
        depth=np.array([len(path) for path in paths]),
        question=question,
        seed=seed,
        belief=None
        if believed is None
        else Belief(
            _array(believed["mean"], len(paths)),
            _array(believed["concentration"], len(paths)),
            float(believed["correlation"]),
            size_exponent=float(believed["size_exponent"]),
        ),
    )


def _directions(record: Mapping[str, Any], count: int) -> Directions | None:
    if (below := record.get("similarity")) is not None:
        similarity = np.zeros((count, count))
        similarity[np.tril_indices(count, -1)] = _array(below, count * (count - 1) // 2)
        return Directions(similarity=similarity + similarity.T + np.eye(count))
    labels = record["directions"]
    return None if labels is None else Directions(labels=_array(labels, count).astype(np.int64))


def _allocation(record: Mapping[str, Any]) -> Allocation:
    count = len(record["paths"])
    labels, unique, first = record["directions"], record["uniqueness"], record.get("first_counts")
    return Allocation(
        counts=_array(record["counts"], count).astype(np.int64),
        weights=_array(record["weights"], count),
        uniqueness=None if unique is None else _array(unique, count),
        first_counts=None if first is None else _array(first, count).astype(np.int64),
        directions=None if labels is None else _array(labels, count).astype(np.int64),
    )


def _array(values: Any, count: int) -> FloatArray:
    """The values as an array of finite numbers (count,)."""
    array = np.array(values, dtype=np.float64)
    if array.shape != (count,) or np.isnan(array).any():
        raise ValueError(f"{count} numbers are needed")
    return array
