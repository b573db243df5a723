"""What a platform tells of itself: one trace a request across all processes, metrics of every replica at Ray's
agent, and log lines that say for whom.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import time
from collections.abc import Callable

import httpx
import pytest
from dashboards import queries
from otlp_collector import Collector
from PIL import Image
from promql import exposed, missing, selected

from cluster.conftest import RunningPlatform

pytestmark = [pytest.mark.cluster, pytest.mark.models, pytest.mark.timeout(400)]

PARENT = "b7ad6b7169203331"
SECONDS = 60.0
EVERYWHERE = {
    "POST /v1/chat/completions", "admit", "perceive", "fuse", "call probe", "perception.probe", "call encode_image",
    "perception.encode_image", "call request", "engine.request", "llm_request",
}  # fmt: skip


def offered(platform: RunningPlatform) -> dict[str, set[str]]:
    """Metrics at Ray's agent and their labels, with ``ray_`` taken off as Prometheus does it."""
    (file,) = platform.session().glob("metrics_export_port_*")
    text = httpx.get(f"http://127.0.0.1:{file.read_text().strip()}/metrics", timeout=20).text
    found: dict[str, set[str]] = {}
    for name, labels in exposed(text).items():
        ours = name.removeprefix("ray_")
        if ours.startswith("vllm_"):
            ours = f"vllm:{ours.removeprefix('vllm_')}"
        found[ours if ours.startswith(("manymodal_", "process_", "vllm:")) else name] = labels
    return found


def new_picture() -> bytes:
    """One that no cache knows."""
    written = io.BytesIO()
    Image.effect_noise((96, 96), 64).save(written, "PNG")
    return written.getvalue()


def until(there: Callable[[], bool], what: str) -> None:
    """Wait for what becomes true in other processes."""
    deadline = time.monotonic() + SECONDS
    while not there():
        assert time.monotonic() < deadline, f"not after {SECONDS:g} s: {what}"
        time.sleep(0.5)


def test_a_request_is_one_trace_and_its_id_is_everywhere(
    platform: RunningPlatform, collector: Collector
) -> None:
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "x-request-id": f"traced-{trace}"}
    url = f"data:image/png;base64,{base64.b64encode(new_picture()).decode()}"
    parts = [{"type": "text", "text": "a private matter"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {
        "model": "default", "stream": True, "max_tokens": 5, "messages": [{"role": "user", "content": parts}],
    }  # fmt: skip
    answer = httpx.post(
        f"{platform.base_url}/v1/chat/completions", json=body, headers=headers, timeout=SECONDS
    )
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")

    spans = collector.wait(lambda spans: {s.name for s in spans if s.trace == trace} >= EVERYWHERE, SECONDS)
    ours = {span.name: span for span in spans if span.trace == trace}
    by_id = {span.span: span for span in spans}
    assert ours["POST /v1/chat/completions"].parent == PARENT
    assert ours["POST /v1/chat/completions"].events == ("first_token",)
    for called, caller in (
        ("perception.encode_image", "call encode_image"),
        ("call request", "POST /v1/chat/completions"),
        ("engine.request", "call request"),
        ("llm_request", "engine.request"),
    ):
        assert by_id[ours[called].parent].name == caller
    assert {span.service for span in ours.values()} == {
        "manymodal-gateway", "manymodal-perception", "manymodal-engine", "manymodal-vllm"
    }  # fmt: skip
    assert not any(span.failed for span in ours.values())
    assert "private" not in " ".join(span.whole for span in ours.values())

    def lines() -> list[dict[str, str]]:
        found = []
        for log in (platform.session() / "logs").glob("worker-*.err"):
            *whole, _ = log.read_text().split("\n")
            found += [json.loads(line) for line in whole if f'"traced-{trace}"' in line]
        return found

    until(lambda: bool(lines()), "the request's line in the log")
    assert {(one["tenant"], one["trace_id"]) for one in lines()} == {("default", trace)}
    assert "gateway" in {one["deployment"] for one in lines()}


def test_rays_agent_offers_what_dashboards_ask_for(platform: RunningPlatform) -> None:
    """What this platform has counted; other tests hold queries against what it has not."""
    stream = {
        "model": "default",
        "stream": True,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
    }
    answer = httpx.post(f"{platform.base_url}/v1/chat/completions", json=stream, timeout=SECONDS)
    assert answer.status_code == 200
    counted = (
        "process_", "ray_serve_", "vllm:", "manymodal_memory_", "manymodal_encoder_", "manymodal_requests_total",
        "manymodal_time_to_first_token", "manymodal_pool_breaker",
    )  # fmt: skip
    wanted = {
        one.name: query
        for query in queries().values()
        for one in selected(query)
        if one.name.startswith(counted)
    }
    assert len(wanted) >= 15

    def lacking() -> list[str]:
        there = offered(platform)
        return [word for name, query in wanted.items() for word in missing(query, there, [name])]

    until(lambda: not lacking(), f"metrics, lacking at first: {lacking()}")
    waits = offered(platform)["manymodal_encoder_wait_seconds_bucket"]
    assert {"pool", "replica", "modality", "le"} <= waits
