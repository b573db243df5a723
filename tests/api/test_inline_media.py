"""Media that come inside another request: kept for a while, found again, and replaced when they are damaged."""

from __future__ import annotations

import asyncio
import base64
import io

import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_mp4, fake_png, fake_wav
from fake_store import FakeTroubledStore

from storage.local import LocalObjectStore
from storage.types import INLINE, MediaRef

DAY = 24 * 3600
PHOTO = fake_png({"cat": 0.9}, ("EXIT",))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
def platform(tmp_path, config, store, clock):
    return build_platform(tmp_path, config, store, clock)


@pytest.fixture
async def restarted(tmp_path, config, store, clock):
    """HTTP into another platform on the same data: it remembers nothing that is not stored."""
    async with http_client(build_platform(tmp_path, config, store, clock)) as http:
        yield http


def with_image(url: str) -> dict:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"model": "default", "messages": [{"role": "user", "content": [part]}]}


def data_url(content: bytes = PHOTO) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


async def ask(http, body: dict | None = None) -> dict:
    """The medium as the answer tells it."""
    answer = await http.post("/v1/chat/completions", json=body or with_image(data_url()))
    assert answer.status_code == 200, answer.text
    return answer.json()["manymodal"]["media"][0]


def writes(store) -> list:
    return [call for call in store.calls if call[0] not in ("get", "head", "list", "open")]


async def test_a_repeated_photo_costs_one_look_at_its_record(http, platform, store, monkeypatch):
    first = await ask(http)
    record = platform.media.get("default", first["id"])
    assert record.purpose == INLINE
    store.calls.clear()
    hops = []
    to_thread = asyncio.to_thread

    async def noting(work, *arguments, **options):
        hops.append(work)
        return await to_thread(work, *arguments, **options)

    monkeypatch.setattr(asyncio, "to_thread", noting)
    second = await ask(http)
    assert second["id"] == first["id"]
    assert second["cache"] == {"labels": "hit", "ocr": "hit"}
    assert store.calls == [("get", f"files/default/{first['id']}.json")]
    assert len(hops) == 2  # the look-up, and writing the prompt


async def test_a_photo_by_id_costs_the_same(http, store):
    first = await ask(http)
    store.calls.clear()
    assert (await ask(http, with_image(first["id"])))["id"] == first["id"]
    assert store.calls == [("get", f"files/default/{first['id']}.json")]


async def test_it_is_found_again_after_a_restart(http, restarted, store):
    first = await ask(http)
    store.calls.clear()
    assert (await ask(restarted))["id"] == first["id"]
    assert writes(store) == []


async def test_sound_to_transcribe_is_kept_once(http, platform, store):
    speech = fake_wav((0.0, 2.0, "good morning"))
    ids = []
    for _ in range(2):
        store.calls.clear()
        answer = await http.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", speech)}, data={"model": "whisper-1"}
        )
        ids.append(answer.json()["manymodal"]["media"][0]["id"])
    assert ids[0] == ids[1]
    assert writes(store) == []


async def test_it_lives_longer_when_it_is_used_and_dies_when_it_is_not(http, platform, clock):
    first = await ask(http)

    def expires() -> int | None:
        return platform.media.get("default", first["id"]).expires_at_seconds

    assert expires() == int(clock.now) + 30 * DAY
    clock.now += 10 * DAY
    await ask(http)
    assert expires() == int(clock.now) + 20 * DAY  # not written again while half of its time is left
    clock.now += 10 * DAY
    await ask(http)
    assert expires() == int(clock.now) + 30 * DAY
    clock.now += 31 * DAY
    second = await ask(http)
    assert second["id"] != first["id"]
    assert platform.perception.calls["encode_image"] == 1  # what was derived of the bytes is still there


async def test_what_is_indexed_stays(http, platform, clock):
    """And nothing else: not what expires because its owner said so."""
    first = await ask(http)
    admission = platform.gateway.admission
    uploaded = await admission.file_upload(
        "default", io.BytesIO(fake_png({"dog": 0.9})), "a.png", "vision", 30 * DAY
    )
    ids = [first["id"], uploaded.record.ref.id]
    for media_id in ids:
        answer = await http.post("/v1/collections/default/documents", json={"media_id": media_id})
        assert answer.status_code == 200, answer.text
    clock.now += 31 * DAY
    await platform.gateway.housekeeping.round()
    assert platform.search.media_ids("default") == {first["id"]}
    assert platform.media.get("default", first["id"]).expires_at_seconds is None
    assert (await ask(http))["id"] == first["id"]


