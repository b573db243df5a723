"""Clients that dribble, stop, or do not read: they are given up, and nobody else notices. On real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
from fake_platform import Platform, build_platform, serving

from serving.config import RequestLimits
from serving.errors import RequestTooSlow
from serving.impatient_http import impatient, install
from serving.slow_clients import SlowClients

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CHAT = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def hasty(tmp_path, config) -> Callable[..., Platform]:
    def build(**limits: float) -> Platform:
        return build_platform(tmp_path, replace(config, limits=replace(config.limits, **limits)))

    return build


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the body of an answer after which the server closes the connection."""
    async with asyncio.timeout(20):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split()[1]), body


async def test_a_body_that_stops_is_given_up(hasty):
    platform = hasty(body_idle_seconds=0.2)
    with serving(platform) as url:
        async with connection(url) as (reader, writer):
            writer.write(HEAD + b"content-length: 100\r\n\r\n{")
            status, body = await answer_of(reader)
        assert status == 408
        assert json.loads(body)["error"]["code"] == "request_timeout"
        async with connection(url) as (reader, writer):  # an upload leaves nothing
            writer.write(
                b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 90000\r\n"
                b"content-type: multipart/form-data; boundary=x\r\n\r\n"
                b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(5000)
            )
            assert (await answer_of(reader))[0] == 408
        assert not list((platform.root / "spool").iterdir())


async def test_a_body_that_dribbles_is_given_up_and_a_slow_one_is_not(hasty):
    platform = hasty(body_idle_seconds=0.3, min_body_bytes_per_second=1000)
    body = json.dumps(CHAT).encode()

    async def sent(writer: asyncio.StreamWriter, size: int, pause_seconds: float) -> None:
        for at in range(0, len(body), size):
            writer.write(body[at : at + size])
            await asyncio.sleep(pause_seconds)

    with serving(platform) as url:
        head = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        async with connection(url) as (reader, writer):
            writer.write(head)
            dribbling = asyncio.create_task(sent(writer, 1, 0.05))
            status, answer = await answer_of(reader)
            dribbling.cancel()
        assert status == 408
        assert "min_body_bytes_per_second" in json.loads(answer)["error"]["message"]
        async with connection(url) as (reader, writer):
            writer.write(head)
            await sent(writer, 40, 0.05)
            assert (await answer_of(reader))[0] == 200


async def test_two_hundred_dribbling_heads_harm_nobody_and_are_closed(hasty):
    platform = hasty()
    with serving(platform, http=impatient(0.5, 30)) as url:
        async with contextlib.AsyncExitStack() as stack, httpx2.AsyncClient(base_url=url) as http:
            slow = [await stack.enter_async_context(connection(url)) for _ in range(200)]
            for _, writer in slow:
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-a: ")
            for _ in range(5):
                for _, writer in slow:
                    writer.write(b"b")
                answer = await http.post("/v1/chat/completions", json=CHAT)
                assert answer.status_code == 200
            async with asyncio.timeout(20):
                for reader, _ in slow:
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
            # A connection that is kept for a next request has the same time for its head.
            reader, writer = await stack.enter_async_context(connection(url))
            writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea")
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    assert (await reader.read()).count(b"HTTP/1.1 200") == 1


async def test_a_head_without_end_is_cut_off(hasty):
    with serving(hasty(), http=impatient(30, 30)) as url:
        async with connection(url) as (reader, writer):
            writer.write(b"GET /health HTTP/1.1\r\nx: ")
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    for _ in range(1000):
                        writer.write(b"y" * 65536)
                        await writer.drain()
                    assert await reader.read() == b""
                raise AssertionError("64 MiB of head were taken")


async def test_a_reader_that_stops_loses_its_connection(hasty):
    """Also with an answer that the server has written as a whole, and waits for nobody to take."""
    platform = hasty(stall_timeout_seconds=0.5, max_file_bytes=64 << 20, max_media_bytes=64 << 20)
    content = bytes(range(256)) * (16 << 12)
    with serving(platform, http=impatient(30, 0.5)) as url:
        async with httpx2.AsyncClient(base_url=url) as http:
            files = {"file": ("a", content)}
            made = await http.post("/v1/files", files=files, data={"purpose": "user_data"})
            path = f"/v1/files/{made.json()['id']}/content"
            assert (await http.get(path)).content == content
        async with connection(url) as (reader, writer):
            reader._limit = 1 << 10  # takes a little, and then nothing
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            await asyncio.sleep(2.5)
            reader._limit = 1 << 30
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    assert len(await reader.read()) < len(content)


async def test_an_answer_in_one_piece_has_a_time_limit_too():
    """Whatever the route: pieces of 256 KiB must be taken in time, and an answer ends where they are not."""
    limits = RequestLimits(stall_timeout_seconds=0.1)
    sent: list[int] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(1 << 20)})
        raise AssertionError("nobody takes it")

    async def send(message):
        sent.append(len(message.get("body", b"")))
        if len(sent) == 4:
            await asyncio.Event().wait()

    scope = {"type": "http", "headers": []}
    await SlowClients(app, limits)(scope, send, send)  # ends, without an error
    assert sent == [0, 256 << 10, 256 << 10, 256 << 10]


async def test_only_waiting_counts():
    """A route that takes its time with a body is not the client's fault, and neither is one whose body is whole."""
    limits = RequestLimits(body_idle_seconds=0.1, min_body_bytes_per_second=1e9)
    parts = [b"a", b"b"]

    async def receive():
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    async def app(scope, receive, send):
        await receive()
        await asyncio.sleep(0.2)
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    await SlowClients(app, limits)({"type": "http", "headers": []}, receive, receive)
    parts = [b"a"]
    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}

    async def stops():
        await asyncio.Event().wait()

    async def reads(scope, receive, send):
        with pytest.raises(RequestTooSlow):
            await receive()

    await SlowClients(reads, limits)(scope, stops, stops)


def test_servers_made_from_now_on_are_impatient(monkeypatch):
    import uvicorn.config

    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", protocols := dict(uvicorn.config.HTTP_PROTOCOLS))
    monkeypatch.setattr("serving.impatient_http.HTTP_PROTOCOLS", protocols)
    install(7.0, 8.0)
    made = uvicorn.Config(None)
    made.load()
    assert made.http_protocol_class.head_seconds == 7.0
    assert made.http_protocol_class.stall_seconds == 8.0
