"""Models, health, readiness and metrics."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re

import openai
import pytest
from fake_services import fake_png

from serving.errors import ServiceUnavailable


async def test_models(client):
    models = [model async for model in client.models.list()]
    names = [model.id for model in models]
    assert names == [
        "smollm2-135m-instruct",
        "whisper-base",
        "all-minilm-l6-v2",
        "efficientnet-lite2",
        "rapidocr",
        "tox-block",
        "open-nsfw",
        "hibari-heart",
    ]
    assert all(model.object == "model" and model.created > 0 for model in models)
    assert models[2].model_extra["manymodal"]["dimensions"] == 384
    assert (await client.models.retrieve("whisper-1")).id == "whisper-base"
    assert (await client.models.retrieve("default")).id == names[0]
    with pytest.raises(openai.NotFoundError) as missing:
        await client.models.retrieve("gpt-99")
    assert missing.value.code == "model_not_found"


async def test_health_and_readiness(http, platform, monkeypatch):
    assert (await http.get("/health")).status_code == 200
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    platform.engine.is_ready = False
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["deployments"] == {
        "perception": "ready",
        "search": "ready",
        "engine": "not ready",
        "storage": "ready",
    }

    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr("serving.routes.health._READY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(platform.perception, "ready", hangs)
    answer = await http.get("/ready")
    assert answer.json()["deployments"]["perception"] == "not ready"
    assert (await http.get("/health")).status_code == 200


async def test_metrics_count_requests_tokens_and_cache(client, http):
    url = f"data:image/png;base64,{base64.b64encode(fake_png()).decode()}"
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    for _ in range(2):
        await client.chat.completions.create(model="default", messages=messages)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="default", messages=[])
    stream = await client.chat.completions.create(model="default", messages=messages, stream=True)
    async for _ in stream:
        pass
    body = (await http.get("/metrics")).text

    def value(name: str, **labels: str) -> float:
        for line in body.splitlines():
            if line.startswith(name) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"{name} {labels} not in metrics")

    chat = {"endpoint": "/v1/chat/completions"}
    assert value("manymodal_requests_total", modality="image", status="200", **chat) == 3
    assert value("manymodal_requests_total", modality="none", status="400", **chat) == 1
    assert value("manymodal_request_duration_seconds_count", **chat) == 4
    assert value("manymodal_time_to_first_token_seconds_count", modality="image") == 1
    assert value("manymodal_tokens_total", direction="prompt") == 600
    assert value("manymodal_tokens_total", direction="completion") == 9
    assert value("manymodal_cache_lookups_total", task="labels", tier="miss") == 1
    assert value("manymodal_cache_lookups_total", task="labels", tier="memory") == 2
    assert value("manymodal_stage_duration_seconds_count", stage="perceive") == 3
    assert value("manymodal_errors_total") == 1
    assert value("manymodal_cache_store_failures_total") == 0
    assert value("manymodal_cache_entries") == 3
    assert "# HELP manymodal_encoder_batch_items" in body
    assert 0 < value("manymodal_cache_bytes") < value("manymodal_cache_max_bytes")
    assert "vllm:num_requests_running" in body
    assert not re.search(r"file-[0-9a-f]{8}", body)


async def test_metrics_answer_while_the_encoders_are_in_trouble(platform, http):
    platform.perception.failure = ServiceUnavailable("The encoders are restarting.")
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert "manymodal_requests_total" in answer.text
    assert "manymodal_encoder" not in answer.text


async def test_the_openapi_document_is_whole(http):
    document = (await http.get("/openapi.json")).json()
    served = set(document["paths"])
    assert {"/v1/chat/completions", "/v1/media/{media_id}/content", "/ready"} <= served
    references = set(re.findall(r'"(#/[^"]+)"', json.dumps(document)))
    assert "#/components/schemas/ChatRequest" in references
    for reference in references:
        place = document
        for step in reference[2:].split("/"):
            place = place[step]


async def test_pages_that_load_scripts_from_elsewhere_are_not_served(http):
    for path in ("/docs", "/redoc"):
        assert (await http.get(path)).status_code == 404


async def test_every_request_leaves_one_line_of_json(http, capsys, monkeypatch):
    from serving import request_log

    loggers = [logging.getLogger(name) for name in request_log._LOGGERS]
    for logger in loggers:  # put back afterwards
        monkeypatch.setattr(logger, "handlers", logger.handlers)
        monkeypatch.setattr(logger, "level", logger.level)
        monkeypatch.setattr(logger, "propagate", logger.propagate)
    await http.get("/health")
    assert capsys.readouterr().err == ""
    request_log.configure("INFO")
    request_log.configure("INFO")
    try:
        await http.post(
            "/v1/chat/completions?key=secret",
            json={"model": "default", "messages": [{"role": "user", "content": "a private matter"}]},
            headers={"x-request-id": "mine"},
        )
        logging.getLogger("storage.local").warning("disk %s", "full")
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
    request, warning = map(json.loads, capsys.readouterr().err.splitlines())
    assert request.pop("time").endswith("+00:00")
    assert request.pop("ms") > 0
    assert request == {
        "level": "INFO",
        "logger": "manymodal.requests",
        "message": "request",
        "request_id": "mine",
        "tenant": "default",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
    }
    assert (warning["logger"], warning["message"]) == ("storage.local", "disk full")
    with pytest.raises(ValueError):
        request_log.configure("LOUD")
