"""A store that does not answer: a clear 503 on every route that needs it, and everything works again after."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from dataclasses import replace

import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_png, fake_wav
from fake_store import FakeTroubledStore
from s3_server import S3Server

from storage.backends import open_object_store
from storage.config import StorageConfig
from storage.local import LocalObjectStore

PHOTO, OTHER = fake_png({"cat": 0.9}), fake_png({"dog": 0.8})
MESSAGES = [{"role": "user", "content": "Hi"}]


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def chat(*urls: str) -> dict:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"json": {"model": "default", "messages": [{"role": "user", "content": parts}]}}


def requests(media_id: str) -> dict[str, tuple[str, str, dict]]:
    """One request for each way to the store."""
    sound = {"files": {"file": ("a.wav", fake_wav((0.0, 1.0, "hi")))}, "data": {"model": "whisper-1"}}
    file = {"files": {"file": ("a.png", OTHER)}}
    upload = {"purpose": "user_data", "filename": "a.png", "bytes": 3, "mime_type": "image/png"}
    image = {"query": {"type": "image", "content": media_id}}
    return {
        "upload of a medium": ("POST", "/v1/media", file),
        "a medium's facts": ("GET", f"/v1/media/{media_id}", {}),
        "a medium's bytes": ("GET", f"/v1/media/{media_id}/content", {}),
        "deleting a medium": ("DELETE", f"/v1/media/{media_id}", {}),
        "upload of a file": ("POST", "/v1/files", {**file, "data": {"purpose": "vision"}}),
        "list of files": ("GET", "/v1/files", {}),
        "a file's facts": ("GET", f"/v1/files/{media_id}", {}),
        "an upload in parts": ("POST", "/v1/uploads", {"json": upload}),
        "chat about a known photo": ("POST", "/v1/chat/completions", chat(data_url(PHOTO))),
        "chat about a new photo": ("POST", "/v1/chat/completions", chat(data_url(OTHER))),
        "chat about an id": ("POST", "/v1/chat/completions", chat(media_id)),
        "transcription": ("POST", "/v1/audio/transcriptions", sound),
        "search by a medium": ("POST", "/v1/search", {"json": image}),
        "indexing": ("POST", "/v1/collections/default/documents", {"json": {"media_id": media_id}}),
        "warm-up": ("POST", "/v1/media/warm_up", {"json": {"ids": [media_id]}}),
    }


@pytest.fixture
def store(tmp_path) -> FakeTroubledStore:
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
def platform(tmp_path, config, store) -> Platform:
    return build_platform(tmp_path, config, store)


async def known(http) -> str:
    """A photo that was uploaded, and another request's; both were perceived."""
    answer = await http.post("/v1/media", files={"file": ("a.png", PHOTO)})
    assert answer.status_code == 200, answer.text
    media_id: str = answer.json()["id"]
    assert (await http.post("/v1/chat/completions", **chat(data_url(PHOTO)))).status_code == 200
    return media_id


def check_refused(what: str, answer) -> None:
    assert answer.status_code == 503, f"{what}: {answer.status_code} {answer.text}"
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("store_unavailable", "server_error"), what
    assert int(answer.headers["retry-after"]) > 0
    assert "store" in error["message"]


async def test_every_route_says_so_and_recovers(http, platform, store):
    media_id = await known(http)
    store.fails = lambda operation, key: True
    for what, (method, path, options) in requests(media_id).items():
        check_refused(what, await http.request(method, path, **options))
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["deployments"]["storage"]) == (503, "not ready")
    answer = await http.post("/v1/chat/completions", json={"model": "default", "messages": MESSAGES})
    assert answer.status_code == 200
    embedding = {"model": "all-minilm-l6-v2", "input": "a text"}
    assert (await http.post("/v1/embeddings", json=embedding)).status_code == 200
    store.fails = lambda operation, key: False
    assert (await http.get("/ready")).status_code == 200
    assert (await http.get(f"/v1/media/{media_id}/content")).content == PHOTO
    for what, (method, path, options) in requests(media_id).items():
        if method != "DELETE":
            assert (await http.request(method, path, **options)).status_code == 200, what


@pytest.mark.parametrize("operation", ["put", "put_if_absent"])
async def test_trouble_in_the_middle_leaves_nothing_half_done(http, platform, store, operation):
    store.fails = lambda asked, key: asked == operation
    answer = await http.post("/v1/media", files={"file": ("a.png", PHOTO)})
    check_refused(operation, answer)
    store.fails = lambda asked, key: False
    assert platform.stored_files() == 0
    media_id = await known(http)
    assert (await http.get(f"/v1/media/{media_id}/content")).content == PHOTO


@pytest.fixture
def s3_platform(tmp_path, config, s3_server: S3Server) -> Platform:
    s3 = replace(s3_server.config, connect_timeout_seconds=0.5, read_timeout_seconds=0.5, max_attempts=2)
    objects = open_object_store(StorageConfig(tmp_path, tmp_path / "spool", s3=s3))
    objects.probe()
    return build_platform(tmp_path, config, objects)


async def test_a_paused_s3_server(s3_platform, s3_server):
    """All routes at once: hanging calls must not take the threads that answer the others."""
    platform = s3_platform
    async with platform.app.router.lifespan_context(platform.app), http_client(platform) as http:
        media_id = await known(http)
        ways = {what: way for what, way in requests(media_id).items() if what != "deleting a medium"}
        s3_server.pause()
        try:
            text = {"model": "default", "messages": MESSAGES}
            work = [http.request(method, path, **options) for method, path, options in ways.values()]
            refusing = asyncio.gather(*work)
            ready = asyncio.create_task(http.get("/ready"))
            assert (await http.post("/v1/chat/completions", json=text)).status_code == 200
            answer = await asyncio.wait_for(ready, 30)
            assert (answer.status_code, answer.json()["deployments"]["storage"]) == (503, "not ready")
            answers = await asyncio.wait_for(refusing, 60)
        finally:
            s3_server.resume()
        for what, answer in zip(ways, answers, strict=True):
            check_refused(what, answer)
        for _ in range(100):  # connections that were cut off are made anew
            if (await http.get("/ready")).status_code == 200:
                break
            await asyncio.sleep(0.1)
        assert (await http.get(f"/v1/media/{media_id}/content")).content == PHOTO
        for what, (method, path, options) in ways.items():
            assert (await http.request(method, path, **options)).status_code == 200, what


async def test_hanging_calls_leave_threads_for_others(http, platform, store):
    """The app's own pool: with the event loop's, seven hanging calls would stop everything."""
    media_id = await known(http)
    go = threading.Event()
    store.fails = lambda operation, key: not go.wait(30)
    async with platform.app.router.lifespan_context(platform.app):
        hanging = [asyncio.create_task(http.get(f"/v1/media/{media_id}")) for _ in range(40)]
        try:
            done = await asyncio.wait_for(asyncio.to_thread(io.BytesIO, b"x"), 10)
            assert done.read() == b"x"
        finally:
            go.set()
        assert {answer.status_code for answer in await asyncio.gather(*hanging)} == {200}
