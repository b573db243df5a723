"""Batches over HTTP: the official client, each end a batch can have, and what its files hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from batch_files import (
    CHAT,
    EMBEDDINGS,
    FAST,
    answering_began,
    batch_line,
    created,
    ended,
    lines_of_file,
    uploaded,
)
from fake_platform import Platform, build_platform, http_client
from openai_spec import openai_spec

from serving.config import GatewayConfig


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    return replace(config, batches=FAST)


@pytest.fixture
async def platform(tmp_path: Path, config: GatewayConfig) -> AsyncIterator[Platform]:
    platform = build_platform(tmp_path, config)
    yield platform
    await platform.gateway.batches.runner.aclose()


async def test_the_official_client_has_requests_answered_exactly_as_if_they_were_sent(
    client: openai.AsyncOpenAI, http: httpx2.AsyncClient
) -> None:
    lines = [batch_line(f"question {number}", CHAT, seed=number) for number in range(5)]
    lines.append(batch_line("wrong", CHAT, temperature=9))
    data = "\n\n".join(json.dumps(line) for line in lines).encode()  # blank lines, and none at the end
    file = await client.files.create(file=("requests.jsonl", data), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"night": "first"},
    )
    assert (batch.status, batch.metadata, batch.input_file_id) == ("validating", {"night": "first"}, file.id)
    await ended(http, {"id": batch.id})
    batch = await client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.usage is not None
    assert batch.request_counts.to_dict() == {"total": 6, "completed": 5, "failed": 1}
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (1000, 15)
    assert batch.model == "smollm2-135m-instruct"
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    answers = await lines_of_file(http, batch.output_file_id)
    assert sorted(one["custom_id"] for one in answers) == [f"question {number}" for number in range(5)]
    direct = (await http.post(CHAT, json=lines[0]["body"])).json()
    for one in answers:
        assert one["error"] is None
        assert one["id"].startswith("batch_req_")
        assert one["response"]["status_code"] == 200
        assert one["response"]["request_id"].startswith("req_")
        assert one["response"]["body"].keys() == direct.keys()
        assert one["response"]["body"]["choices"] == direct["choices"]
    (refused,) = await lines_of_file(http, batch.error_file_id)
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["param"] == "temperature"
    output = await client.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert output.expires_at == output.created_at + 30 * 24 * 3600
    listed = [one.id async for one in client.batches.list(limit=1)]
    assert listed == [batch.id]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ("/v1/responses", {"input": "Hello"}),
        ("/v1/embeddings", {"input": "Hello"}),
        ("/v1/moderations", {"input": "Hello"}),
    ],
)
async def test_every_endpoint_that_may_be_named_answers(
    http: httpx2.AsyncClient, endpoint: str, body: dict[str, Any]
) -> None:
    if endpoint != "/v1/moderations":
        body["model"] = "all-minilm-l6-v2" if endpoint == EMBEDDINGS else "default"
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    batch = await ended(http, await created(http, [line], endpoint))
    assert batch["request_counts"]["completed"] == 1, await lines_of_file(http, batch["error_file_id"])
    (answered,) = await lines_of_file(http, batch["output_file_id"])
    direct = (await http.post(endpoint, json=body)).json()
    assert answered["response"]["body"].keys() == direct.keys()


async def test_answers_are_openais(http: httpx2.AsyncClient) -> None:
    spec = openai_spec()
    good = await ended(http, await created(http, [batch_line("a")], metadata={"a": "b"}))
    bad = await ended(http, await created(http, b"no json\n"))
    for batch in (good, bad):
        assert spec.problems("Batch", batch) == []
        assert spec.unknown("Batch", batch) == set()
    page = (await http.get("/v1/batches")).json()
    assert spec.problems("ListBatchesResponse", page) == []


async def test_pages_are_of_the_newest_first(http: httpx2.AsyncClient) -> None:
    made = []
    for number in range(3):
        made.append((await ended(http, await created(http, [batch_line(f"t{number}")])))["id"])
        await asyncio.sleep(0.002)  # ids are in order of milliseconds
    first = (await http.get("/v1/batches?limit=2")).json()
    assert [one["id"] for one in first["data"]] == made[:0:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[2], made[1], True)
    rest = (await http.get(f"/v1/batches?limit=2&after={made[1]}")).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[:1], False)


@pytest.mark.parametrize("part", ["record", "log"])
async def test_a_damaged_batch_is_in_nobodys_way(
    http: httpx2.AsyncClient, platform: Platform, part: str
) -> None:
    store, batches = platform.gateway.batches.store._objects, []
    for number in range(3):
        batches.append((await ended(http, await created(http, [batch_line(f"t{number}")])))["id"])
        await asyncio.sleep(0.002)  # ids are in order of milliseconds
    folder = "batches/default/records/" if part == "record" else f"batches/default/log/{batches[1]}/"
    damaged = next(info.key for info in store.list(folder) if batches[1] in info.key)
    store.put(damaged, b"{}")
    page = (await http.get("/v1/batches?limit=2")).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([batches[2], batches[0]], False)
    assert (await http.get(f"/v1/batches/{batches[1]}")).status_code == 500


async def test_what_cannot_be_a_batch_is_refused(http: httpx2.AsyncClient) -> None:
    body = {
        "input_file_id": await uploaded(http, [batch_line("a")]),
        "endpoint": EMBEDDINGS,
        "completion_window": "24h",
    }
    refused: list[tuple[dict[str, Any], str | None, str | None]] = [
        ({"endpoint": "/v1/videos"}, "endpoint", None),
        ({"completion_window": "48h"}, "completion_window", None),
        ({"input_file_id": "file-" + "0" * 32}, None, "media_not_found"),
        ({"input_file_id": "../x"}, None, "media_not_found"),
        ({"metadata": {"a" * 65: "b"}}, None, None),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", None),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, None, None),
        ({"priority": 1}, "priority", "unknown_parameter"),
    ]
    for change, param, code in refused:
        answer = await http.post("/v1/batches", json={**body, **change})
        assert answer.status_code == (404 if code == "media_not_found" else 400)
        error = answer.json()["error"]
        assert param is None or error["param"] == param
        assert code is None or error["code"] == code
    assert (await http.get("/v1/batches")).json()["data"] == []


async def test_a_file_of_another_purpose_is_refused(http: httpx2.AsyncClient) -> None:
    file_id = await uploaded(http, [batch_line("a")], purpose="user_data")
    body = {"input_file_id": file_id, "endpoint": EMBEDDINGS, "completion_window": "24h"}
    answer = await http.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")


async def test_a_file_that_is_wrong_fails_with_the_lines_that_are(http: httpx2.AsyncClient) -> None:
    lines = [
        json.dumps(batch_line("a")),
        '{"custom_id": "b"',
        json.dumps({**batch_line("c"), "method": "GET"}),
        "",
        json.dumps(batch_line("a")),
        json.dumps(batch_line("d", CHAT)),
        json.dumps(batch_line("e", model="other")),
        json.dumps({"custom_id": "never looked at"}),
    ]
    batch = await ended(http, await created(http, "\n".join(lines).encode()))
    assert batch["status"] == "failed"
    assert {"failed_at", "errors"} < batch.keys()
    assert not batch.keys() & {"output_file_id", "error_file_id", "in_progress_at"}
    found = [(one["line"], one["code"], one.get("param")) for one in batch["errors"]["data"]]
    assert found == [
        (2, "invalid_json_line", None),
        (3, "invalid_method", "method"),
        (5, "duplicate_custom_id", "custom_id"),
        (6, "mismatched_url", "url"),
        (7, "mismatched_model", "body.model"),
    ]


async def test_as_many_requests_as_may_be_pass_and_one_more_does_not(http: httpx2.AsyncClient) -> None:
    most = [batch_line(f"t{number}") for number in range(FAST.max_requests)]
    batch = await ended(http, await created(http, most))
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", FAST.max_requests)
    batch = await ended(http, await created(http, [*most, batch_line("more")]))
    assert [one["code"] for one in batch["errors"]["data"]] == ["too_many_tasks"]


@pytest.mark.parametrize("spare", [-1, 0, 1])
async def test_a_file_may_be_so_large(tmp_path: Path, config: GatewayConfig, spare: int) -> None:
    data = json.dumps(batch_line("a")).encode()
    limited = replace(config, batches=replace(FAST, max_file_bytes=len(data) + spare))
    platform = build_platform(tmp_path, limited)
    async with http_client(platform) as http:
        body = {
            "input_file_id": await uploaded(http, data),
            "endpoint": EMBEDDINGS,
            "completion_window": "24h",
        }
        answer = await http.post("/v1/batches", json=body)
    await platform.gateway.batches.runner.aclose()
    assert answer.status_code == (200 if spare >= 0 else 400)


async def test_busy_services_are_asked_again(http: httpx2.AsyncClient, platform: Platform) -> None:
    platform.engine.unavailable_times = 5
    batch = await ended(http, await created(http, [batch_line(f"t{n}", CHAT) for n in range(3)], CHAT))
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_services_that_stay_away_are_given_up_request_by_request(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    platform.engine.unavailable_times = 1000
    batch = await ended(http, await created(http, [batch_line("a", CHAT)], CHAT))
    assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 1)
    (line,) = await lines_of_file(http, batch["error_file_id"])
    assert line["response"]["status_code"] == 503
    assert 1000 - platform.engine.unavailable_times == 2 * FAST.attempts  # the gateway itself asks twice


async def test_a_cancelled_batch_gives_what_was_answered(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    answer = platform.engine.request
    lines = [batch_line(f"t{number}", CHAT) for number in range(12)]

    async def stalls(method: str, path: str, headers: Any, body: bytes, attachments: Any = ()) -> Any:
        if len(platform.engine.requests) >= 3:
            platform.engine.stall_after = 0
        async for piece in answer(method, path, headers, body, attachments):
            yield piece

    platform.engine.request = stalls
    batch = await created(http, lines, CHAT)
    await answering_began(platform, 3 + FAST.workers)
    stopping = (await http.post(f"/v1/batches/{batch['id']}/cancel")).json()
    assert stopping["status"] == "cancelling"
    assert (await http.post(f"/v1/batches/{batch['id']}/cancel")).status_code in (200, 409)
    batch = await ended(http, batch)
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    assert batch["request_counts"] == {"total": 12, "completed": 3, "failed": 9}
    assert platform.engine.running == 0, "what was under way is still asked"
    good = await lines_of_file(http, batch["output_file_id"])
    bad = await lines_of_file(http, batch["error_file_id"])
    assert sorted(one["custom_id"] for one in [*good, *bad]) == sorted(one["custom_id"] for one in lines)
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
    assert all(one["response"] is None for one in bad)
    again = await http.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "batch_conflict")


async def test_a_batch_out_of_time_gives_what_was_answered(tmp_path: Path, config: GatewayConfig) -> None:
    now = [1_800_000_000.0]
    platform = build_platform(tmp_path, config, clock=lambda: now[0])
    platform.engine.stall_after = 0
    async with http_client(platform) as http:
        batch = await created(http, [batch_line("a", CHAT)], CHAT, output_expires_after=EXPIRY)
        await answering_began(platform, 1)
        now[0] = batch["expires_at"] - 1.0
        await asyncio.sleep(0.5)
        assert (await http.get(f"/v1/batches/{batch['id']}")).json()["status"] == "in_progress"
        now[0] += 1.0
        batch = await ended(http, batch)
        assert (batch["status"], batch["expired_at"]) == ("expired", batch["expires_at"])
        (line,) = await lines_of_file(http, batch["error_file_id"])
        assert (line["custom_id"], line["error"]["code"]) == ("a", "batch_expired")
        assert "output_file_id" not in batch
        file = (await http.get(f"/v1/files/{batch['error_file_id']}")).json()
        assert file["expires_at"] == file["created_at"] + EXPIRY["seconds"]
    await platform.gateway.batches.runner.aclose()


EXPIRY: dict[str, Any] = {"anchor": "created_at", "seconds": 3600}


async def test_a_file_that_is_deleted_meanwhile_fails_the_batch(
    http: httpx2.AsyncClient, platform: Platform
) -> None:
    file_id = await uploaded(http, [batch_line("a")])
    batches = platform.gateway.batches
    view = await asyncio.to_thread(batches.create, "default", EMBEDDINGS, file_id, None, None)
    assert (await http.delete(f"/v1/files/{file_id}")).status_code == 200
    await batches.runner.look()
    batch = await ended(http, {"id": view.batch.id})
    assert batch["status"] == "failed"
    assert [one["code"] for one in batch["errors"]["data"]] == ["input_file_not_found"]


async def test_a_batch_goes_on_after_its_gateway_was_stopped(tmp_path: Path, config: GatewayConfig) -> None:
    first = build_platform(tmp_path, config)
    answer = first.engine.request

    async def stalls(method: str, path: str, headers: Any, body: bytes, attachments: Any = ()) -> Any:
        if len(first.engine.requests) >= 4:
            first.engine.stall_after = 0
        async for piece in answer(method, path, headers, body, attachments):
            yield piece

    first.engine.request = stalls
    lines = [batch_line(f"t{number}", CHAT) for number in range(10)]
    async with http_client(first) as http:
        batch = await created(http, lines, CHAT)
        await answering_began(first, 4 + FAST.workers)
        await first.gateway.batches.runner.aclose()
        left = (await http.get(f"/v1/batches/{batch['id']}")).json()
        assert (left["status"], left["request_counts"]["completed"]) == ("in_progress", 4)
    second = build_platform(tmp_path, config)
    async with http_client(second) as http:
        await second.gateway.batches.runner.look()
        batch = await ended(http, batch)
        assert batch["request_counts"] == {"total": 10, "completed": 10, "failed": 0}
        assert len(second.engine.requests) == 6
        answers = await lines_of_file(http, batch["output_file_id"])
        assert sorted(one["custom_id"] for one in answers) == sorted(one["custom_id"] for one in lines)
    await second.gateway.batches.runner.idle()
    assert second.stored_keys("batch-pending/") == []
    assert second.stored_keys("batches/default/answers/") == []


async def test_unknown_batches_are_not_found(http: httpx2.AsyncClient) -> None:
    answers = [await http.get("/v1/batches", params={"after": "x"})]
    for batch_id in ("batch_" + "0" * 32, "x", "batch_..", "%2e%2e"):
        answers.append(await http.get(f"/v1/batches/{batch_id}"))
        answers.append(await http.post(f"/v1/batches/{batch_id}/cancel"))
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "batch_not_found")
