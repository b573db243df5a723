"""What the gateway tells of a request: one trace, log lines with its id and tenant, and no content anywhere."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator

import openai
import pytest
from fake_services import fake_png
from kept_spans import PARENT, kept_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from encoders.errors import CorruptMedia
from serving import request_log

LOGGERS = ("manymodal", "encoders", "fusion", "search", "serving", "storage")


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with kept_spans() as kept:
        yield kept


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets the platform's log go to stderr for the rest of the test."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        for attribute in ("handlers", "level", "propagate"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    yield lambda: request_log.configure("INFO", "gateway")
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def about_a_picture(*labels: str) -> list[dict[str, object]]:
    picture = fake_png(dict.fromkeys(labels or ("secretcat",), 0.8))
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    text = {"type": "text", "text": "a private matter"}
    return [{"role": "user", "content": [text, {"type": "image_url", "image_url": {"url": url}}]}]


async def test_a_request_is_one_trace(client, exporter):
    stream = await client.chat.completions.create(
        model="default",
        messages=about_a_picture(),
        stream=True,
        extra_headers={"traceparent": PARENT, "x-request-id": "mine"},
    )
    async for _ in stream:
        pass
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {PARENT.split("-")[1]}
    root = spans["POST /v1/chat/completions"]
    assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]
    assert root.attributes == {
        "manymodal.request_id": "mine",
        "manymodal.tenant": "default",
        "manymodal.modality": "image",
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    assert [event.name for event in root.events] == ["first_token"]
    assert {"admit", "perceive", "perceive_labels", "fuse"} <= spans.keys()
    for name in ("admit", "perceive", "fuse"):
        assert spans[name].parent.span_id == root.context.span_id
    told = " ".join(span.to_json() for span in spans.values())
    for private in ("a private matter", "secretcat", "base64"):
        assert private not in told


async def test_errors_are_in_the_trace_without_their_words(platform, client, http, exporter):
    platform.perception.failure = CorruptMedia("The file named secret.png is damaged.")
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="default", messages=about_a_picture())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["POST /v1/chat/completions"].attributes["http.response.status_code"] == 400
    assert spans["POST /v1/chat/completions"].status.is_unset  # the client's fault
    assert spans["admit"].attributes["error.type"] == "InvalidRequest"
    assert "secret" not in " ".join(span.to_json() for span in spans.values())
    families = text_string_to_metric_families((await http.get("/metrics")).text)
    errors = next(family for family in families if family.name == "manymodal_errors")
    assert [sample.labels for sample in errors.samples if sample.name.endswith("_total")] == [
        {"code": "corrupt_media", "modality": "image"}
    ]


async def test_machines_that_ask_all_the_time_are_not_traced(http, exporter):
    for path in ("/health", "/ready", "/metrics"):
        await http.get(path, headers={"traceparent": PARENT})
    assert exporter.get_finished_spans() == ()


async def test_answers_are_on_the_clock(client, http):
    for stream in (False, True):
        answer = await client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        if stream:
            async for _ in answer:
                pass
    families = text_string_to_metric_families((await http.get("/metrics")).text)
    values = {
        (sample.name, sample.labels.get("modality")): sample.value
        for family in families
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert values["manymodal_generation_seconds_count", "text"] == 2
    assert values["manymodal_time_to_first_token_seconds_count", "text"] == 1
    assert values["manymodal_inter_token_seconds_count", "text"] >= 1
    assert values["manymodal_answers_total", "text"] >= 1
    assert values["manymodal_requests_in_progress", None] == 1  # this very one
    assert ("manymodal_queue_wait_seconds_count", None) in values


async def test_log_lines_of_a_request_bear_its_id_and_tenant(platform, client, capsys, json_lines, exporter):
    json_lines()
    platform.perception.failure = RuntimeError("boom")
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(
            model="default", messages=about_a_picture(), extra_headers={"x-request-id": "mine"}
        )
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) >= 2
    for line in lines:
        assert (line["request_id"], line["tenant"]) == ("mine", "default")
        assert len(line["trace_id"]) == 32
        assert line["deployment"] == "gateway"
