"""A replica's beginning: its spans reach a collector, its metrics are copied, and wrong settings are refused."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest
from fake_ray import exceptions  # noqa: F401 - Ray's modules warn while they are imported
from otlp_collector import collecting
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr, ValidationError

from deploy import observability
from deploy.observability import Observability, export_metrics
from deploy.observability_settings import SloSettings, TracingSettings
from serving import tracing
from serving.ray_adapter.metrics_export import MetricsExport
from serving.slo import Slo


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log and tracing as they were."""
    for name in ("manymodal", "encoders", "fusion", "search", "serving", "storage"):
        for attribute in ("handlers", "level", "propagate"):
            monkeypatch.setattr(
                logging.getLogger(name), attribute, getattr(logging.getLogger(name), attribute)
            )
    monkeypatch.setattr(observability, "_export", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    yield
    tracing.turn_off()


def test_spans_reach_the_collector(restored):
    with collecting() as collector:
        settings = TracingSettings(endpoint=collector.endpoint, headers={"authorization": "Bearer x"})
        Observability("WARNING", settings).begin("vision")
        with tracing.request_span("root", {}), tracing.span("stage"):
            pass
        spans = {span.name: span for span in collector.wait(lambda spans: len(spans) == 2)}
    assert spans["stage"].parent == spans["root"].span
    assert spans["root"].service == "manymodal-vision"
    assert collector.headers[0]["authorization"] == "Bearer x"
    assert os.environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] == "authorization=Bearer%20x"  # for vLLM


def test_without_an_endpoint_nothing_is_traced(restored):
    Observability("WARNING").begin("vision")
    assert not tracing.is_on()
    export_metrics(CollectorRegistry())  # goes nowhere


def test_the_share_that_is_not_sampled_is_not_sent_and_says_so(restored):
    with collecting() as collector:
        Observability("WARNING", TracingSettings(endpoint=collector.endpoint, sampling_ratio=0)).begin(
            "vision"
        )
        with tracing.request_span("left out", {}):
            carried = tracing.with_parent({})
        with tracing.request_span("asked for", {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
            pass
        spans = collector.wait(lambda spans: bool(spans))
    assert [span.name for span in spans] == ["asked for"]
    sampled = int(carried["traceparent"].rsplit("-", 1)[1], 16) & 1
    assert not sampled  # so that no replica begins a trace of its own


def test_metrics_are_copied_for_ray(restored, monkeypatch):
    seen: dict[str, float] = {}
    exports: list[MetricsExport] = []
    there = threading.Event()

    class FakeGauge:
        def __init__(self, name: str, words: str, tags: tuple[str, ...]) -> None:
            self._name = name

        def set(self, value: float, tags: dict[str, str]) -> None:
            seen[self._name] = value
            assert tags["pool"] == "vision"
            if {"manymodal_things_total", "manymodal_memory_limit_bytes"} <= seen.keys():
                there.set()

    monkeypatch.setattr(
        observability,
        "MetricsExport",
        lambda *known: exports.append(MetricsExport(*known, FakeGauge)) or exports[0],
    )
    Observability("WARNING", export_seconds=0.01).begin("vision")
    registry = CollectorRegistry()
    Counter("manymodal_things", "Things.", registry=registry).inc(2)
    export_metrics(registry)
    assert there.wait(30)
    exports[0].stop()
    assert seen["manymodal_things_total"] == 2


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (None, None),
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_where_spans_go(endpoint: str | None, address: str | None):
    assert TracingSettings(endpoint=endpoint).address == address


@pytest.mark.parametrize(
    "wrong",
    [{"endpoint": "collector:4318"}, {"endpoint": "http://me:secret@collector"}, {"sampling_ratio": 2}],
)
def test_wrong_settings_of_traces(wrong):
    with pytest.raises(ValidationError):
        TracingSettings(**wrong)


def test_headers_are_secret_and_quoted():
    settings = TracingSettings(headers={"authorization": SecretStr("Bearer a,b")})
    assert "Bearer" not in repr(settings)
    assert settings.header_line() == "authorization=Bearer%20a%2Cb"


def test_objectives_are_the_servings_own():
    assert SloSettings().slo() == Slo()
    assert SloSettings(token_seconds=0.2).slo().token_seconds == 0.2
