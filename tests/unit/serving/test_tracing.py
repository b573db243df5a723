"""Spans: off they are nothing, on they make one tree and hold no words of anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
from kept_spans import PARENT, kept_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import origin, tracing
from serving.observed import observed


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with kept_spans() as kept:
        yield kept


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def test_off_there_is_nothing():
    assert not tracing.is_on()
    assert tracing.span("a") is tracing.span("b") is tracing.request_span("c", {"traceparent": PARENT})
    assert tracing.with_parent(headers := {"a": "b"}) is headers
    assert tracing.carrier_of([(b"traceparent", PARENT.encode())]) == {}
    assert tracing.trace_id() is None
    carrier: dict[str, str] = {}
    tracing.inject(carrier)
    tracing.event("x")
    tracing.label(x=1)
    with tracing.open_span("d", {"traceparent": PARENT}) as span:
        span.inject(carrier)
    assert carrier == {}


def test_a_request_continues_the_trace_it_belongs_to(exporter):
    with tracing.request_span("request", {"traceparent": PARENT}):
        assert tracing.trace_id() == PARENT.split("-")[1]
        with tracing.span("stage", tokens=3):
            tracing.event("first_token")
            with tracing.call_span("call"):
                carried = tracing.with_parent({"accept": "x"})
    spans = by_name(exporter)
    assert parent_of(spans["request"]) == PARENT.split("-")[2]
    assert parent_of(spans["stage"]) == f"{spans['request'].context.span_id:016x}"
    assert spans["stage"].attributes == {"tokens": 3}
    assert [event.name for event in spans["stage"].events] == ["first_token"]
    assert carried["traceparent"].split("-")[2] == f"{spans['call'].context.span_id:016x}"
    assert carried["accept"] == "x"


def test_work_of_the_platforms_own_makes_no_traces(exporter):
    with tracing.span("stage"), tracing.call_span("call"), tracing.open_span("stream"):
        pass
    assert exporter.get_finished_spans() == ()


def test_errors_are_noted_by_class_alone(exporter):
    with pytest.raises(ValueError), tracing.request_span("failed", {}):
        raise ValueError("a private matter")
    with pytest.raises(asyncio.CancelledError), tracing.request_span("left", {}):
        raise asyncio.CancelledError
    failed, left = by_name(exporter)["failed"], by_name(exporter)["left"]
    assert failed.attributes["error.type"] == "ValueError"
    assert not failed.status.is_ok
    assert left.attributes == {"manymodal.cancelled": True}
    assert left.status.is_unset
    assert "private" not in failed.to_json()
    assert not failed.events


class FakeDeployment:
    """Tells for whom it works."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def who(self, word: str) -> tuple[str, origin.Origin | None, str | None]:
        with tracing.span("stage"):
            return word, origin.current(), tracing.trace_id()

    async def letters(self, word: str, tail: str = "") -> AsyncGenerator[str, None]:
        with tracing.span("stage"):
            for letter in word + tail:
                yield letter

    async def check_health(self) -> None:
        """Asked by Ray Serve, without an origin."""


async def test_a_call_brings_the_request_along(exporter):
    begun = []
    cls = observed(FakeDeployment, "engine", lambda: begun.append(True))
    replica = cls("x")
    assert (begun, replica.name) == ([True], "x")
    assert cls.check_health is FakeDeployment.check_health

    async def gateway() -> tuple[origin.Carried, origin.Carried]:
        origin.begin("req_1")
        origin.named("acme")
        with tracing.request_span("request", {}):
            with tracing.call_span("call who"):
                one = origin.outgoing()
            with tracing.open_span("call letters") as span:
                two = origin.outgoing(span)
        return one, two

    async def other(carried: origin.Carried) -> None:
        word, known, trace = await replica.who("hello", **carried)
        assert (word, known.request_id, known.tenant) == ("hello", "req_1", "acme")
        assert trace == carried["origin"]["traceparent"].split("-")[1]

    async def stream(carried: origin.Carried) -> None:
        async with aclosing(replica.letters("ab", tail="c", **carried)) as letters:
            assert [letter async for letter in letters] == ["a", "b", "c"]

    one, two = await asyncio.create_task(gateway())
    await asyncio.create_task(other(one))
    await asyncio.create_task(stream(two))
    assert origin.current() is None
    spans = by_name(exporter)
    assert len({span.context.trace_id for span in spans.values()}) == 1
    for called, caller in (("engine.who", "call who"), ("engine.letters", "call letters")):
        assert parent_of(spans[called]) == f"{spans[caller].context.span_id:016x}"
        assert spans[called].kind.name == "SERVER"
        assert spans[caller].kind.name == "CLIENT"


async def test_without_a_request_calls_are_as_ever(exporter):
    replica = observed(FakeDeployment, "engine", lambda: None)("x")
    assert origin.outgoing() == {}
    assert await replica.who("a") == ("a", None, None)
    assert [letter async for letter in replica.letters("ab")] == ["a", "b"]
    untraced = {"request_id": "req_2"}
    _, known, trace = await asyncio.create_task(replica.who("a", origin=untraced))
    assert (known.request_id, known.tenant, trace) == ("req_2", None, None)
    assert exporter.get_finished_spans() == ()


async def test_a_stream_that_is_left_ends_its_spans(exporter):
    replica = observed(FakeDeployment, "engine", lambda: None)("x")
    carrier = {"request_id": "req_3", "traceparent": PARENT}

    async def leave() -> None:
        async with aclosing(replica.letters("abc", origin=carrier)) as letters:
            assert await anext(letters) == "a"

    await asyncio.create_task(leave())
    span = by_name(exporter)["engine.letters"]
    assert parent_of(span) == PARENT.split("-")[2]
    assert span.status.is_unset
