"""Uploads, and media by reference."""

from __future__ import annotations

import asyncio
import base64
import io
import tempfile
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fake_services import fake_mp4, fake_png, fake_wav

from serving.errors import MediaKindMismatch, ServiceUnavailable
from serving.fetch import FetchedMedia
from storage.errors import StoreUnavailable


async def upload(http, content: bytes, name: str = "a.png"):
    answer = await http.post("/v1/media", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_upload_and_read_back(http):
    picture = fake_png()
    media = await upload(http, picture, "ein Bild ü.png")
    assert media["id"].startswith("media-")
    assert {key: media[key] for key in ("object", "kind", "bytes", "content_type", "width", "height")} == {
        "object": "media",
        "kind": "image",
        "bytes": len(picture),
        "content_type": "image/png",
        "width": 640,
        "height": 480,
    }
    assert media["filename"] == "ein Bild ü.png"
    assert (await http.get(f"/v1/media/{media['id']}")).json() == media
    content = await http.get(media["url"])
    assert content.content == picture
    assert content.headers["content-type"] == "image/png"
    assert content.headers["x-content-type-options"] == "nosniff"
    assert content.headers["content-disposition"].startswith("attachment;")


async def test_sound_and_video_facts(http):
    assert (await upload(http, fake_wav(seconds=7.5)))["duration_seconds"] == 7.5
    video = await upload(http, fake_mp4([{"cat": 0.9}] * 3))
    assert (video["kind"], video["duration_seconds"], video["has_audio"]) == ("video", 3.0, True)


async def test_by_data_url(http):
    url = f"data:image/png;base64,{base64.b64encode(fake_png()).decode()}"
    answer = await http.post("/v1/media", json={"data": url, "filename": "x.png"})
    assert answer.status_code == 200
    assert answer.json()["filename"] == "x.png"


async def test_by_url(http, live, platform):
    """The fetcher takes from a live server what was uploaded in-process: the platform itself."""
    media = await upload(http, fake_png({"tree": 0.6}))
    answer = await http.post("/v1/media", json={"url": f"{live}{media['url']}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == media["bytes"]
    assert answer.json()["filename"] == "content"
    missing = await http.post("/v1/media", json={"url": f"{live}/nothing.png"})
    assert missing.status_code == 400
    assert missing.json()["error"]["code"] == "media_fetch_failed"
    assert missing.json()["error"]["param"] == "url"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://example.org/a", "data": "data:"},
        {"url": "data:image/png;base64,AAAA"},
        {"data": "https://example.org/a"},
        {"url": 5},
        {"url": None, "data": None},
        {"nonsense": 1},
    ],
)
async def test_bad_references(http, platform, body):
    answer = await http.post("/v1/media", json=body)
    assert answer.status_code == 400, answer.text
    assert platform.stored_files() == 0


async def test_refused_uploads_leave_nothing(http, platform):
    for content in (b"", b"text", b"\x89PNG\r\n\x1a\n broken", fake_png(size=(10_000, 10_000))):
        answer = await http.post("/v1/media", files={"file": ("a.png", content)})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "file"
    answer = await http.post("/v1/media", files={"file": ("a", fake_png())}, data={"purpose": "x"})
    assert answer.status_code == 400
    assert platform.stored_files() == 0
    assert not any(path.is_file() for path in (platform.root / "objects" / "objects").rglob("*"))


async def test_delete(http):
    media = await upload(http, fake_png())
    again = await upload(http, fake_png())
    answer = await http.delete(f"/v1/media/{media['id']}")
    assert answer.json() == {"id": media["id"], "object": "media.deleted", "deleted": True}
    assert (await http.get(f"/v1/media/{media['id']}")).status_code == 404
    assert (await http.get(again["url"])).status_code == 200


@pytest.fixture
async def uploading(platform, monkeypatch):
    """An upload whose bytes are being stored, slowly."""
    admission = platform.app.state.gateway.admission
    begun, put = threading.Event(), platform.media.put

    def slow_put(*arguments):
        begun.set()
        time.sleep(0.1)
        return put(*arguments)

    monkeypatch.setattr(platform.media, "put", slow_put)
    task = asyncio.create_task(admission.from_file("default", io.BytesIO(fake_png()), "a.png"))
    await asyncio.to_thread(begun.wait, 5)
    return task


async def test_an_upload_given_up_while_it_is_stored_leaves_nothing(platform, uploading):
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert platform.stored_files() == 0


async def test_records_say_what_the_probe_found(http, platform, monkeypatch):
    """An MP4 that holds sound alone is taken for a video until it is probed."""
    probe = platform.perception.probe

    async def sound_only(media):
        return replace(await probe(media), content_type="audio/mp4")

    monkeypatch.setattr(platform.perception, "probe", sound_only)
    media = await upload(http, fake_mp4([{"cat": 0.9}]))
    assert media["content_type"] == "audio/mp4"
    assert platform.media.get("default", media["id"]).ref.content_type == "audio/mp4"
    assert (await http.get(media["url"])).headers["content-type"] == "audio/mp4"


async def test_an_upload_given_up_twice_leaves_nothing(platform, uploading):
    uploading.cancel()
    await asyncio.sleep(0.01)
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert platform.stored_files() == 0


async def test_a_medium_that_cannot_be_deleted_does_not_hide_why_it_was_refused(
    platform, monkeypatch, caplog
):
    def failing(*arguments):
        raise StoreUnavailable("The store does not answer.")

    monkeypatch.setattr(platform.media, "delete", failing)
    admission = platform.app.state.gateway.admission
    with pytest.raises(MediaKindMismatch):
        await admission.from_file("default", io.BytesIO(fake_mp4([{"a": 0.5}])), None, frozenset({"audio"}))
    assert "could not be deleted" in caplog.text


async def test_slow_web_servers_hold_up_no_uploads(platform, config, monkeypatch):
    admission = platform.app.state.gateway.admission
    monkeypatch.setattr(admission, "_limits", replace(config.limits, admission_wait_seconds=0.05))
    delivering = asyncio.Event()

    @asynccontextmanager
    async def slow_open(url, param=None):
        async def body():
            await delivering.wait()
            yield fake_png()

        yield FetchedMedia("a.png", body())

    monkeypatch.setattr(admission._fetcher, "open", slow_open)
    url = "http://slow.example/a.png"
    fetching = [asyncio.create_task(admission.from_reference("default", url)) for _ in range(8)]
    await asyncio.sleep(0.01)
    with pytest.raises(ServiceUnavailable, match="Too many media"):
        await admission.from_reference("default", url)
    await admission.from_file("default", io.BytesIO(fake_png()), None)
    delivering.set()
    assert len(await asyncio.gather(*fetching)) == 8


async def test_large_fetched_media_wait_in_the_media_stores_folder(http, live, platform, monkeypatch):
    folder = platform.root / "spool"
    folder.mkdir()
    monkeypatch.setattr(platform.media, "_spool_folder", str(folder))
    monkeypatch.setattr("serving.admission._SPOOL_BYTES", 10)
    media = await upload(http, fake_png())
    opened, make = [], tempfile.TemporaryFile

    def noting(*arguments, **options):
        opened.append((options.get("dir"), threading.current_thread() is threading.main_thread()))
        return make(*arguments, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", noting)
    answer = await http.post("/v1/media", json={"url": f"{live}{media['url']}"})
    assert answer.json()["bytes"] == media["bytes"]
    assert opened == [(str(folder), False)]
    folder.rmdir()
    answer = await http.post("/v1/media", json={"url": f"{live}{media['url']}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
