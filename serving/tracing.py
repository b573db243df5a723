"""Spans of OpenTelemetry, one trace a request across all processes. Off, a span costs a look at one variable.

Spans say which deployment did what for how long and with which kind of error; never a text, a medium, a file's
name, an address, or the words of an error, which may quote them.

Ray Serve 2.60 can trace, too. It is not used: it keeps the stack of open spans in one list that all tasks of a
request change (``ray/serve/_private/tracing_utils.py``), so that calls made side by side close each other's spans,
and it takes the process-wide provider that vLLM wants for itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = [
    "Attribute",
    "call_span",
    "carrier_of",
    "event",
    "inject",
    "is_on",
    "label",
    "open_span",
    "request_span",
    "span",
    "trace_id",
    "turn_off",
    "turn_on",
    "with_parent",
]

Attribute = str | int | float | bool

_PROPAGATOR = TraceContextTextMapPropagator()
_HEADERS = frozenset({b"traceparent", b"tracestate"})
_OFF: AbstractContextManager[None] = nullcontext()
_tracer: Tracer | None = None  # one per process, like OpenTelemetry's own provider


def turn_on(tracer: Tracer) -> None:
    """Make spans with ``tracer`` from now on, in this process."""
    global _tracer
    _tracer = tracer


def turn_off() -> None:
    """Make no more spans."""
    global _tracer
    _tracer = None


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def span(name: str, **attributes: Attribute) -> AbstractContextManager[Span | None]:
    """The block as a span below the current one; none where nothing is traced. Attributes are of ours, never a
    client's text.
    """
    if _tracer is None or trace.get_current_span() is trace.INVALID_SPAN:
        return _OFF
    return _Block(_tracer, name, SpanKind.INTERNAL, attributes, None)


def call_span(name: str, **attributes: Attribute) -> AbstractContextManager[Span | None]:
    """The same for a block that asks another process."""
    if _tracer is None or trace.get_current_span() is trace.INVALID_SPAN:
        return _OFF
    return _Block(_tracer, name, SpanKind.CLIENT, attributes, None)


def request_span(
    name: str, carrier: dict[str, str], **attributes: Attribute
) -> AbstractContextManager[Span | None]:
    """The same for a block that answers another process, whose span ``carrier`` may name (W3C Trace Context)."""
    if _tracer is None:
        return _OFF
    return _Block(_tracer, name, SpanKind.SERVER, attributes, _PROPAGATOR.extract(carrier))


class open_span:  # noqa: N801 - reads as a function: ``with open_span(...)``
    """A span around a stream that is given out piece by piece.

    Unlike ``span`` it does not restore what was current before: a generator may be ended in another task than it
    was begun in. With ``carrier`` (the work answers another process) it becomes current and stays so, without
    (another process is asked) it does not.
    """

    def __init__(self, name: str, carrier: dict[str, str] | None = None, **attributes: Attribute) -> None:
        self._span: Span | None = None
        if _tracer is None:
            return
        if carrier is None:
            if trace.get_current_span() is not trace.INVALID_SPAN:
                self._span = _tracer.start_span(name, None, SpanKind.CLIENT, attributes)
        elif "traceparent" in carrier:
            self._span = _tracer.start_span(name, _PROPAGATOR.extract(carrier), SpanKind.SERVER, attributes)
            otel_context.attach(trace.set_span_in_context(self._span))

    def inject(self, carrier: dict[str, str]) -> None:
        """Let a call with ``carrier`` be part of this span."""
        if self._span is not None:
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))

    def close(self) -> None:
        """End the span; in a ``finally`` clause, with the error that passes by."""
        self.__exit__(*sys.exc_info())

    def __enter__(self) -> open_span:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._span is not None:
            _note(self._span, kind)
            self._span.end()


def inject(carrier: dict[str, str]) -> None:
    """Name the current span in ``carrier`` (``traceparent``, ``tracestate``), if there is one."""
    if _tracer is not None:
        _PROPAGATOR.inject(carrier)


def with_parent(headers: Mapping[str, str]) -> Mapping[str, str]:
    """HTTP headers of a request that is part of the current span."""
    if _tracer is None:
        return headers
    carrier = dict(headers)
    _PROPAGATOR.inject(carrier)
    return carrier


def carrier_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What the headers of an ASGI request say of the trace it belongs to."""
    if _tracer is None:
        return {}
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in _HEADERS}


def label(**attributes: Attribute) -> None:
    """Say more about the current span."""
    if _tracer is not None:
        trace.get_current_span().set_attributes(attributes)


def event(name: str) -> None:
    """Note that something happens now in the current span."""
    if _tracer is not None:
        trace.get_current_span().add_event(name)


def trace_id() -> str | None:
    """The id of the current trace in hex, for log lines."""
    if _tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


class _Block(AbstractContextManager[Span]):
    def __init__(
        self, tracer: Tracer, name: str, kind: SpanKind, attributes: dict[str, Any], parent: Any
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._parent = parent

    def __enter__(self) -> Span:
        self._span = self._tracer.start_span(self._name, self._parent, self._kind, self._attributes)
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        otel_context.detach(self._token)
        _note(self._span, kind)
        self._span.end()


def _note(span: Span, kind: type[BaseException] | None) -> None:
    """An error by its class alone; a caller who left is none."""
    if kind is None or issubclass(kind, GeneratorExit):
        return
    if issubclass(kind, asyncio.CancelledError):
        span.set_attribute("manymodal.cancelled", True)
        return
    span.set_attribute("error.type", kind.__name__)
    span.set_status(StatusCode.ERROR)