async def test_an_indexed_one_that_is_deleted_meanwhile_is_not_found(http, platform, monkeypatch):
    first = await ask(http)
    search = platform.gateway.services.search
    add = search.add

    async def late(*arguments):
        await platform.gateway.remover.remove("default", first["id"])
        return await add(*arguments)

    monkeypatch.setattr(search, "add", late)
    answer = await http.post("/v1/collections/default/documents", json={"media_id": first["id"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "media_not_found")
    assert platform.search.media_ids("default") == frozenset()
    assert platform.stored_keys() == []


async def test_one_that_is_deleted_while_its_life_is_prolonged(http, platform, clock, monkeypatch):
    first = await ask(http)
    clock.now += 20 * DAY
    extend = platform.media.extend

    def late(record, expires_at_seconds):
        platform.media.delete("default", record.ref.id)
        return extend(record, expires_at_seconds)

    monkeypatch.setattr(platform.media, "extend", late)
    assert (await ask(http))["id"] != first["id"]


async def test_uploads_are_not_taken_for_inline_media(http, platform):
    admission = platform.gateway.admission
    uploaded = await admission.file_upload("default", io.BytesIO(PHOTO), "a.png")
    assert (await ask(http))["id"] != uploaded.record.ref.id
    assert len(platform.stored_keys("blobs/")) == 1


async def test_tenants_share_no_inline_media(http, platform):
    first = await ask(http)
    other = await platform.gateway.admission.from_reference("other", data_url())
    assert other.record.ref.id != first["id"]
    assert not other.reused
    assert len(platform.stored_keys("blobs/")) == 2


async def test_a_deleted_one_is_stored_anew(http, platform):
    first = await ask(http)
    await platform.gateway.remover.remove("default", first["id"])
    second = await ask(http)
    assert second["id"] != first["id"]
    assert second["cache"] == {"labels": "miss", "ocr": "miss"}


def spoil(platform, ref: MediaRef, how: str) -> None:
    """Damage or lose the stored bytes, and everything derived from them but the header."""
    objects = platform.storage.objects
    if how == "damaged":
        objects.put(ref.blob_key, b"X" + PHOTO[1:])
    else:
        objects.delete(ref.blob_key)


@pytest.mark.parametrize("how", ["damaged", "lost"])
async def test_bytes_that_went_bad_are_replaced_by_those_that_come_along(http, platform, how):
    ref = (await platform.gateway.admission.from_reference("default", data_url())).record.ref
    spoil(platform, ref, how)
    for _ in range(2):  # the header is known; only looking at the picture shows that it is gone
        medium = await ask(http)
        assert medium["labels"][0]["text"] == "cat"
    assert platform.media.read(platform.media.get("default", medium["id"]).ref) == PHOTO


@pytest.mark.parametrize("how", ["damaged", "lost"])
async def test_also_when_the_probe_is_what_finds_out(http, restarted, platform, how):
    ref = (await platform.gateway.admission.from_reference("default", data_url())).record.ref
    spoil(platform, ref, how)
    for key in platform.stored_keys("derived/"):
        platform.storage.objects.delete(key)
    assert (await ask(restarted))["labels"][0]["text"] == "cat"


async def test_search_heals_too(http, platform):
    ref = (await platform.gateway.admission.from_reference("default", data_url())).record.ref
    spoil(platform, ref, "lost")
    query = {"query": {"type": "image", "content": data_url()}}
    answer = await http.post("/v1/search", json=query)
    assert answer.status_code == 200, answer.text


async def test_an_id_whose_bytes_are_lost_is_an_error(http, platform):
    ref = (await platform.gateway.admission.from_reference("default", data_url())).record.ref
    spoil(platform, ref, "lost")
    answer = await http.post("/v1/chat/completions", json=with_image(ref.id))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "media_not_found")


async def test_files_that_are_no_media_cannot_be_perceived(http, platform):
    admission = platform.gateway.admission
    for content, content_type in (
        (b'{"custom_id": "1"}\n' * 3, "application/jsonl"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
        ("Über\n".encode() * 5000, "text/plain"),
        (b"\x7fELF\x02\x01\x01\x00", "application/octet-stream"),
    ):
        file = io.BytesIO(content)
        kept = await admission.file_upload("default", file, "a.jsonl", "batch", allow_other=True)
        ref = kept.record.ref
        assert (kept.info, ref.content_type, kept.record.purpose) == (None, content_type, "batch")
        part = {"type": "file", "file": {"file_id": ref.id}}
        body = {"model": "default", "messages": [{"role": "user", "content": [part]}]}
        query = {"query": {"type": "image", "content": ref.id}}
        for path, request in (
            ("/v1/chat/completions", body),
            ("/v1/search", query),
            ("/v1/collections/default/documents", {"media_id": ref.id}),
        ):
            answer = await http.post(path, json=request)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "unsupported_media"), error
            assert content_type in error["message"]


async def test_films_too_large_to_decode_are_kept_but_not_perceived(http, platform, config):
    film = fake_mp4([{"cat": 0.9}]) + b" " * config.limits.max_media_bytes
    admission = platform.gateway.admission
    kept = await admission.file_upload("default", io.BytesIO(film), "a.mp4", allow_other=True)
    assert (kept.info, kept.record.ref.content_type) == (None, "video/mp4")
    body = {"model": "default", "messages": [{"role": "user", "content": []}]}
    body["messages"][0]["content"] = [{"type": "video_url", "video_url": {"url": kept.record.ref.id}}]
    answer = await http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "limit_exceeded")
