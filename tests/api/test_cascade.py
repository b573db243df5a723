"""Deleting a medium removes everything that was made of it, and nothing that anybody else needs."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator

import pytest
import redis
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_mp4, fake_png
from fake_store import FakeTroubledStore
from valkey_server import ValkeyServer

from storage.local import LocalObjectStore

PHOTO = fake_png({"cat": 0.9}, ("EXIT",))


@pytest.fixture
def store(tmp_path):
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
def days():
    """How many days the platform's clock is ahead of the store's."""
    return [0.0]


@pytest.fixture
def platform(tmp_path, config, store, days):
    return build_platform(tmp_path, config, store, lambda: time.time() + 86400 * days[0])


@pytest.fixture
def with_redis(tmp_path, config, valkey_server: ValkeyServer) -> Platform:
    return build_platform(tmp_path, config, redis_url=valkey_server.url, redis_timeout_seconds=5.0)


@pytest.fixture
def redis_client(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_server.url)
    yield client
    client.close()


async def upload(http, content: bytes = PHOTO) -> str:
    answer = await http.post("/v1/media", files={"file": ("a", content)})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def use(http, media_id: str) -> None:
    """Ask about a medium, and index it in two collections, in one under an id of the client's."""
    part = {"type": "file", "file": {"file_id": media_id}}
    body = {"model": "default", "messages": [{"role": "user", "content": [part]}]}
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    for collection, document in (("default", None), ("holiday", "my-own-name")):
        body = {"media_id": media_id, **({"id": document} if document else {})}
        answer = await http.post(f"/v1/collections/{collection}/documents", json=body)
        assert answer.status_code == 200, answer.text


async def found(http, collection: str = "default") -> set[str]:
    body = {"query": {"type": "text", "content": "cat"}, "collection": collection, "top_k": 50}
    return {hit["media_id"] for hit in (await http.post("/v1/search", json=body)).json()["results"]}


def about(platform: Platform, *words: str) -> list[str]:
    """Keys in the store that name one of ``words``."""
    return [key for key in platform.stored_keys() if any(word in key for word in words)]


async def test_everything_goes(with_redis, redis_client):
    platform = with_redis
    async with http_client(platform) as http:
        media_id = await upload(http)
        ref = platform.media.get("default", media_id).ref
        await use(http, media_id)
        kinds = {key.split("/")[0] for key in about(platform, media_id, ref.sha256)}
        assert kinds == {"files", "refs", "blobs", "derived", "fingerprints"}
        derived = [key.rpartition("/")[2] for key in platform.stored_keys("derived/")]
        assert len(derived) >= 4  # header, fingerprint, labels, text
        cached = [key.decode() for key in redis_client.scan_iter()]
        assert all(any(key in name for name in cached) for key in derived)
        assert await found(http) == await found(http, "holiday") == {media_id}

        assert (await http.delete(f"/v1/media/{media_id}")).status_code == 200

        assert about(platform, media_id, ref.sha256, *derived) == []
        cached = [key.decode() for key in redis_client.scan_iter()]
        assert not any(key in name for name in cached for key in derived)
        assert platform.storage.derived.statistics().memory.entries == 1  # the text that was searched for
        assert await found(http) == await found(http, "holiday") == set()
        assert platform.search.media_ids("default") == frozenset()
        assert (await http.get(f"/v1/media/{media_id}")).status_code == 404
        await platform.storage.aclose()


async def test_large_media_leave_no_digests(http, platform, config):
    film = fake_mp4([{"cat": 0.9}]) + b" " * (9 << 20)
    kept = await platform.gateway.admission.file_upload(
        "default", io.BytesIO(film), "a.mp4", allow_other=True
    )
    assert len(platform.stored_keys("digests/")) == 1
    await platform.gateway.remover.remove("default", kept.record.ref.id)
    assert platform.stored_keys() == []


