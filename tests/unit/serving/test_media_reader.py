"""Media are read a few at a time, and never used when they are not what was stored."""

from __future__ import annotations

import asyncio
import io
import threading
from tempfile import TemporaryFile

import pytest

from encoders.errors import EncoderOverloaded
from serving.deployments import media_reader
from serving.deployments.media_reader import MediaReader
from storage.errors import CorruptObject, MediaNotFound, StoreUnavailable
from storage.local import LocalObjectStore
from storage.media import MediaStore


@pytest.fixture
def store(tmp_path):
    return LocalObjectStore(tmp_path)


@pytest.fixture
def ref(store):
    return MediaStore(store).receive("default", io.BytesIO(b"a medium"), "x/y", 100)


async def test_no_more_than_a_few_are_held_at_once(store, ref, tmp_path):
    reader = MediaReader(store, tmp_path / "spool", wait_seconds=0.05)
    go, held = asyncio.Event(), 0

    async def decode(data: bytes) -> int:
        nonlocal held
        held += 1
        await go.wait()
        return len(data)

    decoding = [asyncio.create_task(reader.decoded(ref, decode)) for _ in range(6)]
    done, waiting = await asyncio.wait(decoding, timeout=0.5)
    assert held == len(waiting) == 4
    for task in done:
        with pytest.raises(EncoderOverloaded):
            task.result()
    go.set()
    assert await asyncio.gather(*waiting) == [8] * 4
    assert await reader.decoded(ref, decode) == 8


async def test_large_media_lie_in_a_file(store, tmp_path, monkeypatch):
    monkeypatch.setattr(media_reader, "_MAX_BYTES_IN_MEMORY", 10)
    content = bytes(range(256)) * 40_000
    ref = MediaStore(store).receive("default", io.BytesIO(content), "x/y", 1 << 30)
    reader = MediaReader(store, tmp_path / "spool")
    async with reader.opened(ref) as source:
        source.seek(0)
        assert source.read() == content
    assert source.closed
    assert list((tmp_path / "spool").iterdir()) == []
    store.put(ref.blob_key, content[:-1] + b"x")
    with pytest.raises(CorruptObject):
        async with reader.opened(ref):
            pytest.fail("damaged bytes reached the decoder")
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_cancelled_reading_closes_its_file_and_keeps_its_place_until_then(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(media_reader, "_MAX_BYTES_IN_MEMORY", 10)
    ref = MediaStore(store).receive("default", io.BytesIO(bytes(100)), "x/y", 1 << 30)
    reader = MediaReader(store, tmp_path / "spool", wait_seconds=0.05)
    files, go = [], threading.Event()

    def slow(**where):
        go.wait(10)
        files.append(TemporaryFile(**where))  # noqa: SIM115 - whether it is closed is the question
        return files[-1]

    monkeypatch.setattr(media_reader, "TemporaryFile", slow)

    async def decode(data) -> None:
        pytest.fail("nobody waits for it")

    reading = [asyncio.create_task(reader.decoded(ref, decode)) for _ in range(4)]
    await asyncio.sleep(0.05)
    for task in reading:
        task.cancel()
    await asyncio.sleep(0.05)
    with pytest.raises(EncoderOverloaded):  # four threads still read
        await reader.decoded(ref, decode)
    go.set()
    assert all(
        isinstance(end, asyncio.CancelledError)
        for end in await asyncio.gather(*reading, return_exceptions=True)
    )
    assert [file.closed for file in files] == [True] * 4


async def test_a_full_disk_is_said_in_words_for_strangers(store, tmp_path, monkeypatch):
    monkeypatch.setattr(media_reader, "_MAX_BYTES_IN_MEMORY", 10)
    ref = MediaStore(store).receive("default", io.BytesIO(bytes(100)), "x/y", 1 << 30)
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StoreUnavailable) as caught:
        async with MediaReader(store, tmp_path / "taken" / "spool").opened(ref):
            pytest.fail("there is no file")
    assert str(tmp_path) not in caught.value.message


async def test_damaged_and_missing_media(store, ref, tmp_path):
    async def decode(data: bytes) -> None:
        pytest.fail("damaged bytes reached the decoder")

    store.put(ref.blob_key, b"a medlum")
    reader = MediaReader(store, tmp_path / "spool")
    with pytest.raises(CorruptObject):
        await reader.decoded(ref, decode)
    store.delete(ref.blob_key)
    with pytest.raises(MediaNotFound):
        await reader.decoded(ref, decode)
