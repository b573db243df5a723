"""Answers while a part of the platform is down: what they lack, how they say so, and where there is none."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import openai
import pytest
from fake_platform import build_platform, http_client, openai_client
from fake_services import fake_mp4, fake_png, fake_wav
from search_requests import index, text, upload

from search.errors import SearchUnavailable
from serving.degradation import HEADER, RULES, Degradation
from serving.errors import CircuitOpen, ServiceBusy, ServiceUnavailable
from serving.moderation.policy import ModerationPolicy
from serving.pool_calls import PoolBook
from serving.services import PoolStatus
from serving.tenant_settings import TenantSettings

DOWN = [ServiceUnavailable("It is restarting."), CircuitOpen("It is left alone.")]


class FakePools:
    """``serving.services.Pools``: deployments whose states a test sets."""

    def __init__(self, **running: int) -> None:
        self.running = running
        self.asked = 0
        self.asked_often = asyncio.Event()
        self.is_ready = dict.fromkeys(running, True)
        self.book = PoolBook()

    may_sleep = frozenset[str]()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.running)

    async def ready(self, name: str) -> bool:
        return self.is_ready[name]

    async def status(self) -> tuple[PoolStatus, ...]:
        self.asked += 1
        if self.asked > 2:
            self.asked_often.set()
        calls = self.calls()
        return tuple(
            PoolStatus(name, "healthy", {"running": count} if count else {}, 1, calls.get(name))
            for name, count in self.running.items()
        )

    def calls(self) -> dict[str, Any]:
        return {calls.deployment: calls.statistics() for calls in self.book.all()}


def with_pools(platform, **running: int) -> FakePools:
    """Let the platform's gateway see these deployments."""
    pools = FakePools(**running)
    gateway = platform.gateway
    platform.app.state.gateway = replace(gateway, services=replace(gateway.services, pools=pools))
    gateway.perceiver.degradation._pools = pools
    return pools


async def test_an_engine_that_may_sleep_is_not_woken_for_its_metrics(http, platform, monkeypatch):
    asked = []
    answer = platform.engine.request

    def request(method, path, *rest):
        asked.append(path)
        return answer(method, path, *rest)

    monkeypatch.setattr(platform.engine, "request", request)
    pools = with_pools(platform, engine=0)
    pools.may_sleep = frozenset({"engine"})
    assert (await http.get("/metrics")).status_code == 200
    assert asked == []
    pools.may_sleep = frozenset()
    assert (await http.get("/metrics")).status_code == 200
    assert asked == ["/metrics"]


def failing(error: Exception):
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def asking(data: bytes, kind: str = "image_url", mime: str = "image/png") -> list[dict[str, Any]]:
    url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return [
        {"role": "user", "content": [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "What?"}]}
    ]


PICTURE = asking(fake_png({"cat": 0.9}, ("hello",)))
FILM = asking(fake_mp4([{"boat": 0.9}], (0.0, 1.0, "ahoy")), "video_url", "video/mp4")


async def ask(client, messages):
    answer = await client.chat.completions.with_raw_response.create(model="default", messages=messages)
    return answer.headers.get(HEADER), answer.parse().model_extra["manymodal"]


@pytest.mark.parametrize("error", DOWN)
async def test_chat_without_ocr(client, platform, monkeypatch, error):
    monkeypatch.setattr(platform.perception, "read_text", failing(error))
    said, facts = await ask(client, PICTURE)
    assert (said, facts["degraded"]) == ("ocr", ["ocr"])
    assert facts["media"][0]["labels"][0]["text"] == "cat"
    assert "ocr_lines" not in facts["media"][0]
    monkeypatch.undo()
    said, facts = await ask(client, PICTURE)
    assert said is None
    assert "degraded" not in facts
    assert facts["media"][0]["ocr_lines"] == 1
    assert facts["media"][0]["cache"]["ocr"] == "miss"  # nothing was kept of what was lacking
    counted = platform.gateway.metrics.registry
    assert counted.get_sample_value("manymodal_degraded_answers_total", {"part": "ocr"}) == 1


async def test_a_stream_says_it_at_its_beginning_and_its_end(client, platform, monkeypatch):
    monkeypatch.setattr(platform.perception, "read_text", failing(DOWN[0]))
    answer = await client.chat.completions.with_raw_response.create(
        model="default", messages=PICTURE, stream=True
    )
    assert answer.headers[HEADER] == "ocr"
    events = [event async for event in answer.parse()]
    (facts,) = [event.model_extra["manymodal"] for event in events if "manymodal" in event.model_extra]
    assert facts["degraded"] == ["ocr"]


async def test_a_video_without_what_is_said(client, platform, monkeypatch):
    monkeypatch.setattr(platform.perception, "transcribe", failing(DOWN[0]))
    said, facts = await ask(client, FILM)
    assert (said, facts["degraded"]) == ("transcript", ["transcript"])
    assert facts["media"][0]["frames"]


@pytest.mark.parametrize(
    ("method", "messages", "error"),
    [
        ("encode_image", PICTURE, DOWN[0]),
        ("read_text", PICTURE, ServiceBusy("Its queue is full.")),
        ("encode_video", FILM, DOWN[0]),
        ("transcribe", asking(fake_wav((0.0, 1.0, "ahoy")), "audio_url", "audio/wav"), DOWN[0]),
    ],
)
async def test_what_cannot_be_done_without(client, platform, monkeypatch, method, messages, error):
    monkeypatch.setattr(platform.perception, method, failing(error))
    with pytest.raises(openai.InternalServerError) as caught:
        await ask(client, messages)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert HEADER not in caught.value.response.headers