async def test_copies_stay(http, platform):
    first, second = await upload(http), await upload(http)
    await use(http, first)
    await http.post("/v1/collections/default/documents", json={"media_id": second})
    other = await platform.gateway.admission.file_upload("other", io.BytesIO(PHOTO), None)
    await found(http)
    before = dict(platform.perception.calls)
    await platform.gateway.remover.remove("default", first)
    assert await found(http) == {second}
    assert await found(http, "holiday") == set()
    await use(http, second)
    assert platform.perception.calls == before  # nothing was forgotten that is still needed
    assert platform.media.read(other.record.ref) == PHOTO
    await platform.gateway.remover.remove("default", second)
    assert all("/other/" in key for key in platform.stored_keys())
    assert len(platform.stored_keys("fingerprints/other/")) == 1
    url = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"
    assert not (await platform.gateway.admission.from_reference("default", url)).reused


@pytest.mark.parametrize("step", range(12))
async def test_a_deletion_cut_short_anywhere_is_finished(http, platform, store, days, step):
    media_id = await upload(http)
    await use(http, media_id)
    done = 0

    def fails(operation: str, key: str) -> bool:
        nonlocal done
        done += operation in ("delete", "put", "copy_if_absent")
        return done > step

    store.fails = fails
    answer = await http.delete(f"/v1/media/{media_id}")
    assert answer.status_code in (200, 503)
    assert answer.status_code == 200 or answer.headers["retry-after"]
    store.fails = lambda operation, key: False
    answer = await http.delete(f"/v1/media/{media_id}")
    assert answer.status_code in (200, 404)
    assert await found(http) == await found(http, "holiday") == set()
    assert (await http.get(f"/v1/media/{media_id}")).status_code == 404
    days[0] = 2.0
    await platform.gateway.housekeeping.round()  # what is left is garbage after the grace period
    assert platform.stored_keys() == []


async def test_indexing_a_medium_that_is_deleted_meanwhile_leaves_nothing(http, platform, monkeypatch):
    media_id = await upload(http)
    search = platform.gateway.services.search
    add = search.add

    async def late(*arguments):
        """The rows are written when the deletion has looked for them already."""
        await platform.gateway.remover.remove("default", media_id)
        return await add(*arguments)

    monkeypatch.setattr(search, "add", late)
    answer = await http.post("/v1/collections/default/documents", json={"media_id": media_id})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "media_not_found")
    assert platform.search.media_ids("default") == frozenset()


async def test_rows_written_while_a_deletion_is_under_way_are_found(http, platform, monkeypatch):
    media_id = await upload(http)
    search = platform.gateway.services.search
    delete_media = search.delete_media
    looks = 0

    async def between(tenant, media_ids):
        nonlocal looks
        looks += 1
        removed = await delete_media(tenant, media_ids)
        if looks == 1:  # indexed, and its record still there, right after the first look
            answer = await http.post("/v1/collections/default/documents", json={"media_id": media_id})
            assert answer.status_code == 200
        return removed

    monkeypatch.setattr(search, "delete_media", between)
    await platform.gateway.remover.remove("default", media_id)
    assert platform.search.media_ids("default") == frozenset()


async def test_another_tenants_id_removes_nothing(http, platform):
    other = await platform.gateway.admission.file_upload("other", io.BytesIO(PHOTO), None)
    assert (await http.delete(f"/v1/media/{other.record.ref.id}")).status_code == 404
    assert platform.media.read(other.record.ref) == PHOTO


async def test_who_gives_up_indexing_leaves_no_rows_of_a_deleted_medium(http, platform, monkeypatch):
    media_id = await upload(http)
    search = platform.gateway.services.search
    add, writing, go, under_way = search.add, asyncio.Event(), asyncio.Event(), []

    async def written(*arguments):
        writing.set()
        await go.wait()
        await platform.gateway.remover.remove("default", media_id)
        return await add(*arguments)

    async def remote(*arguments):
        """Whom a cancelled caller does not stop."""
        under_way.append(asyncio.create_task(written(*arguments)))
        return await asyncio.shield(under_way[0])

    monkeypatch.setattr(search, "add", remote)
    indexing = asyncio.create_task(
        platform.gateway.indexer.add_media("default", "default", media_id, None, {})
    )
    await writing.wait()
    indexing.cancel()
    await asyncio.sleep(0.01)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await indexing
    await under_way[0]
    assert platform.search.media_ids("default") == frozenset()
