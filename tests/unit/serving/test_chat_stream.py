"""However a stream ends, the engine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serving.chat_stream import ChatStream
from serving.engine_call import EngineAnswer


async def test_a_stream_that_is_cancelled_while_it_ends_still_ends_the_engines_request():
    closed, stopping, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(message):
        """A connection that takes its time to let go."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopping.set()
            await go.wait()
            raise

    async def receive():
        return await asyncio.Event().wait()

    class FakeRest:
        async def aclose(self) -> None:
            closed.set()

    answer = EngineAnswer(b"data: {}\n\n", FakeRest())
    stream = ChatStream(answer, lambda event: event, stall_timeout_seconds=5, on_error=lambda error: None)
    serving = asyncio.create_task(stream({}, receive, send))
    await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.wait_for(stopping.wait(), 5)
    assert not closed.is_set()
    serving.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert closed.is_set()


async def test_what_nobody_is_sent_is_no_piece_of_the_answer():
    """A guard that holds text back gives empty pieces meanwhile; token counts that nobody asked for are dropped."""
    sent: list[tuple[str, object]] = []

    async def rest() -> AsyncIterator[bytes]:
        for chunk in (b"", b"", b"data: 1\n\n", b'data: {"usage": {}}\n\n', b"data: [DONE]\n\n"):
            yield chunk

    async def send(message):
        sent.append(("sent", message.get("body")))

    async def receive():
        return await asyncio.Event().wait()

    class FakeMeter:
        def piece(self) -> None:
            sent.append(("piece", None))

        def end(self) -> None:
            sent.append(("end", None))

    answer = EngineAnswer(b"", rest())
    stream = ChatStream(
        answer, lambda event: None, stall_timeout_seconds=60, on_error=lambda error: None, meter=FakeMeter()
    )
    await stream({}, receive, send)
    assert sent == [
        ("sent", None),  # the head
        ("sent", b"data: 1\n\n"),
        ("piece", None),
        ("sent", b"data: [DONE]\n\n"),
        ("piece", None),
        ("end", None),
        ("sent", b""),
    ]
