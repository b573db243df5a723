"""Stand-ins in pools on real Ray behind HAProxy: requests of every kind, a spike, replicas up and down, an update.

The long shows are ``make bench-spike``, ``bench-autoscaling``, ``bench-rolling-update`` and ``bench-scale-out``, of
the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fake_services import fake_png

from benchmarks.autoscaling import follow
from benchmarks.paced_deployments import Pace
from benchmarks.paced_platform import PacedPlatform, paced_settings
from benchmarks.rolling_update import update_under_streams
from benchmarks.spike import spike

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

_VARIANT = "all-minilm-l6-v2-float32"
_STREAMS = 10
_TOKENS = 8
_PACE = Pace(tokens=400, tokens_per_second=10.0)
_POOLS = ("vision", "ocr", "audio", "text")
_LIMITS = {"max_ongoing_requests": 64, "max_queued_requests": 64}
_LONG_TOKENS = 300  # half a minute: an update takes less on any machine that is not in trouble


@pytest.fixture(scope="module")
def paced(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PacedPlatform]:
    """Two gateways, an engine of one or two replicas, one replica of each kind of encoders."""
    folder = tmp_path_factory.mktemp("paced")
    scaled = {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 4,
        "look_back_seconds": 11,
        "upscale_delay_seconds": 0,
        "downscale_delay_seconds": 0,
    }
    settings = paced_settings(
        folder,
        models_dir=str(models_dir),
        drain_seconds=120,
        encoders={"text_variants": [_VARIANT]},
        chat={"max_streams": _STREAMS},
        deployments={
            "perception": None,
            **dict.fromkeys(_POOLS, _LIMITS),
            "gateway": {"num_replicas": 2, "surge_percent": 50},
            "engine": {"autoscaling": scaled, "max_ongoing_requests": 64},
        },
    )
    with PacedPlatform(settings, _PACE, folder / "log") as platform:
        yield platform


def test_every_kind_of_request_finds_its_pool_and_nothing_of_haproxy_is_open_to_others(
    paced: PacedPlatform,
) -> None:
    with httpx.Client(base_url=paced.base_url, timeout=60) as http:
        ready = http.get("/ready").json()
        assert {*_POOLS, "search", "engine"} <= set(ready["deployments"]), ready
        uploaded = http.post("/v1/media", files={"file": ("a.png", fake_png({"cat": 0.9}), "image/png")})
        medium = uploaded.json()["id"]
        added = http.post("/v1/collections/default/documents", json={"media_id": medium})
        assert added.status_code in {200, 201}, added.text
        for model in ("all-minilm-l6-v2", _VARIANT):  # the other is routed to who has it
            embedded = http.post("/v1/embeddings", json={"model": model, "input": ["a cat", "a dog"]})
            assert (embedded.status_code, embedded.json()["model"]) == (200, model), embedded.text
        query = {"query": {"type": "text", "content": "a cat"}, "top_k": 3}
        found = http.post("/v1/search", json=query)
        assert [hit["id"] for hit in found.json()["results"]] == [added.json()["id"]], found.text
        parts = [{"type": "image_url", "image_url": {"url": medium}}, {"type": "text", "text": "What?"}]
        hello = {"model": "default", "messages": [{"role": "user", "content": parts}], "max_tokens": 3}
        answer = http.post("/v1/chat/completions", json=hello)
        assert answer.status_code == 200, answer.text
        assert answer.json()["manymodal"]["media"][0]["id"] == medium
    haproxies = [one for one in psutil.Process().children(recursive=True) if one.name() == "haproxy"]
    listening = [
        socket.laddr.ip
        for one in haproxies
        for socket in one.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


async def test_who_is_refused_in_a_spike_hears_when_to_come_back_and_nobody_admitted_is_dropped(
    paced: PacedPlatform,
) -> None:
    phases = await spike(paced.base_url, peak_per_second=20.0, seconds=3.0, tokens=_TOKENS)
    for phase in phases.values():
        assert phase.dropped == 0, [answer.message for answer in phase.answers if answer.message]
        assert phase.wrongly_refused == 0, [answer.message for answer in phase.answers if answer.message]
    assert any(answer.ended == "refused" for answer in phases["spike"].answers)
    assert any(answer.ended == "complete" for answer in phases["spike"].answers)


async def test_the_engine_gets_a_second_replica_under_load_and_gives_it_back(paced: PacedPlatform) -> None:
    seen = await follow(paced, [(8.0, 0.0, 2.0)], _TOKENS, watched=("engine",), until_most=2)
    assert seen.most("engine") == 2
    assert seen.last("engine") == 1
    assert {answer.ended for answer in seen.answers} == {"complete"}


async def test_an_update_loses_and_doubles_no_token(paced: PacedPlatform) -> None:
    after = Pace(tokens=400, tokens_per_second=10.0, version="2")
    seen = await update_under_streams(paced, after, _STREAMS, _LONG_TOKENS, short_per_second=2.0)
    messages = [answer.message for answer in (*seen.long, *seen.short) if answer.message]
    assert (seen.dropped, seen.failed) == (0, 0), messages
    assert (seen.lost, seen.doubled) == (0, 0)
    assert sum(len(answer.numbers) for answer in seen.long) == _STREAMS * _LONG_TOKENS
