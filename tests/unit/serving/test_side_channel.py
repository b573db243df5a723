"""Streamed bodies beside the handle: whole, in parallel, under asyncio and uvloop; every early end is noticed."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import uvloop

from serving.engines.side_channel import BodyAt, SideChannel, read_body
from serving.errors import EngineError, EngineUnavailable


class FakeChunks:
    """An answer's bytes. Says whether it was closed; may fail, or never end, after what it has."""

    def __init__(self, *chunks: bytes, error: Exception | None = None, endless: bool = False) -> None:
        self.closed = asyncio.Event()
        self.given = 0
        self._chunks = chunks
        self._error = error
        self._endless = endless

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in self._chunks:
                yield chunk
                self.given += 1
            if self._endless:
                await asyncio.Event().wait()
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


@asynccontextmanager
async def opened(**settings: float) -> AsyncIterator[SideChannel]:
    channel = SideChannel(**settings)
    try:
        yield channel
    finally:
        await channel.aclose()


async def carried(channel: SideChannel, chunks: FakeChunks) -> bytes:
    """What the gateway does: take the place from the call, read there, then hear the call's end."""
    body = b""
    async with aclosing(channel.send(chunks())) as sending:
        async for where in sending:
            async with aclosing(read_body(where)) as pieces:
                async for piece in pieces:
                    body += piece
    return body


async def many_bodies(count: int) -> None:
    async with opened() as channel:
        sources = [FakeChunks(*(b"%d-%d;" % (number, part) for part in range(20))) for number in range(count)]
        bodies = await asyncio.gather(*(carried(channel, source) for source in sources))
    assert bodies == [b"".join(b"%d-%d;" % (n, part) for part in range(20)) for n in range(count)]
    assert all(source.closed.is_set() for source in sources)


async def large_body() -> None:
    data = os.urandom(8 << 20)
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    async with opened() as channel:
        assert await carried(channel, FakeChunks(*pieces)) == data


async def leaving_reader() -> None:
    chunks = FakeChunks(b"begun", endless=True)
    async with opened() as channel, aclosing(channel.send(chunks())) as sending:
        body = read_body(await anext(sending))
        assert await anext(body) == b"begun"
        await body.aclose()
        with pytest.raises(EngineUnavailable, match="not read to its end"):
            await anext(sending)
        assert chunks.closed.is_set()


async def failing_chunks() -> None:
    chunks = FakeChunks(b"begun", error=EngineError("The decoder broke."))
    async with opened() as channel, aclosing(channel.send(chunks())) as sending:
        where = await anext(sending)
        assert b"".join([piece async for piece in read_body(where)]) == b"begun"
        with pytest.raises(EngineError, match="The decoder broke"):
            await anext(sending)


@pytest.mark.parametrize("work", [lambda: many_bodies(50), large_body, leaving_reader, failing_chunks])
def test_under_uvloop_as_in_ray(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


async def test_300_bodies_at_once() -> None:
    await many_bodies(300)


async def test_a_large_body_is_whole() -> None:
    await large_body()


async def test_a_reader_that_leaves_ends_the_answer() -> None:
    await leaving_reader()


async def test_an_error_midway_reaches_the_handles_call() -> None:
    await failing_chunks()


async def test_an_error_of_the_file_system_is_not_taken_for_a_reader_that_left() -> None:
    async with opened() as channel:
        with pytest.raises(OSError, match="disk"):
            await carried(channel, FakeChunks(b"begun", error=OSError("disk")))


async def test_wrong_and_used_tokens_get_nothing() -> None:
    async with opened() as channel, aclosing(channel.send(FakeChunks(b"secret")())) as sending:
        where = await anext(sending)
        stranger = BodyAt(where.name, secrets.token_bytes(len(where.token)))
        assert [piece async for piece in read_body(stranger)] == []
        assert [piece async for piece in read_body(where)] == [b"secret"]
        assert [piece async for piece in read_body(where)] == []
        assert [place async for place in sending] == []


async def test_a_connection_that_names_nothing_is_closed() -> None:
    async with opened(collect_seconds=0.05) as channel:
        assert await carried(channel, FakeChunks()) == b""
        where = BodyAt(channel._name, b"short")
        assert [piece async for piece in read_body(where)] == []


async def test_an_offer_that_nobody_collects() -> None:
    chunks = FakeChunks(b"x")
    async with opened(collect_seconds=0.02) as channel:
        sending = channel.send(chunks())
        where = await anext(sending)
        with pytest.raises(EngineUnavailable, match="not collected"):
            await anext(sending)
        assert [piece async for piece in read_body(where)] == []
        assert chunks.given == 0


async def test_closing_the_call_closes_chunks_and_connection() -> None:
    chunks = FakeChunks(b"begun", endless=True)
    async with opened() as channel:
        sending = channel.send(chunks())
        body = read_body(await anext(sending))
        assert await anext(body) == b"begun"
        await sending.aclose()
        assert chunks.closed.is_set()
        assert [piece async for piece in body] == []


async def test_cancelling_the_call_closes_chunks_and_connection() -> None:
    chunks = FakeChunks(b"begun", endless=True)
    async with opened() as channel:
        sending = channel.send(chunks())
        body = read_body(await anext(sending))
        finishing = asyncio.create_task(anext(sending))
        assert await anext(body) == b"begun"
        finishing.cancel()
        await asyncio.wait({finishing})
        assert finishing.cancelled()
        assert chunks.closed.is_set()
        assert [piece async for piece in body] == []


async def test_a_reader_that_takes_nothing_is_dropped() -> None:
    chunks = FakeChunks(*[bytes(1 << 20)] * 50)
    async with opened(stall_seconds=0.05) as channel, aclosing(channel.send(chunks())) as sending:
        body = read_body(await anext(sending))
        await anext(body)
        with pytest.raises(EngineUnavailable, match="not read to its end"):
            await anext(sending)
        assert chunks.given < 50
        await body.aclose()


async def test_a_replica_that_is_gone() -> None:
    with pytest.raises(EngineUnavailable, match="gone"):
        await anext(read_body(BodyAt("manymodal-nobody-listens", bytes(32))))


def full_listener() -> tuple[socket.socket, list[socket.socket], str]:
    """A Unix listener with a full backlog, what fills it, and its abstract name."""
    name = f"manymodal-test-{secrets.token_hex(8)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + name)
    listener.listen(1)
    waiting: list[socket.socket] = []
    while True:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.setblocking(False)
        waiting.append(one)
        try:
            one.connect("\0" + name)
        except BlockingIOError:
            return listener, waiting, name


async def test_a_full_backlog_is_waited_for() -> None:
    listener, waiting, name = full_listener()
    where = BodyAt(name, b"t" * 32)
    reading = asyncio.create_task(anext(read_body(where)))
    await asyncio.sleep(0.05)
    assert not reading.done()
    accepted = [listener.accept()[0] for _ in waiting[:-1]]
    last, _ = await asyncio.to_thread(listener.accept)
    assert await asyncio.to_thread(last.recv, 100) == where.token
    last.sendall(b"body")
    assert await reading == b"body"
    for one in (listener, last, *waiting, *accepted):
        one.close()


async def test_a_backlog_that_stays_full() -> None:
    listener, waiting, name = full_listener()
    with pytest.raises(EngineUnavailable, match="gone"):
        await anext(read_body(BodyAt(name, bytes(32)), connect_seconds=0.05))
    for one in (listener, *waiting):
        one.close()
