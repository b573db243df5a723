"""However a stream ends, the engine hears of it."""

from __future__ import annotations

import asyncio

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
