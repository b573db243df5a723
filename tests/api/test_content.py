"""The bytes of files over HTTP: whole, in part, not again, never damaged, never all in memory."""

from __future__ import annotations

import asyncio
import gc
import io
import tracemalloc
from dataclasses import replace

import httpx2
import pytest
from fake_platform import build_platform, http_client

MEGABYTE = 1 << 20
CHUNK = 4 * MEGABYTE


def stored(platform, content: bytes, name: str | None = "a.txt") -> str:
    """A file's id."""
    ref = platform.media.receive("default", io.BytesIO(content), "text/plain", len(content) or 1)
    return platform.media.commit(ref, filename=name).ref.id


def large(megabytes: int) -> bytes:
    return b"".join(bytes([n % 256]) * MEGABYTE for n in range(megabytes))


def path(file_id: str, route: str = "files") -> str:
    return f"/v1/{route}/{file_id}/content"


@pytest.mark.parametrize("route", ["files", "media"])
async def test_headers(http, platform, route):
    file_id = stored(platform, b"hello", 'a "b"\r\n\u00fc.txt')
    answer = await http.get(path(file_id, route))
    wanted = {
        "content-type": "text/plain",
        "content-length": "5",
        "accept-ranges": "bytes",
        "etag": f'"{file_id}"',
        "cache-control": "private, no-cache",
        "content-disposition": "attachment; filename*=UTF-8''a%20%22b%22%0D%0A%C3%BC.txt",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert {name: answer.headers.get(name) for name in wanted} == wanted
    head = await http.head(path(file_id, route), headers={"range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers.get(name) for name in wanted} == wanted


async def test_a_file_without_a_name_is_called_by_its_id(http, platform):
    file_id = stored(platform, b"hello", None)
    assert (await http.get(path(file_id))).headers["content-disposition"].endswith(f"''{file_id}")


async def test_a_version_that_is_known_is_not_sent_again(http, platform):
    file_id = stored(platform, b"hello")
    for known in (f'"{file_id}"', f'W/"{file_id}"', "*"):
        answer = await http.get(path(file_id), headers={"if-none-match": known, "range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{file_id}"'
        assert "content-length" not in answer.headers
    other = await http.get(path(file_id), headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, b"hello")


@pytest.mark.parametrize("size", [1000, 9 * MEGABYTE + 7])
async def test_ranges(http, platform, size):
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    file_id = stored(platform, content)
    for start, end in ((0, 1), (0, size), (3, 500), (size - 1, size), (size // 2, size)):
        answer = await http.get(path(file_id), headers={"range": f"bytes={start}-{end - 1}"})
        assert (answer.status_code, answer.content) == (206, content[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert answer.headers["content-length"] == str(end - start)
    if size > CHUNK:  # over the border of two checked chunks
        answer = await http.get(path(file_id), headers={"range": f"bytes={CHUNK - 3}-{CHUNK + 2}"})
        assert answer.content == content[CHUNK - 3 : CHUNK + 3]
    several = await http.get(path(file_id), headers={"range": "bytes=0-1,5-6"})
    assert (several.status_code, several.content) == (200, content)
    stale = await http.get(path(file_id), headers={"range": "bytes=0-1", "if-range": '"older"'})
    assert (stale.status_code, stale.content) == (200, content)
    beyond = await http.get(path(file_id), headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert beyond.json()["error"]["code"] == "range_not_satisfiable"


async def test_over_a_real_server(platform, live):
    file_id = stored(platform, large(9))
    async with httpx2.AsyncClient(base_url=live) as http:
        assert (await http.get(path(file_id))).content == large(9)
        answer = await http.get(path(file_id), headers={"range": "bytes=-3"})
        assert (answer.status_code, answer.content) == (206, b"\x08\x08\x08")
        head = await http.head(path(file_id))
        assert (head.status_code, head.headers["content-length"]) == (200, str(9 * MEGABYTE))
        assert (await http.get(path(file_id), headers={"if-none-match": "*"})).status_code == 304


def damage(platform, file_id: str, at: int) -> None:
    key = platform.media.get("default", file_id).ref.blob_key
    content = bytearray(platform.storage.objects.get(key))
    content[at] ^= 1
    platform.storage.objects.put(key, bytes(content))


@pytest.mark.parametrize(("size", "at"), [(1000, 999), (9 * MEGABYTE, 0)])
async def test_damaged_bytes_are_an_error(http, platform, size, at):
    file_id = stored(platform, bytes(size))
    damage(platform, file_id, at)
    answer = await http.get(path(file_id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "corrupt_object")


async def test_damage_that_is_found_on_the_way_breaks_the_answer_off(platform, live, caplog):
    file_id = stored(platform, bytes(9 * MEGABYTE))
    damage(platform, file_id, 5 * MEGABYTE)
    received = b""

    async def download(http: httpx2.AsyncClient) -> None:
        nonlocal received
        async with http.stream("GET", path(file_id)) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_bytes():
                received += piece

    async with httpx2.AsyncClient(base_url=live) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await download(http)
        assert received == bytes(len(received))  # not one byte of the damaged chunk
        assert len(received) <= CHUNK
        assert (await http.get("/health")).status_code == 200
    assert "broke off" in caplog.text


class Reader:
    """A client on the bare ASGI interface: ``take`` is called with every piece."""

    def __init__(self, take) -> None:
        self.take = take
        self.status = None
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["body"]:
            await self.take(message["body"])

    async def get(self, app, url: str) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": url,
            "raw_path": url.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, self.receive, self.send)


async def test_a_large_file_is_never_in_memory_as_a_whole(platform):
    file_id = stored(platform, large(48))
    taken = 0

    async def count(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)

    reader = Reader(count)
    gc.collect()
    tracemalloc.start()
    try:
        await reader.get(platform.app, path(file_id))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reader.status, taken) == (200, 48 * MEGABYTE)
    assert peak < 24 * MEGABYTE


@pytest.fixture
def closed(platform, monkeypatch):
    """How the streams of files end: ``finished`` or ``closed``."""
    ends, stream = [], platform.media.stream

    def noted(*arguments):
        pieces = stream(*arguments)
        try:
            yield from pieces
            ends.append("finished")
        except GeneratorExit:
            ends.append("closed")
            raise

    monkeypatch.setattr(platform.media, "stream", noted)
    return ends


async def test_nothing_is_read_for_a_client_that_is_gone(platform, closed):
    file_id = stored(platform, large(48))
    taken = 0

    async def leave(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)
        reader.gone.set()
        await asyncio.sleep(0)

    reader = Reader(leave)
    await reader.get(platform.app, path(file_id))
    assert closed == ["closed"]
    assert taken <= 2 * CHUNK


async def test_a_client_that_takes_nothing_is_dropped(tmp_path, config):
    platform = build_platform(
        tmp_path, replace(config, limits=replace(config.limits, stall_timeout_seconds=0.05))
    )
    file_id = stored(platform, large(9))

    async def never(piece: bytes) -> None:
        await asyncio.Event().wait()

    reader = Reader(never)
    await reader.get(platform.app, path(file_id))
    assert reader.status == 200
    async with http_client(platform) as http:
        assert (await http.get(path(file_id))).content == large(9)


async def test_a_finished_answer_closes_its_stream(http, platform, closed):
    file_id = stored(platform, large(9))
    await http.get(path(file_id))
    await http.get(path(file_id), headers={"range": "bytes=0-0"})
    assert sorted(closed) == ["finished", "finished"]
