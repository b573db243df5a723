"""OpenAI's Uploads API, through the official client."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import openai
import pytest
from fake_platform import build_platform, http_client, openai_client
from fake_services import fake_mp4, fake_png
from fake_store import FakeTroubledStore

from storage.local import LocalObjectStore
from storage.s3.store import S3ObjectStore

HELLO, WORLD = b"hello ", b"world"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def create(client, size=11, **options):
    wanted = {"filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain", **options}
    return await client.uploads.create(bytes=size, **wanted)


async def add(client, upload, data):
    return (await client.uploads.parts.create(upload.id, data=data)).id


async def both_parts(client, upload) -> list[str]:
    return [await add(client, upload, HELLO), await add(client, upload, WORLD)]


async def test_the_objects_are_openais(client):
    upload = await create(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert upload.id.startswith("upload_")
    assert upload.expires_at == upload.created_at + 3600
    expected = {
        "id": upload.id,
        "object": "upload",
        "bytes": 11,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "filename": "a.txt",
        "purpose": "user_data",
        "status": "pending",
        "file": None,
    }
    assert upload.model_dump() == expected
    part = await client.uploads.parts.create(upload.id, data=WORLD)
    assert part.model_dump() == {
        "id": part.id,
        "object": "upload.part",
        "created_at": part.created_at,
        "upload_id": upload.id,
    }
    first = await add(client, upload, HELLO)
    done = await client.uploads.complete(upload.id, part_ids=[first, part.id], md5=md5(HELLO + WORLD).upper())
    assert done.model_dump() == {**expected, "status": "completed", "file": done.file.model_dump()}
    assert (done.file.filename, done.file.bytes, done.file.purpose) == ("a.txt", 11, "user_data")
    assert done.file.expires_at == done.file.created_at + 3600
    assert await client.files.retrieve(done.file.id) == done.file
    assert (await client.files.content(done.file.id)).content == HELLO + WORLD


async def test_the_clients_own_way(client, tmp_path):
    content = bytes(range(256)) * 4000
    file = tmp_path / "film.bin"
    file.write_bytes(content)
    for more in ({"file": file}, {"file": content, "filename": "film.bin", "bytes": len(content)}):
        done = await client.uploads.upload_file_chunked(
            mime_type="video/mp4", purpose="user_data", part_size=300_000, md5=md5(content), **more
        )
        assert (done.status, done.file.filename) == ("completed", "film.bin")
        answer = await client.files.content(done.file.id)
        assert answer.content == content
        assert answer.response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("on_s3", [False, True])
async def test_large_files_go_through_the_store(tmp_path, config, monkeypatch, request, on_s3):
    """Beyond a size they are not spooled here but staged there."""
    monkeypatch.setattr("storage.intake.STAGED_FROM_BYTES", 1 << 20)
    objects = S3ObjectStore(request.getfixturevalue("s3_server").config) if on_s3 else None
    platform = build_platform(tmp_path, config, objects)
    content = (bytes(range(251)) * 40_000)[: (9 << 20) + 5]
    async with http_client(platform) as http, openai_client(http) as client:
        done = await client.uploads.upload_file_chunked(
            file=content,
            filename="a.bin",
            bytes=len(content),
            mime_type="application/octet-stream",
            purpose="user_data",
            part_size=2 << 20,
            md5=md5(content),
        )
        assert (await client.files.content(done.file.id)).content == content
    roots = {key.split("/")[0] for key in platform.stored_keys()}
    assert roots == {"blobs", "digests", "files", "refs", "uploads"}


async def test_media_in_parts_are_known_everywhere(http, client):
    picture = fake_png({"tiger": 0.9}, fingerprint="f" * 16)
    done = await client.uploads.upload_file_chunked(
        file=picture,
        filename="a.txt",
        bytes=len(picture),
        mime_type="image/png",
        purpose="vision",
        part_size=7,
    )
    media = (await http.get(f"/v1/media/{done.file.id}")).json()
    assert (media["kind"], media["content_type"], media["purpose"]) == ("image", "image/png", "vision")
    assert media["perceptual_hash"] == "f" * 16


async def test_broken_media_are_refused_and_may_be_mended(client, platform):
    whole = fake_mp4([{"cat": 0.9}])
    upload = await create(client, len(whole))
    head, rest = await add(client, upload, whole[:30]), await add(client, upload, whole[30:])
    broken = await add(client, upload, b"x" * len(whole[30:]))
    with pytest.raises(openai.BadRequestError) as refused:
        await client.uploads.complete(upload.id, part_ids=[head, broken])
    assert refused.value.code == "corrupt_media"
    assert platform.stored_keys("files/") == platform.stored_keys("blobs/") == []
    assert (await client.uploads.complete(upload.id, part_ids=[head, rest])).status == "completed"


async def test_media_over_their_limit_are_files_only(platform_with):
    platform = platform_with(max_media_bytes=100)
    async with http_client(platform) as http, openai_client(http) as client:
        film = fake_mp4([{"cat": 0.9}] * 50)
        upload = await create(client, len(film))
        done = await client.uploads.complete(upload.id, part_ids=[await add(client, upload, film)])
        assert (await client.files.content(done.file.id)).content == film
        answer = await http.get(f"/v1/media/{done.file.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "limit_exceeded")


async def test_a_busy_gateway_leaves_nothing(client, platform, monkeypatch):
    upload = await create(client)
    ids = await both_parts(client, upload)
    admission = platform.gateway.admission
    monkeypatch.setattr(admission, "_storing", asyncio.Semaphore(0))
    monkeypatch.setattr(
        admission, "_limits", replace(platform.gateway.config.limits, admission_wait_seconds=0.01)
    )
    with pytest.raises(openai.InternalServerError) as refused:
        await client.uploads.complete(upload.id, part_ids=ids)
    assert refused.value.code == "service_unavailable"
    assert platform.stored_keys("refs/") == platform.stored_keys("blobs/") == []
    monkeypatch.undo()
    assert (await client.uploads.complete(upload.id, part_ids=ids)).status == "completed"


@pytest.mark.parametrize("together", [False, True])
async def test_completing_twice_gives_one_file(client, platform, together):
    upload = await create(client)
    ids = await both_parts(client, upload)
    if together:
        work = [client.uploads.complete(upload.id, part_ids=ids) for _ in range(6)]
        answers = await asyncio.gather(*work)
    else:
        answers = [await client.uploads.complete(upload.id, part_ids=ids) for _ in range(2)]
    assert all(answer == answers[0] for answer in answers)
    assert [file.id async for file in client.files.list()] == [answers[0].file.id]
    assert (await client.files.content(answers[0].file.id)).content == HELLO + WORLD
    assert len(platform.stored_keys("refs/")) == len(platform.stored_keys("blobs/")) == 1
    assert platform.stored_keys("parts/") == []


async def test_a_completion_races_with_a_cancellation(client, platform):
    for _ in range(5):
        upload = await create(client)
        ids = await both_parts(client, upload)
        done, cancelled = await asyncio.gather(
            client.uploads.complete(upload.id, part_ids=ids),
            client.uploads.cancel(upload.id),
            return_exceptions=True,
        )
        files = [file.id async for file in client.files.list()]
        if isinstance(done, openai.BadRequestError):
            assert (cancelled.status, files) == ("cancelled", [])
            assert done.code in ("upload_closed", "upload_mismatch")
        else:
            assert cancelled.code == "upload_closed"
            assert files == [done.file.id]
            await client.files.delete(done.file.id)
        assert platform.stored_keys("parts/") == platform.stored_keys("blobs/") == []


async def test_cancelling(client):
    upload = await create(client)
    part = await add(client, upload, HELLO)
    for _ in range(2):
        cancelled = await client.uploads.cancel(upload.id)
        assert cancelled.model_dump() == {**upload.model_dump(), "status": "cancelled"}
    for attempt in (add(client, upload, WORLD), client.uploads.complete(upload.id, part_ids=[part])):
        with pytest.raises(openai.BadRequestError, match="is cancelled") as refused:
            await attempt
        assert refused.value.code == "upload_closed"


async def test_what_is_completed_takes_nothing_more(client):
    upload = await create(client)
    done = await client.uploads.complete(upload.id, part_ids=await both_parts(client, upload))
    for attempt in (add(client, upload, WORLD), client.uploads.cancel(upload.id)):
        with pytest.raises(openai.BadRequestError, match="is completed"):
            await attempt
    await client.files.delete(done.file.id)
    again = await client.uploads.complete(upload.id, part_ids=["part_x"])
    assert (again.status, again.file) == ("completed", None)


async def test_uploads_expire(client, platform, monkeypatch):
    upload = await create(client)
    ids = await both_parts(client, upload)
    monkeypatch.setattr(platform.storage.uploads, "_clock", lambda: upload.expires_at)
    for attempt in (
        add(client, upload, WORLD),
        client.uploads.cancel(upload.id),
        client.uploads.complete(upload.id, part_ids=ids),
    ):
        with pytest.raises(openai.BadRequestError, match="has expired"):
            await attempt
    platform.storage.uploads.sweep(upload.expires_at + 100_000)
    assert platform.stored_keys() == []


async def test_what_does_not_add_up(client, platform):
    upload = await create(client)
    first, second = await both_parts(client, upload)
    for ids, more, words in (
        ([first], {}, "6 bytes together; the upload was announced with 11"),
        ([first, first, second], {}, "17 bytes"),
        ([first, "part_" + "0" * 48], {}, "does not have"),
        ([second, first], {"md5": md5(HELLO + WORLD)}, "MD5"),
    ):
        with pytest.raises(openai.BadRequestError, match=words) as refused:
            await client.uploads.complete(upload.id, part_ids=ids, **more)
        assert refused.value.code == "upload_mismatch"
    assert platform.stored_keys("files/") == []
    await client.uploads.complete(upload.id, part_ids=[first, second])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": -1}, "bytes"),
        ({"bytes": "11"}, "bytes"),
        ({"bytes": 1.5}, "bytes"),
        ({"bytes": (8 << 30) + 1}, "bytes"),
        ({"filename": ""}, "filename"),
        ({"filename": "x" * 256}, "filename"),
        ({"purpose": "pleasure"}, "purpose"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_bad_uploads(http, platform, fields, param):
    body = {"filename": "a", "purpose": "batch", "bytes": 5, "mime_type": "text/plain", **fields}
    answer = await http.post("/v1/uploads", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert platform.stored_keys() == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "part_ids"),
        ({"part_ids": []}, "part_ids"),
        ({"part_ids": "part_x"}, "part_ids"),
        ({"part_ids": [1]}, "part_ids[0]"),
        ({"part_ids": ["part_x"], "md5": "xyz"}, "md5"),
        ({"part_ids": ["part_x"], "nonsense": 1}, "nonsense"),
    ],
)
async def test_bad_completions(http, client, body, param):
    upload = await create(client)
    answer = await http.post(f"/v1/uploads/{upload.id}/complete", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_bad_parts(platform_with):
    platform = platform_with(max_part_bytes=100)
    async with http_client(platform) as http, openai_client(http) as client:
        upload = await create(client)
        url = f"/v1/uploads/{upload.id}/parts"
        for request, status, word in (
            ({"files": {"data": ("a", b"")}}, 400, "empty"),
            ({"files": {"file": ("a", b"x")}}, 400, "'data'"),
            ({"files": {"data": (None, "text")}}, 400, "'data'"),
            ({"json": {"data": "text"}}, 400, "form"),
            ({"files": {"data": ("a", b"x")}, "data": {"more": "1"}}, 400, "Only the field 'data'"),
            ({"files": {"data": ("a", b"x" * 101)}}, 413, "max_part_bytes"),
            ({"files": {"data": ("a", b"x" * 2_000_000)}}, 413, "max_part_bytes"),
        ):
            answer = await http.post(url, **request)
            assert (answer.status_code, word in answer.json()["error"]["message"]) == (status, True), (
                answer.text
            )
        assert platform.stored_keys("parts/") == []


async def test_a_store_that_fails_is_no_loss(tmp_path, config):
    """Every operation of a completion fails once; a retry finishes it, and one file is there."""
    for step in range(1000):
        root = tmp_path / str(step)
        root.mkdir()
        store = FakeTroubledStore(LocalObjectStore(root / "objects"))
        platform = build_platform(root, config, store)
        async with http_client(platform) as http, openai_client(http) as client:
            upload = await create(client)
            ids = await both_parts(client, upload)
            store.calls.clear()
            store.fails = lambda operation, key: len(store.calls) == step + 1  # noqa: B023 - used up within the round
            refusals = []
            try:
                await client.uploads.complete(upload.id, part_ids=ids)
            except openai.InternalServerError as error:
                refusals = [(error.status_code, error.code, "retry-after" in error.response.headers)]
            assert refusals in ([], [(503, "store_unavailable", True)])
            failed = len(store.calls) > step
            store.fails = lambda operation, key: False
            answer = await client.uploads.complete(upload.id, part_ids=ids)
            assert (await client.files.content(answer.file.id)).content == HELLO + WORLD
            platform.storage.uploads.sweep(upload.expires_at + 7200)
            assert [file.id async for file in client.files.list()] == [answer.file.id]
            assert platform.stored_keys("parts/") == []
        if not failed:
            assert step > 8
            return
    pytest.fail("it never came to an end")
