"""What a tenant's policy keeps out: prompts, answers, what is stored and indexed, queries; and what it costs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client
from fake_services import fake_mp4, fake_png, fake_wav

from encoders.errors import EncoderOverloaded
from serving.auth import current_tenant
from serving.config import GatewayConfig
from serving.moderation.policy import ModerationPolicy, Place
from serving.tenant_settings import TenantSettings

Build = Callable[..., Platform]

SHOWS = fake_png(sexual=0.9)
WRITTEN = fake_png(text=("you idiot",))
SPOKEN = fake_wav((0, 1, "they are vermin"))
FILM = fake_mp4([{"cat": 0.9}, {"nude": 0.9}], sound=False)
FINE = fake_png()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def shown(data: bytes) -> dict[str, Any]:
    if data is SPOKEN:
        return {
            "type": "input_audio",
            "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"},
        }
    kind = "video_url" if data is FILM else "image_url"
    return {"type": kind, kind: {"url": data_url(data)}}


@pytest.fixture
def guarded(tmp_path: Path, config: GatewayConfig) -> Build:
    """A platform whose tenants have a policy for these places."""

    def build(*places: Place, **changes: Any) -> Platform:
        policy = ModerationPolicy(frozenset(places))
        wanted = replace(config, tenant_defaults=TenantSettings(moderation=policy), **changes)
        return build_platform(tmp_path, wanted)

    return build


def refused(answer: httpx2.Response, category: str, param: str | None) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "content_policy_violation", param)
    assert f"'{category}'" in error["message"]


async def chat(http: httpx2.AsyncClient, content: Any, **more: Any) -> httpx2.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": content}], **more}
    return await http.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize(
    ("content", "category", "param"),
    [
        ("you idiot", "harassment", "messages"),
        ([{"type": "text", "text": "I will kill you"}], "harassment/threatening", "messages"),
        ([shown(FINE), shown(SHOWS)], "sexual", "messages[0].content[1]"),
        ([shown(WRITTEN)], "harassment", "messages[0].content[0]"),
        ([shown(SPOKEN)], "hate", "messages[0].content[0]"),
        ([shown(FILM)], "sexual", "messages[0].content[0]"),
    ],
)
async def test_prompts_are_kept_from_the_engine(
    guarded: Build, content: Any, category: str, param: str
) -> None:
    platform = guarded("chat_input")
    async with http_client(platform) as http:
        for stream in (False, True):
            refused(await chat(http, content, stream=stream), category, param)
        assert platform.engine.requests == []
        assert (await chat(http, [{"type": "text", "text": "a cat?"}, shown(FINE)])).status_code == 200
    counted = platform.gateway.metrics.registry.get_sample_value(
        "manymodal_moderation_refused_total", {"place": "chat_input", "category": category}
    )
    assert counted == 2


FUNCTION = {
    "name": "f",
    "description": "Tell them.",
    "parameters": {"type": "object", "properties": {"a": {"enum": ["fine", "idiot"]}}},
}
CALL = {"id": "c", "type": "function", "function": {"name": "idiot", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "name": "idiot", "content": "Hi"}]}, "messages"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c", "content": "Fine"},
                ]
            },
            "messages",
        ),
        ({"tools": [{"type": "function", "function": FUNCTION}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "idiot"}}]}, "tools"),
        ({"functions": [FUNCTION]}, "functions"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"properties": {"idiot": {"type": "string"}}}},
                }
            },
            "response_format",
        ),
    ],
)
async def test_all_that_stands_in_the_prompt_is_judged(
    guarded: Build, body: dict[str, Any], param: str
) -> None:
    platform = guarded("chat_input")
    wanted = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], **body}
    async with http_client(platform) as http:
        answer = await http.post("/v1/chat/completions", json=wanted)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["code"] == "content_policy_violation"
    assert platform.engine.requests == []


async def test_no_more_is_judged_than_a_prompt_may_hold(guarded: Build) -> None:
    platform = guarded("chat_input")
    for length, status in ((2000, 200), (2001, 400)):
        tool = {
            "type": "function",
            "function": {"name": "f", "description": "x" * (length - 11)},
        }  # and "function", "f"
        async with http_client(platform) as http:
            answer = await chat(http, "Hi", tools=[tool])
        assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == "tools"
    assert max(map(len, platform.perception.judged)) == 2000


async def test_parts_of_a_message_are_judged_together(guarded: Build) -> None:
    platform = guarded("chat_input")
    words = [{"type": "text", "text": text} for text in ("I will kill", "you")]
    async with http_client(platform) as http:
        await chat(http, words)
    assert platform.perception.judged == ["I will kill\nyou"]


async def test_every_role_and_earlier_turn_counts_and_is_judged_once(guarded: Build) -> None:
    platform = guarded("chat_input")
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
    ]
    async with http_client(platform) as http:
        for question in ("And?", "And then?"):
            turns.append({"role": "user", "content": question})
            answer = await http.post("/v1/chat/completions", json={"model": "default", "messages": turns})
            assert answer.status_code == 200
        assert platform.perception.judged == ["Be kind.", "Hello", "Hello!", "And?", "And then?"]
        turns[2]["content"] = "idiot"
        answer = await http.post("/v1/chat/completions", json={"model": "default", "messages": turns})
        refused(answer, "harassment", "messages")


async def test_without_a_policy_nothing_is_asked(platform: Platform) -> None:
    platform.engine.words = ("you ", "idiot")
    async with http_client(platform) as http:
        assert "idiot" in (await chat(http, "you idiot")).text
        assert "idiot" in (await chat(http, [shown(SHOWS)], stream=True)).text
        assert (await http.post("/v1/media", files={"file": ("a.png", SHOWS)})).status_code == 200
    assert not [name for name in platform.perception.calls if name.startswith("moderate")]
    assert "continuous_usage_stats" not in json.dumps(platform.engine.requests)


@pytest.fixture
async def answering(guarded: Build) -> AsyncIterator[tuple[Platform, openai.AsyncOpenAI]]:
    platform = guarded("chat_output")
    async with openai_client(http_client(platform)) as client:
        yield platform, client


async def streamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, list[str], Any]:
    """The text, how it ended, and the usage that was told."""
    text, ends, usage = "", [], None
    messages = [{"role": "user", "content": "Hi"}]
    async for chunk in await client.chat.completions.create(
        model="default",
        messages=messages,
        stream=True,
        **more,
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            ends += [choice.finish_reason] if choice.finish_reason else []
    return text, ends, usage


async def test_a_whole_answer_that_is_refused_says_nothing(
    answering: tuple[Platform, openai.AsyncOpenAI],
) -> None:
    platform, client = answering
    platform.engine.words = ("You ", "are ", "an ", "idiot.")
    answer = await client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": "you idiot"}]
    )
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content is None
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    assert "idiot" not in answer.model_dump_json()


async def test_a_stream_ends_before_what_is_refused_and_the_engine_stops(
    answering: tuple[Platform, openai.AsyncOpenAI],
) -> None:
    platform, client = answering
    words = [f"word{number} " for number in range(30)]
    platform.engine.words = (*words, "you ", "are ", "an ", "id", "iot ", *words * 50)
    platform.engine.pause_seconds = 0.001
    text, ends, _ = await streamed(client)
    assert ends == ["content_filter"]
    assert "".join(words).startswith(text)
    assert len(text.split()) >= 20
    await asyncio.wait_for(platform.engine.closed.wait(), 5)
    assert platform.engine.running == 0
    judged = " ".join(platform.perception.judged)
    assert "id " not in judged  # no word by its half
    assert len(platform.perception.judged) < 30  # pieces grow


async def test_a_stream_that_is_let_through_is_what_the_engine_wrote(
    answering: tuple[Platform, openai.AsyncOpenAI],
) -> None:
    platform, client = answering
    platform.engine.words = tuple(f"word{number} " for number in range(40))
    text, ends, usage = await streamed(client, stream_options={"include_usage": True})
    assert text == "".join(platform.engine.words)
    assert ends == ["stop"]
    assert usage is not None
    assert platform.engine.requests[-1]["stream_options"]["continuous_usage_stats"] is True


@pytest.mark.parametrize("stop", ["die_after", "error_after"])
async def test_an_engine_that_breaks_off_is_told_after_what_may_be_shown(
    answering: tuple[Platform, openai.AsyncOpenAI], stop: str
) -> None:
    platform, client = answering
    setattr(platform.engine, stop, 2)
    with pytest.raises(openai.APIError):
        await streamed(client)
    async with http_client(platform) as http:
        answer = await chat(http, "Hi", stream=True)
    assert '"content":"A "' in answer.text
    assert "10.0.0.3" not in answer.text
    assert platform.engine.running == 0


async def test_when_nobody_can_judge_nothing_is_shown(
    answering: tuple[Platform, openai.AsyncOpenAI],
) -> None:
    platform, client = answering
    platform.perception.failure = EncoderOverloaded("The queue is full.")
    async with http_client(platform) as http:
        answer = await chat(http, "Hi", stream=True)
        assert '"content":"A' not in answer.text
        assert "encoders_overloaded" in answer.text
        assert (await chat(http, "Hi")).status_code == 503
    assert platform.engine.running == 0
    with pytest.raises(openai.APIError):
        await streamed(client)


async def test_a_policy_without_models_lets_nothing_pass(guarded: Build) -> None:
    platform = guarded("chat_input", "ingest", moderation_text=None, moderation_image=None)
    async with http_client(platform) as http:
        answer = await chat(http, "a cat")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert (await http.post("/v1/media", files={"file": ("a.png", FINE)})).status_code == 503
    assert platform.stored_files() == 0


@pytest.mark.parametrize(
    ("name", "data", "category"),
    [
        ("a.png", SHOWS, "sexual"),
        ("a.mp4", FILM, "sexual"),
        ("a.txt", b"they are vermin, all of them", "hate"),
    ],
)
async def test_uploads_that_are_refused_leave_nothing(
    guarded: Build, name: str, data: bytes, category: str
) -> None:
    platform = guarded("ingest")
    async with http_client(platform) as http:
        files = {"file": (name, data)}
        refused(await http.post("/v1/files", files=files, data={"purpose": "user_data"}), category, "file")
        if not name.endswith("txt"):
            refused(await http.post("/v1/media", files=files), category, "file")
            answer = await http.post("/v1/media", json={"data": data_url(data)})
            refused(answer, category, "data")
        fine = await http.post("/v1/files", files={"file": ("b.png", FINE)}, data={"purpose": "user_data"})
        assert fine.status_code == 200
        lines = b'{"text": "they are vermin"}\n'  # judged when they are worked on
        answer = await http.post("/v1/files", files={"file": ("l.jsonl", lines)}, data={"purpose": "batch"})
        assert answer.status_code == 200
    assert len(platform.stored_keys("blobs/")) == 2


async def test_an_upload_in_parts_is_refused_when_it_is_completed(guarded: Build) -> None:
    platform = guarded("ingest")
    async with http_client(platform) as http:
        wanted = {"filename": "a.png", "purpose": "user_data", "bytes": len(SHOWS), "mime_type": "image/png"}
        upload = (await http.post("/v1/uploads", json=wanted)).json()["id"]
        part = await http.post(f"/v1/uploads/{upload}/parts", files={"data": ("p", SHOWS)})
        done = await http.post(f"/v1/uploads/{upload}/complete", json={"part_ids": [part.json()["id"]]})
        refused(done, "sexual", None)
    assert platform.stored_keys("blobs/") == []
    assert platform.stored_files() == 0


async def test_video_questions_pass_the_same_gate(guarded: Build) -> None:
    platform = guarded("chat_input")
    async with http_client(platform) as http:
        body = {"video_url": data_url(FILM, "video/mp4"), "prompt": "What is this?"}
        refused(await http.post("/v1/video/analyze", json=body), "sexual", "video_url")
        body = {"video_url": data_url(fake_mp4([{"cat": 0.9}]), "video/mp4"), "prompt": "Who is the idiot?"}
        answer = await http.post("/v1/video/analyze", json=body)
        assert answer.json()["error"]["code"] == "content_policy_violation"


async def test_documents_are_held_against_the_policy_with_what_was_found_in_them(guarded: Build) -> None:
    platform = guarded("ingest")
    async with http_client(platform) as http:

        async def add(**body: Any) -> httpx2.Response:
            return await http.post("/v1/collections/default/documents", json=body)

        refused(await add(text="you idiot"), "harassment", "text")
        for data, category in ((WRITTEN, "harassment"), (SPOKEN, "hate")):
            # What it shows is fine, so it may be stored; what is found in it is not searchable.
            stored = await http.post("/v1/media", files={"file": ("a", data)})
            refused(await add(media_id=stored.json()["id"]), category, "media_id")
            refused(await add(media_id=stored.json()["id"], text="a cat"), category, "media_id")
            refused(await add(media_id=stored.json()["id"], text="vermin"), "hate", "text")
        assert (await add(text="a cat")).status_code == 200
        listed = await http.get("/v1/collections/default/documents")
    assert len(listed.json()["data"]) == 1


async def test_items_of_bulk_ingest_fail_one_by_one_and_leave_nothing(guarded: Build) -> None:
    platform = guarded("ingest")
    documents = [
        *({"file": name} for name in ("fine", "written", "shows", "spoken", "film")),
        {"text": "a dog"},
        {"text": "an idiot"},
    ]
    brought = {"fine": FINE, "written": WRITTEN, "shows": SHOWS, "spoken": SPOKEN, "film": FILM}
    async with http_client(platform) as http:
        answer = await http.post(
            "/v1/collections/c/documents/batch",
            files={name: (name, data) for name, data in brought.items()},
            data={"request": json.dumps({"documents": documents, "ocr": "on"})},
        )
    assert answer.status_code == 200, answer.text
    ends = [(one["status"], (one["error"] or {}).get("code")) for one in answer.json()["data"]]
    no = ("failed", "content_policy_violation")
    assert ends == [("indexed", None), no, no, no, no, ("indexed", None), no]
    assert len(platform.stored_keys("blobs/")) == 1


@pytest.mark.parametrize(
    ("query", "category", "param"),
    [
        ({"query": {"type": "text", "content": "vermin"}}, "hate", "query.content"),
        ({"query": {"type": "text", "content": "vermin"}, "mode": "text"}, "hate", "query.content"),
        (
            {"query": [{"type": "text", "content": "cat"}, {"type": "image", "content": data_url(SHOWS)}]},
            "sexual",
            "query[1].content",
        ),
        ({"query": {"type": "audio", "content": data_url(SPOKEN, "audio/wav")}}, "hate", "query.content"),
        (
            {"query": {"type": "mixed", "content": [{"type": "text", "content": "you idiot"}]}},
            "harassment",
            "query.content",
        ),
    ],
)
async def test_queries_are_held_against_the_policy(
    guarded: Build, query: dict[str, Any], category: str, param: str
) -> None:
    platform = guarded("search")
    async with http_client(platform) as http:
        await http.post(
            "/v1/collections/default/documents", json={"text": "you idiot"}
        )  # not a place of this policy
        refused(await http.post("/v1/search", json=query), category, param)
        fine = await http.post("/v1/search", json={"query": {"type": "text", "content": "cat"}})
        assert fine.status_code == 200


async def test_policies_are_each_tenants_own(guarded: Build) -> None:
    platform = guarded("chat_input")
    own = {"moderation": {"places": ["chat_input"], "thresholds": {"harassment": 1.0}}}
    platform.app.dependency_overrides[current_tenant] = lambda: "other"
    async with http_client(platform) as http:
        assert (await http.put("/v1/tenants/other", json=own)).status_code == 200
        for threshold in (True, "1"):
            wrong = {"moderation": {"threshold": threshold}}
            assert (await http.put("/v1/tenants/other", json=wrong)).status_code == 400
        assert (await chat(http, "you idiot")).status_code == 200
        refused(await chat(http, "vermin"), "hate", "messages")
        platform.app.dependency_overrides.clear()
        refused(await chat(http, "you idiot"), "harassment", "messages")
