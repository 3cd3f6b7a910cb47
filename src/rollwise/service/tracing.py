"""Traces of searches for OpenTelemetry, made of their records: a search, its rounds, and what was done in each."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rollwise.errors import MissingExtraError
from rollwise.service.records import Record

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The environment variables that name a collector; without one of them nothing is traced."""
_ACTIVITIES = {"generating": "generate", "scoring": "score", "embedding": "embed"}
_OPERATIONS = {"generate": "text_completion", "score": "evaluate", "embed": "embeddings"}


@dataclass(frozen=True)
class Piece:
    """A span: its name, start and end in seconds since the search began, attributes, and the spans within."""

    name: str
    began: float
    ended: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    within: Sequence[Piece] = ()


def pieces(record: Record) -> Piece:
    """The spans of a search, without any text: rounds, and in each what was generated, scored, embedded, allocated."""
    rounds: dict[int, list[Mapping[str, Any]]] = {}
    for event in record.events:
        rounds.setdefault(event["round"], []).append(event)
    spans = {index: _activities(events) for index, events in sorted(rounds.items())}
    spans = {index: found for index, found in spans.items() if found}
    starts = {index: min(began for began, _ in found.values()) for index, found in spans.items()}
    within = []
    for index, found in spans.items():
        done = max(ended for _, ended in found.values())
        ended = starts.get(index + 1, max(done, record.seconds if index == max(spans) else done))
        within.append(_round(index, rounds[index], found, starts[index], done, ended))
    usage = record.usage.get("policy", {})
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "rollwise",
        "gen_ai.request.model": record.route,
        "gen_ai.request.temperature": record.config.get("temperature"),
        "gen_ai.request.top_p": record.config.get("top_p"),
        "gen_ai.request.max_tokens": record.config.get("max_tokens"),
        "gen_ai.request.seed": record.seed,
        "gen_ai.response.id": record.id,
        "gen_ai.usage.input_tokens": usage.get("prefilled", 0) + usage.get("cached", 0),
        "gen_ai.usage.cache_read.input_tokens": usage.get("cached", 0),
        "gen_ai.usage.output_tokens": usage.get("generated", 0),
        "rollwise.rule": record.rule,
        "rollwise.stage": record.stage,
        "rollwise.purpose": record.purpose,
        "rollwise.strategy": record.strategy,
        "rollwise.budget": record.budget,
        "rollwise.outcome": record.outcome,
        "rollwise.support": record.support,
    }
    return Piece(f"chat {record.route}", 0.0, max(record.seconds, 0.0), _known(attributes), within)


def _activities(events: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """When each activity of a round began first and ended last, over all paths."""
    found: dict[str, tuple[float, float]] = {}
    for event in events:
        for name, (began, ended) in event.get("spans", {}).items():
            first, last = found.get(name, (began, ended))
            found[name] = min(first, began), max(last, ended)
    return found


def _round(
    index: int,
    events: Sequence[Mapping[str, Any]],
    found: Mapping[str, tuple[float, float]],
    began: float,
    done: float,
    ended: float,
) -> Piece:
    grown = [event for event in events if event["event"] == "grown"]
    tokens = sum(event["tokens"] for event in grown)
    within = [
        Piece(
            _ACTIVITIES[name],
            *found[name],
            {"gen_ai.operation.name": _OPERATIONS[_ACTIVITIES[name]]}
            | ({"gen_ai.usage.output_tokens": tokens} if name == "generating" else {}),
        )
        for name in _ACTIVITIES
        if name in found
    ]
    allocated = [event for event in events if event["event"] == "allocated"]
    if allocated:
        within.append(Piece("allocate", done, max(ended, done), {"rollwise.width": allocated[0]["width"]}))
    counts = {"rollwise.round": index, "rollwise.paths": len(grown)}
    return Piece("round", began, max(ended, done), counts, within)


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


class Tracer:
    """Sends the spans of searches to a collector. `provider` replaces the one that the environment describes."""

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise MissingExtraError("traces", "otel") from error
        self.provider = provider or _provider()
        self._tracer, self._propagator = self.provider.get_tracer("rollwise"), TraceContextTextMapPropagator()

    def send(self, record: Record, parent: str | None) -> None:
        """Hand a search's spans to the exporter. `parent` is the header `traceparent` of its request."""
        began = int(datetime.datetime.fromisoformat(record.began).timestamp() * 1e9)
        context = self._propagator.extract({"traceparent": parent}) if parent else None
        self._send(pieces(record), began, context, record.outcome == "failed")

    def _send(self, piece: Piece, began: int, context: Any, failed: bool = False) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        kind = SpanKind.INTERNAL if piece.name in ("round", *_OPERATIONS, "allocate") else SpanKind.SERVER
        start = began + int(piece.began * 1e9)
        span = self._tracer.start_span(piece.name, context, kind, dict(piece.attributes), start_time=start)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        for each in piece.within:
            self._send(each, began, inside)
        span.end(end_time=began + int(piece.ended * 1e9))

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def tracer_of_environment() -> Tracer | None:
    """A tracer for the collector that the environment names; None if it names none. Raises MissingExtraError."""
    return Tracer() if any(os.environ.get(name) for name in ENDPOINT_VARIABLES) else None


def _provider() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtraError("traces", "otel") from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "rollwise")})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
