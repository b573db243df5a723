"""The status view: live figures for the operator, and what others are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
from playwright.sync_api import Page, Route, expect

from browser.conftest import Site

CHAT = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
GPU = """
manymodal_gpu_memory_used_bytes{gpu="0"} 4e+10
manymodal_gpu_memory_used_bytes{gpu="0"} 3e+10
manymodal_gpu_memory_total_bytes{gpu="0"} 8e+10
manymodal_gpu_utilization_ratio{gpu="0"} 0.25
"""
CALLS = {
    "ongoing": 31,
    "answered": 5120,
    "failed": 0,
    "refused": 4,
    "refused_open": 0,
    "broken_off": 1,
    "left": 12,
}
MORE = {"retried": 1, "breaker": "closed", "latency_seconds": {"p50": 0.21, "p95": 1.63, "p99": 1.9}}
ENGINE = {
    "name": "engine",
    "health": "scaling",
    "replicas": {"running": 2, "starting": 1},
    "target_replicas": 3,
}
NONE = {"name": "perception", "health": "unhealthy", "replicas": {}, "target_replicas": None, "calls": None}
POOLS = {"data": [{**ENGINE, "calls": {**CALLS, **MORE}}, NONE], "queues": {}}
COUNTED = """
# HELP manymodal_tokens_total Tokens.
manymodal_tokens_total{direction="prompt"} 1000.0
manymodal_tokens_total{direction="completion"} %d
manymodal_requests_total{endpoint="/v1/search",modality="text",status="200"} %d
manymodal_requests_total{endpoint="/metrics",modality="none",status="200"} 999
manymodal_cache_answers_total{cache="media",tier="memory"} %d
manymodal_cache_answers_total{cache="media",tier="miss"} 10
manymodal_time_to_first_token_seconds_bucket{le="0.1",modality="text"} %d
manymodal_time_to_first_token_seconds_bucket{le="0.1",modality="image"} 0
manymodal_time_to_first_token_seconds_bucket{le="0.2",modality="text"} %d
manymodal_time_to_first_token_seconds_bucket{le="0.2",modality="image"} 2
manymodal_time_to_first_token_seconds_bucket{le="+Inf",modality="text"} %d
manymodal_time_to_first_token_seconds_bucket{le="+Inf",modality="image"} 2
"""
READ = """async looks => {
    const { Readings } = await import(new URL('assets/readings.js', document.baseURI));
    const readings = new Readings();
    return looks.map(([text, now]) => readings.take(text, now));
}"""


def read(page: Page, *looks: tuple[str, float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(READ, list(looks))
    return found


def test_figures_of_a_running_platform(visit: Callable[..., Page], site: Site) -> None:
    ask_chat(site)
    page = visit(site, "#/status")
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    expect(page.get_by_role("list", name="Parts of the platform")).to_contain_text("search: ready")
    first_token = page.get_by_role("region", name="Time to first token")
    expect(first_token).to_contain_text("Since the gateway started: p50")
    expect(page.get_by_role("region", name="GPU memory")).to_contain_text("No GPU")
    expect(page.get_by_role("region", name="Memory", exact=True)).to_contain_text("GB of")
    expect(page.get_by_role("region", name="Queues of this gateway")).to_contain_text("engine")
    ask_chat(site)
    tokens = page.get_by_role("region", name="Tokens per second")
    expect(tokens.get_by_role("img")).to_have_attribute("aria-label", has_figure())
    expect(tokens.locator("path")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "true")


def ask_chat(site: Site) -> None:
    assert httpx2.post(f"{site.url}/v1/chat/completions", json=CHAT, timeout=60).status_code == 200


def has_figure() -> Any:
    return re.compile(r"Tokens per second: now \d")


def test_a_key_that_may_not_look(visit: Callable[..., Page], open_site: Callable[..., Site]) -> None:
    site = open_site(access="keys")
    page = visit(site, "#/status")
    for status in ("401", "403"):
        page.watch.expect(status)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The figures need a key with the scope admin.")).to_be_visible()
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    page.get_by_role("button", name="API key: none").click()
    page.get_by_label("Key", exact=True).fill(site.key(scopes=frozenset({"search"})))
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("the key in use lacks the scope admin")).to_be_visible()
    expect(page.get_by_role("region", name="Cache hit rate")).to_be_hidden()
    page.get_by_role("button", name="API key: in use").click()
    page.get_by_label("Key", exact=True).fill(site.key())
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("region", name="Cache hit rate")).to_be_visible()


def test_a_platform_with_a_gpu_that_goes_down(visit: Callable[..., Page], site: Site) -> None:
    def with_gpu(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text() + GPU)

    page = visit(site)
    page.route("**/metrics", with_gpu)
    page.route("**/v1/admin/pools", lambda route: route.fulfill(json=POOLS))
    page.get_by_role("link", name="Status", exact=True).click()
    gpu = page.get_by_role("region", name="GPU memory")
    expect(gpu).to_contain_text("50 %")
    expect(gpu).to_contain_text("40.0 GB of 80.0 GB on 1 GPU, busy 25 % of the time.")
    engine = page.get_by_role("row", name="engine scaling 2 running, 1 starting (of 3)")
    expect(engine).to_have_text("enginescaling2 running, 1 starting (of 3)31512014210 ms1.6 sclosed")
    expect(page.get_by_role("row", name="perception unhealthy none")).to_contain_text("\N{EN DASH}")
    page.watch.expect("503")
    page.route(
        "**/ready",
        lambda route: route.fulfill(
            status=503, json={"status": "starting", "deployments": {"engine": "not ready"}}
        ),
    )
    expect(page.get_by_text("Starting", exact=True)).to_be_visible()
    expect(page.get_by_text("engine: not ready")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")  # one may be on its way when the window closes


def test_what_counters_mean(visit: Callable[..., Page], site: Site) -> None:
    page = visit(site, "#/search")
    before = COUNTED % (100, 10, 10, 5, 5, 5)
    after = COUNTED % (400, 40, 40, 5, 105, 105)
    first, second, third, fourth = read(page, (before, 0), (after, 30), (after, 91), (before, 92))
    assert (first["tokensPerSecond"], first["firstToken"]["p50"], first["cacheHits"]) == (None, None, None)
    assert first["sinceStart"]["cacheHits"] == 0.5
    assert second["tokensPerSecond"] == 10
    assert second["requestsPerSecond"] == 1  # not those of whoever looks
    assert second["cacheHits"] == 1
    assert round(second["firstToken"]["p50"], 3) == 0.15  # a hundred between 0.1 and 0.2
    assert round(second["firstToken"]["p95"], 3) == 0.195
    assert third["tokensPerSecond"] == 0  # a minute later nothing more came
    assert third["firstToken"] == {"p50": None, "p95": None}
    assert fourth["tokensPerSecond"] is None  # another gateway, or one that was started anew
    (none,) = read(page, ("", 0))
    assert (none["memory"], none["gpus"], none["sinceStart"]["firstToken"]["p50"]) == (None, [], None)
