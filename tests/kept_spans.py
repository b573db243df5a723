"""Spans of one test, kept in memory, and a trace that a client has begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import tracing

__all__ = ["PARENT", "kept_spans"]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def kept_spans() -> Iterator[InMemorySpanExporter]:
    """Tracing is on meanwhile."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracing.turn_on(provider.get_tracer("test"))
    try:
        yield kept
    finally:
        tracing.turn_off()
