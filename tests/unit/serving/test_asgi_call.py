"""One call into an ASGI application: order, early ends, backpressure, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from serving.engines.asgi import AsgiApp, call_asgi
from serving.errors import EngineUnavailable
from serving.services import EngineResponse

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"test")]}


def chunk(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def call(app: AsgiApp, body: bytes = b"") -> AsyncGenerator[EngineResponse | bytes, None]:
    return call_asgi(app, "POST", "/v1/x", {"Content-Type": "text/plain"}, body)


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_the_request_arrives_and_the_answer_comes_back_in_order() -> None:
    async def echo(scope: Any, receive: Receive, send: Send) -> None:
        assert (scope["method"], scope["path"]) == ("POST", "/v1/x")
        assert scope["headers"] == [(b"content-type", b"text/plain")]
        message = await receive()
        assert not message["more_body"]
        await send(HEAD)
        await send(chunk(message["body"]))
        await send(chunk(b"", more=False))

    items = [item async for item in call(echo, b"hello")]
    assert items == [EngineResponse(200, (("x-kind", "test"),)), b"hello"]


async def test_chunks_that_pile_up_are_joined() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(HEAD)
        for number in range(5):
            await send(chunk(b"%d" % number))
        await go_on.wait()
        await send(chunk(b"end", more=False))

    async with aclosing(call(app)) as answer:
        assert isinstance(await anext(answer), EngineResponse)
        assert await anext(answer) == b"01234"
        go_on.set()
        assert [item async for item in answer] == [b"end"]


async def test_leaving_early_is_a_disconnect_and_never_a_cancellation() -> None:
    seen: list[Any] = []
    finished = asyncio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send(HEAD)
        try:
            seen.append(await receive())
            await send(chunk(b"nobody reads this"))
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finished.set()

    answer = call(app)
    await anext(answer)
    await answer.aclose()
    await asyncio.wait_for(finished.wait(), 30)
    assert seen == [{"type": "http.disconnect"}]


async def test_a_cancelled_reader_does_not_cancel_the_application() -> None:
    finished = asyncio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        finished.set()

    reading = asyncio.create_task(anext(call(app)))
    await settle()
    reading.cancel()
    await asyncio.wait({reading})
    await asyncio.wait_for(finished.wait(), 30)
    assert reading.cancelled()


@pytest.mark.parametrize("leaves", [False, True])
async def test_an_application_far_ahead_of_its_reader_waits(leaves: bool) -> None:
    sent = 0
    block = bytes(256 << 10)

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(HEAD)
        for number in range(20):
            await send(chunk(block, more=number < 19))
            sent += 1

    answer = call(app)
    await anext(answer)
    await settle()
    assert sent == 5  # the one that passes 1 MiB is the last
    if leaves:
        await answer.aclose()
    else:
        assert len(await anext(answer)) == 5 * len(block)
        await settle()
        assert sent == 10
        assert sum([len(item) async for item in answer]) == 15 * len(block)
    await settle()
    assert sent == 20


async def test_a_failure_before_the_head(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise ValueError("secret path /x")

    with pytest.raises(EngineUnavailable) as caught:
        await anext(call(app))
    assert "secret" not in str(caught.value)
    assert "secret path /x" in caplog.text


async def test_a_failure_midway_comes_after_what_was_sent() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send(chunk(b"begun"))
        raise ValueError("broken")

    answer = call(app)
    assert isinstance(await anext(answer), EngineResponse)
    assert await anext(answer) == b"begun"
    with pytest.raises(EngineUnavailable):
        await anext(answer)


async def test_an_application_that_just_ends_has_failed() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send(chunk(b"begun"))

    with pytest.raises(EngineUnavailable):
        _ = [item async for item in call(app)]


async def test_a_failure_after_the_complete_answer_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Starlette sends its error page, then raises on."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send(chunk(b"error page", more=False))
        raise ValueError("broken")

    assert [item async for item in call(app)] == [EngineResponse(500, ()), b"error page"]
    assert "broken" in caplog.text
