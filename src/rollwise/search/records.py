"""Events as plain values, for a database or a file. Pictures, audit and replay need nothing else of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rollwise.core import Belief, FloatArray, IntArray, PathKey, key_text
from rollwise.search.events import Allocated, Event, Failed, Finished, Grown, Span, Stopped


def event_records(events: Iterable[Event], rights: Mapping[PathKey, bool]) -> list[dict[str, Any]]:
    """The events in order as plain values, for JSON.

    A finished path that `rights` lists says whether it is right. Of the directions, the numbers that the strategy used
    and each candidate's uniqueness are kept, not the similarity of every pair.
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
            return {"path": key_text(path), **grown, **sure, "reward": float(reward), **alone, **_when(spans)}
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
            }


def _when(spans: Mapping[str, Span]) -> dict[str, Any]:
    return {"spans": {name: [round(at, 6) for at in span] for name, span in spans.items()}} if spans else {}


def _believed(belief: Belief | None) -> dict[str, Any] | None:
    if belief is None:
        return None
    values = {"mean": _plain(belief.mean), "concentration": _plain(belief.concentration)}
    return values | {"correlation": belief.correlation, "size_exponent": belief.size_exponent}


def _plain(array: FloatArray | IntArray | None) -> list[float] | None:
    return None if array is None else array.tolist()
