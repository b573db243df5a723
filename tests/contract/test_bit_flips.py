"""A thousand random bit flips over everything that is stored: all noticed, none served."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import media_writer
import numpy as np
import pytest
from media_uploads import keys, upload

from storage.artifacts import ArtifactStore
from storage.errors import CorruptObject
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRecord
from storage.verify import verify_store

FLIPS = 1000


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    media_writer.make_chunks_small(monkeypatch.setattr)


@pytest.mark.usefixtures("small_chunks")
def test_a_thousand_bit_flips_are_all_noticed_and_none_is_served(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    store = LocalObjectStore(tmp_path / "store")
    media, artifacts = MediaStore(store), ArtifactStore(store)
    contents = [chance.bytes(size) for size in (1, 300, 8 << 10, 9000, 50_000)]
    records = {data: upload(media, data, metadata={"note": "x"}) for data in contents}
    for record in records.values():
        artifacts.put("acme", record.ref.sha256, "ab" * 32, chance.bytes(500))
    folders = {folder: keys(store, folder) for folder in ("blobs/", "digests/", "derived/", "files/")}
    assert len(folders["digests/"]) == 2
    before = keys(store)
    for number in range(FLIPS):
        folder = ("blobs/", "digests/", "derived/", "files/")[number % 4]
        key = folders[folder][chance.integers(len(folders[folder]))]
        whole = store.get(key)
        damaged = bytearray(whole)
        damaged[chance.integers(len(damaged))] ^= 1 << int(chance.integers(8))
        store.put(key, bytes(damaged))
        data, record = next((d, r) for d, r in records.items() if r.ref.sha256 in key or r.ref.id in key)
        if number % 20 < 4:
            report = verify_store(store, media, repair=False)
            assert [finding.key for finding in report.findings if finding.kind != "lost medium"] == [key]
        if folder == "blobs/":
            check_blob(media, record, data, chance)
            for mark in keys(store, "quarantine/"):
                store.delete(mark)
        elif folder == "digests/":
            start, end = sorted(chance.integers(len(data) + 1, size=2))
            assert b"".join(media.stream(record.ref, int(start), int(end))) == data[start:end]
            assert start == end or store.get(key) == whole
        elif folder == "derived/":
            assert artifacts.get("acme", record.ref.sha256, "ab" * 32) is None
            assert key not in keys(store)
        else:
            with pytest.raises(CorruptObject):
                media.get("acme", record.ref.id)
            assert record.ref.id not in [listed.ref.id for listed in media.list("acme")]
        store.put(key, whole)
    assert keys(store) == before
    assert verify_store(store, media, repair=False).clean


def check_blob(media: MediaStore, record: MediaRecord, data: bytes, chance: np.random.Generator) -> None:
    with pytest.raises(CorruptObject):
        media.read(record.ref)
    served, is_whole = streamed(media, record, 0)
    assert not is_whole
    assert data.startswith(served)
    start = int(chance.integers(len(data)))
    served, is_whole = streamed(media, record, start)
    assert served == data[start:] if is_whole else data[start:].startswith(served)


def streamed(media: MediaStore, record: MediaRecord, start: int) -> tuple[bytes, bool]:
    """What a stream gave, and whether it came to its end."""
    served = bytearray()
    try:
        for piece in media.stream(record.ref, start):
            served += piece
    except CorruptObject:
        return bytes(served), False
    return bytes(served), True
