"""Streaming over a real socket: bytes, headers, failures in the middle, clients that leave."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import httpx2
import openai
import pytest
from fake_platform import openai_client, serving
from fake_services import fake_png

MESSAGES = [{"role": "user", "content": "Hi"}]
PICTURE = f"data:image/png;base64,{base64.b64encode(fake_png()).decode()}"
ABOUT_PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]


def live_client(url: str) -> openai.AsyncOpenAI:
    return openai_client(httpx2.AsyncClient(), f"{url}/v1")


async def events_of(url: str, **body: object) -> list[str]:
    async with (
        httpx2.AsyncClient() as http,
        http.stream(
            "POST", f"{url}/v1/chat/completions", json={"model": "default", "stream": True, **body}
        ) as answer,
    ):
        text = (await answer.aread()).decode()
    assert text.endswith("\n\n")
    return [event.removeprefix("data: ") for event in text.split("\n\n")[:-1]]


async def test_text_stream_in_openai_form(live):
    async with (
        httpx2.AsyncClient() as http,
        http.stream(
            "POST",
            f"{live}/v1/chat/completions",
            json={"model": "default", "stream": True, "messages": MESSAGES},
        ) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-length" not in answer.headers
        await answer.aread()
    events = await events_of(live, messages=MESSAGES)
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "A cat sits."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert not any("usage" in chunk for chunk in chunks)


async def test_media_stream_carries_what_was_used(live):
    async with live_client(live) as client:
        stream = await client.chat.completions.create(
            model="default", messages=ABOUT_PICTURE, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    ending = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert len(ending) == 1
    assert ending[0].model_extra["manymodal"]["media"][0]["kind"] == "image"
    assert chunks[-1].usage.completion_tokens == 3
    assert chunks[-1].usage.prompt_tokens_details.model_dump()["image_tokens"] > 0
    assert not any(chunk.model_extra.get("manymodal") for chunk in chunks if chunk not in ending)


async def test_an_engine_error_in_the_middle_is_an_event(live, platform):
    platform.engine.error_after = 1
    events = await events_of(live, messages=MESSAGES)
    error = json.loads(events[-1])["error"]
    assert error["type"] == "server_error"
    assert "10.0.0.3" not in error["message"]
    assert '"last "' in events[-2]
    async with live_client(live) as client:
        stream = await client.chat.completions.create(model="default", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_an_engine_that_breaks_off_is_an_event(live, platform):
    platform.engine.die_after = 2
    events = await events_of(live, messages=MESSAGES)
    assert json.loads(events[-1])["error"]["code"] == "engine_unavailable"


async def test_a_stalled_engine_is_an_event(platform_with):
    platform = platform_with(stall_timeout_seconds=0.1)
    platform.engine.stall_after = 1
    with serving(platform) as url:
        events = await events_of(url, messages=MESSAGES)
        assert json.loads(events[-1])["error"]["code"] == "engine_stalled"
        assert platform.engine.running == 0


async def test_a_slow_but_steady_stream_is_not_a_stall(platform_with):
    platform = platform_with(stall_timeout_seconds=0.5)
    platform.engine.words = ("a ",) * 10
    platform.engine.pause_seconds = 0.1
    with serving(platform) as url:
        assert (await events_of(url, messages=MESSAGES))[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_no_first_token_in_time(platform_with, stream):
    platform = platform_with(first_token_timeout_seconds=0.1, answer_timeout_seconds=0.1)
    platform.engine.stall_after = 0

    async def never(asked: object):
        await asyncio.Event().wait()
        yield b""

    platform.engine._events = never
    with serving(platform) as url:
        async with live_client(url) as client:
            with pytest.raises(openai.InternalServerError) as failed:
                await client.chat.completions.create(model="default", messages=MESSAGES, stream=stream)
        assert failed.value.status_code == 504
        assert failed.value.code == "engine_stalled"
        assert platform.engine.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_engines_request(live, platform, stream):
    platform.engine.stall_after = 1
    leaving = asyncio.create_task(leave_after_start(live, platform, stream))
    await leaving
    await wait_for(lambda: platform.engine.running == 0)


async def leave_after_start(url: str, platform: object, stream: bool) -> None:
    reader, writer = await send_raw(url, messages=MESSAGES, stream=stream)
    await wait_for(lambda: platform.engine.running == 1)
    if stream:
        await reader.readuntil(b"data: ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_while_media_are_perceived(live, platform):
    platform.perception.wait = asyncio.Event()
    _, writer = await send_raw(live, messages=ABOUT_PICTURE)
    await wait_for(lambda: platform.perception.calls.get("probe") == 1)
    writer.close()
    await writer.wait_closed()
    async with httpx2.AsyncClient() as http:
        for _ in range(500):
            if 'status="499"' in (await http.get(f"{live}/metrics")).text:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the gateway did not notice within 10 seconds")
    assert platform.engine.requests == []
    assert platform.stored_files() == 0


async def test_a_client_that_reads_nothing_is_dropped(platform_with):
    platform = platform_with(stall_timeout_seconds=0.3)
    platform.engine.words = ("x" * 100_000,) * 200
    with serving(platform) as url:
        _, writer = await send_raw(url, messages=MESSAGES, stream=True)
        await wait_for(lambda: len(platform.engine.requests) == 1)
        await wait_for(lambda: platform.engine.running == 0)
        writer.close()
        await writer.wait_closed()


async def send_raw(url: str, **body: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A chat request on a bare connection, of which nothing has been read yet."""
    content = json.dumps({"model": "default", **body}).encode()
    # A small buffer, so that a client that reads nothing is noticed by the server soon.
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]), limit=1024)
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head.append(f"Content-Length: {len(content)}")
    writer.write("\r\n".join([*head, "", ""]).encode() + content)
    return reader, writer


async def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 seconds"
        await asyncio.sleep(0.01)
