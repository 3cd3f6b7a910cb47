"""Traces: the spans that a search sends have the order, the times and the parents of what happened."""

import time
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
from serving import chat, serving

from rollwise.service.tracing import Tracer

pytest.importorskip("opentelemetry.sdk", reason="pip install 'rollwise[otel]'")


def test_a_search_is_a_trace_of_rounds(tmp_path: FilePath) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with serving(tmp_path) as (url, service):
        service.searches.tracer = Tracer(provider)
        before = time.time_ns()
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        reply = httpx.post(f"{url}/v1/chat/completions", json=chat(), headers=headers, timeout=60).json()
        after = time.time_ns()
    spans: Any = exporter.get_finished_spans()
    (search,) = [span for span in spans if span.name == "chat game"]
    rounds = [span for span in spans if span.name == "round"]
    assert search.context.trace_id == int(trace, 16)
    assert search.parent.span_id == int(parent, 16)
    assert len(rounds) == reply["rollwise"]["rounds"]
    assert all(each.parent.span_id == search.context.span_id for each in rounds)
    assert search.attributes["gen_ai.usage.output_tokens"] == reply["usage"]["completion_tokens"]
    generated = [span.attributes["gen_ai.usage.output_tokens"] for span in spans if span.name == "generate"]
    assert sum(generated) == reply["usage"]["completion_tokens"]
    assert {span.name for span in spans} == {"chat game", "round", "generate", "score", "embed", "allocate"}
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        assert before - 10**7 <= span.start_time <= span.end_time <= after + 10**7
        if span.parent.span_id in by_id:
            assert by_id[span.parent.span_id].start_time <= span.start_time
    assert not any("left" in str(value) for span in spans for value in span.attributes.values())