async def test_a_policy_wants_everything_looked_at(tmp_path, config, monkeypatch):
    policy = ModerationPolicy(frozenset({"chat_input", "ingest"}))
    platform = build_platform(tmp_path, replace(config, tenant_defaults=TenantSettings(moderation=policy)))
    monkeypatch.setattr(platform.perception, "read_text", failing(DOWN[0]))
    async with http_client(platform) as http:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(openai_client(http), PICTURE)
        assert caught.value.status_code == 503
        media = await upload(http, fake_png(text=("x",)))
        answer = await http.post("/v1/collections/c/documents", json={"media_id": media})
        assert answer.status_code == 503


async def test_a_deployment_without_replicas_is_not_waited_for(client, platform, monkeypatch):
    monkeypatch.setattr("serving.degradation._LOOK_SECONDS", 0.01)
    pools = with_pools(platform, ocr=1)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(platform.perception, "read_text", wait)
    asked = asyncio.create_task(ask(client, PICTURE))
    await begun.wait()
    await pools.asked_often.wait()  # it has a replica: it is waited for
    assert not asked.done()
    pools.running["ocr"] = 0
    said, facts = await asked
    assert (said, facts["degraded"]) == ("ocr", ["ocr"])
    assert ended.is_set()


async def test_where_all_encoders_are_one_deployment_nobody_asks_after_a_part_of_it():
    pools = FakePools(perception=0)
    assert not await Degradation(pools)._has_no_replica("ocr")
    assert pools.asked == 0


async def test_documents_without_ocr_are_not_taken_for_whole(http, platform, monkeypatch):
    media = await upload(http, fake_png({"cat": 0.9}, ("hello",)))
    monkeypatch.setattr(platform.perception, "read_text", failing(DOWN[0]))
    answer = await http.post("/v1/collections/c/documents", json={"media_id": media, "id": "a"})
    assert (answer.status_code, answer.headers[HEADER]) == (200, "ocr")
    assert answer.json()["manymodal"] == {"degraded": ["ocr"]}
    (stored,) = platform.search.documents("default", "c", ("a",))
    assert [row.content_hash for row in stored.rows] == [None]
    monkeypatch.undo()
    answer = await http.post("/v1/collections/c/documents", json={"media_id": media, "id": "a"})
    assert HEADER not in answer.headers
    assert "manymodal" not in answer.json()
    (stored,) = platform.search.documents("default", "c", ("a",))
    assert "hello" in stored.rows[0].text
    assert stored.rows[0].content_hash is not None


HYBRID = {"query": text("red boats"), "mode": "hybrid"}


@pytest.fixture
async def boats(http) -> None:
    for name, content in {"a": "red boats on a lake", "b": "a garden with roses"}.items():
        await index(http, text=content, id=name)


async def find(http, **wanted) -> tuple[str | None, Any, list[str]]:
    answer = await http.post("/v1/search", json=wanted)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    said = found.get("manymodal", {}).get("degraded")
    return answer.headers.get(HEADER), said, [hit["id"] for hit in found["results"]]


@pytest.mark.usefixtures("boats")
async def test_hybrid_search_by_words_alone(http, platform, monkeypatch):
    monkeypatch.setattr(platform.perception, "embed_texts", failing(DOWN[0]))
    query = {**HYBRID, "query": text("red boats once")}
    assert await find(http, **query) == ("vectors", ["vectors"], ["a"])
    for other in ({"mode": "vector"}, {"score_threshold": 0.1}):
        answer = await http.post("/v1/search", json={**query, **other})
        assert answer.status_code == 503


@pytest.mark.usefixtures("boats")
async def test_hybrid_search_by_vectors_alone(http, platform, monkeypatch):
    search = platform.gateway.services.search.search

    async def no_words(tenant, collection, query):
        if query.text:
            raise SearchUnavailable("Words cannot be looked for.")
        return await search(tenant, collection, query)

    monkeypatch.setattr(platform.gateway.services.search, "search", no_words)
    said, degraded, found = await find(http, **HYBRID)
    assert (said, degraded, found[0]) == ("words", ["words"], "a")
    assert (await http.post("/v1/search", json={**HYBRID, "mode": "text"})).status_code == 503


@pytest.mark.usefixtures("boats")
async def test_search_without_a_second_look(http, platform, monkeypatch):
    monkeypatch.setattr(platform.gateway.services.search, "documents", failing(SearchUnavailable("Away.")))
    said, degraded, found = await find(http, query=text("red boats"), rerank={})
    assert (said, degraded, found[0]) == ("rerank", ["rerank"], "a")


async def test_ready_without_what_may_be_missing(http, platform):
    pools = with_pools(platform, vision=1, ocr=1, audio=1, engine=1)
    assert (await http.get("/ready")).json()["status"] == "ready"
    pools.is_ready |= {"ocr": False, "audio": False}
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["deployments"]["ocr"] == "not ready"
    pools.is_ready["vision"] = False
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")


async def test_pools_are_shown(http, platform):
    assert (await http.get("/v1/admin/pools")).json()["data"] == []
    pools = with_pools(platform, ocr=2, text=0)
    pools.book.of("ocr", "The reader").begin().end("answered")
    shown = (await http.get("/v1/admin/pools")).json()
    ocr, texts = shown["data"]
    assert (ocr["replicas"], ocr["target_replicas"], ocr["health"]) == ({"running": 2}, 1, "healthy")
    assert (ocr["calls"]["answered"], ocr["calls"]["ongoing"], ocr["calls"]["breaker"]) == (1, 0, "closed")
    assert set(ocr["calls"]["latency_seconds"]) == {"p50", "p95", "p99"}
    assert (texts["replicas"], texts["calls"]) == ({}, None)
    assert shown["queues"]["encoders"]["waiting"] == 0


def test_every_rule_says_what_an_answer_is_like():
    assert all(rule.without and rule.pool for rule in RULES.values())
