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
from fake_platform import build_platform, http_client
from fake_services import fake_mp4, fake_png, fake_wav
from fake_store import FakeTroubledStore
from starlette.formparsers import MultiPartParser

from serving.errors import InvalidRequest, ServiceUnavailable
from serving.fetch import FetchedMedia
from serving.spooling import open_spool
from storage.local import LocalObjectStore


async def upload(http, content: bytes, name: str = "a.png"):
    answer = await http.post("/v1/media", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_upload_and_read_back(http):
    picture = fake_png()
    media = await upload(http, picture, "ein Bild ü.png")
    assert media["id"].startswith("file-")
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
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''ein%20Bild%20%C3%BC.png"


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


async def test_what_only_uploads_have(http):
    picture = await upload(http, fake_png(fingerprint="00ff" * 4))
    assert (picture["purpose"], picture["expires_at"]) == ("user_data", None)
    assert (picture["perceptual_hash"], picture["near_duplicates"]) == ("00ff" * 4, [])
    sound = await upload(http, fake_wav())
    assert (sound["perceptual_hash"], sound["near_duplicates"]) == (None, None)


async def test_near_duplicates(http):
    """Hashes that differ in so many bits."""
    ids = {}
    for bits in (0, 1, 10, 11, 64):
        picture = fake_png(fingerprint=f"{(1 << bits) - 1:016x}")
        ids[bits] = (await upload(http, picture))["id"]
    media = (await http.get(f"/v1/media/{ids[0]}")).json()
    assert media["near_duplicates"] == [{"id": ids[1], "distance": 1}, {"id": ids[10], "distance": 10}]
    await http.delete(f"/v1/media/{ids[1]}")
    media = (await http.get(f"/v1/media/{ids[0]}")).json()
    assert media["near_duplicates"] == [{"id": ids[10], "distance": 10}]
    # Of very many only ten are shown.
    for _ in range(12):
        media = await upload(http, fake_png(fingerprint="f" * 16))
    assert len(media["near_duplicates"]) == 10
    assert {other["distance"] for other in media["near_duplicates"]} == {0}


async def test_thumbnails(http, platform):
    picture, film = await upload(http, fake_png()), await upload(http, fake_mp4([{"cat": 0.9}]))
    answer = await http.get(f"/v1/media/{picture['id']}/thumbnail")
    assert (answer.status_code, answer.content) == (200, b"\xff\xd8\xffimage 256")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    for size in (64, 100, 127):
        small = await http.get(f"/v1/media/{film['id']}/thumbnail?size={size}")
        assert small.content.endswith(b"video 64")
    await http.get(f"/v1/media/{picture['id']}/thumbnail")
    assert platform.perception.calls["thumbnail"] == 2
    known = await http.get(
        f"/v1/media/{picture['id']}/thumbnail", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", answer.headers["etag"])


async def test_frames_of_videos(http, platform):
    film = await upload(http, fake_mp4([{"cat": 0.9}, {"dog": 0.9}]))
    path = f"/v1/media/{film['id']}/thumbnail"
    first, again, other = [
        await http.get(path, params={"time_seconds": seconds}) for seconds in ("1.0011", "1.0019", "0")
    ]
    assert first.content.endswith(b"video 256 at 1.001")
    assert first.headers["etag"] == again.headers["etag"] != other.headers["etag"]
    assert platform.perception.calls["thumbnail"] == 2
    for seconds in ("2", "2.5", "-1", "nan", "inf", "1e9", "soon"):
        answer = await http.get(path, params={"time_seconds": seconds})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "time_seconds"), seconds
    picture = await upload(http, fake_png())
    answer = await http.get(f"/v1/media/{picture['id']}/thumbnail?time_seconds=0")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "time_seconds")


@pytest.mark.parametrize("rate", [24000 / 1001, 25, 30, 240])
async def test_a_moment_is_within_the_frame_that_begins_then(http, rate):
    """Where a scene begins its first frame is shown, not the last one of the scene before."""
    film = await upload(http, fake_mp4([{"cat": 0.9}, {"dog": 0.9}]))
    for number in range(0, round(rate), 7):
        time_seconds = 1 + number / rate
        path = f"/v1/media/{film['id']}/thumbnail?time_seconds={time_seconds!r}"
        shown = float((await http.get(path)).content.rpartition(b" ")[2])
        # The vision encoders look a thousandth of a second later.
        assert time_seconds < shown + 0.001 < time_seconds + 1 / rate


async def test_what_is_written_in_a_picture(http, platform):
    picture = await upload(http, fake_png(text=("EXIT", "this way")))
    path = f"/v1/media/{picture['id']}/text"
    read = (await http.get(path)).json()
    assert read == {
        "id": picture["id"],
        "object": "media.text",
        "width": 640,
        "height": 480,
        "lines": [
            {"text": text, "confidence": 0.9, "box": [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]}
            for text in ("EXIT", "this way")
        ],
        "cache": "miss",
    }
    assert (await http.get(path)).json()["cache"] == "hit"
    assert platform.perception.calls["read_text"] == 1
    for other in (fake_wav(), fake_mp4([{"cat": 0.9}])):
        answer = await http.get(f"/v1/media/{(await upload(http, other))['id']}/text")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "media_kind_mismatch")


@pytest.mark.parametrize("size", ["63", "1025", "0", "-1", "big", ""])
async def test_thumbnail_sizes(http, size):
    picture = await upload(http, fake_png())
    answer = await http.get(f"/v1/media/{picture['id']}/thumbnail", params={"size": size})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "size"


async def test_sound_has_no_thumbnail(http):
    sound = await upload(http, fake_wav())
    answer = await http.get(f"/v1/media/{sound['id']}/thumbnail")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "media_kind_mismatch")


async def test_files_that_are_no_media_have_no_facts(http):
    form = {"file": ("a.txt", b"text")}
    file = (await http.post("/v1/files", files=form, data={"purpose": "user_data"})).json()
    for path in ("", "/thumbnail"):
        answer = await http.get(f"/v1/media/{file['id']}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_media")
    assert (await http.get(f"/v1/media/{file['id']}/content")).text == "text"


@pytest.fixture
async def uploading(platform, monkeypatch):
    """An upload whose bytes are being stored, slowly."""
    admission = platform.app.state.gateway.admission
    begun, receive = threading.Event(), platform.media.receive

    def slow_receive(*arguments):
        begun.set()
        time.sleep(0.1)
        return receive(*arguments)

    monkeypatch.setattr(platform.media, "receive", slow_receive)
    task = asyncio.create_task(admission.file_upload("default", io.BytesIO(fake_png()), "a.png"))
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


async def test_a_medium_that_cannot_be_taken_back_does_not_hide_why_it_was_refused(tmp_path, config, caplog):
    store = FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))
    platform = build_platform(tmp_path, config, store)
    store.fails = lambda operation, key: operation == "delete"
    with pytest.raises(InvalidRequest, match="damaged"):
        await platform.gateway.admission.file_upload("default", io.BytesIO(fake_png()[:-1]), None)
    assert "could not be taken back" in caplog.text
    assert platform.stored_files() == 0


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


async def test_a_tenants_slow_web_servers_hold_up_no_other_tenants(platform, monkeypatch):
    admission = platform.app.state.gateway.admission
    delivering, all_at_work, begun = asyncio.Event(), asyncio.Event(), []

    @asynccontextmanager
    async def slow_open(url, param=None):
        begun.append(url)
        if len(begun) == 7:
            all_at_work.set()

        async def body():
            if "slow" in url:
                await delivering.wait()
            yield fake_png()

        yield FetchedMedia("a.png", body())

    monkeypatch.setattr(admission._fetcher, "open", slow_open)
    await admission.from_reference("other", "http://fast.example/a.png")  # somebody else is about
    many = [
        asyncio.create_task(admission.from_reference("noisy", f"http://slow.example/{n}.png"))
        for n in range(40)
    ]
    async with asyncio.timeout(30):
        await all_at_work.wait()
        for n in range(3):
            await admission.from_reference("other", f"http://fast.example/{n}.png")
    assert sum("slow" in url for url in begun) == 6
    delivering.set()
    assert len(await asyncio.gather(*many)) == 40


async def test_a_store_that_fails_after_an_upload_does_not_hide_it(tmp_path, config, caplog):
    store = FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))
    platform = build_platform(tmp_path, config, store)
    async with http_client(platform) as http:
        store.fails = lambda operation, key: (operation, key) == ("list", "fingerprints/default/")
        media = await upload(http, fake_png())
        assert media["perceptual_hash"] is not None
        assert media["near_duplicates"] is None
        assert "Near-duplicates" in caplog.text
        assert (await http.get(f"/v1/media/{media['id']}")).status_code == 503
        store.fails = lambda operation, key: False
        assert (await http.get(f"/v1/media/{media['id']}")).json() == {**media, "near_duplicates": []}


@pytest.fixture
def spooled(monkeypatch):
    """Folders in which temporary files were made."""
    folders, make = [], tempfile.TemporaryFile

    def noting(*arguments, **options):
        folders.append(options.get("dir"))
        return make(*arguments, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", noting)
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 10)
    return folders


@pytest.mark.parametrize("path", ["/v1/media", "/v1/files", "/v1/uploads", "/v1/audio/transcriptions"])
async def test_large_forms_wait_in_the_media_stores_folder(http, platform, spooled, path):
    sound, form, name = fake_wav((0.0, 1.0, "hi")), {}, "file"
    if path == "/v1/files":
        form = {"purpose": "user_data"}
    elif path == "/v1/audio/transcriptions":
        form = {"model": "whisper-1"}
    elif path == "/v1/uploads":
        wanted = {"filename": "a", "purpose": "user_data", "bytes": len(sound), "mime_type": "audio/wav"}
        path = f"/v1/uploads/{(await http.post(path, json=wanted)).json()['id']}/parts"
        name = "data"
    answer = await http.post(path, files={name: ("a.wav", sound)}, data=form)
    assert answer.status_code == 200, answer.text
    assert set(spooled) == {str(platform.root / "spool")}
    (platform.root / "spool").rmdir()
    answer = await http.post(path, files={name: ("a.wav", sound)}, data=form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "punycode", "idna", "undefined", "ä"])
async def test_forms_are_utf_8(http, platform, charset):
    """As text of others a file's name could be what no answer can hold."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="\\ud800.png"\r\n\r\n'
        + fake_png()
        + b"\r\n--x--\r\n"
    )
    for given, status in ((charset, 400), ("UTF-8", 200)):
        kind = f"multipart/form-data; boundary=x; charset={given}".encode("latin-1")
        answer = await http.post("/v1/media", content=body, headers={"content-type": kind})
        assert answer.status_code == status, answer.text
    assert platform.stored_files() == 1


@pytest.mark.parametrize("path", ["/v1/media", "/v1/audio/transcriptions"])
async def test_names_of_files_are_short(http, platform, path):
    for letters, status in ((255, 200), (256, 400)):
        file = ("ü" * letters, fake_wav((0.0, 1.0, "hi")))
        form = {"model": "whisper-1"} if "audio" in path else {}
        answer = await http.post(path, files={"file": file}, data=form)
        assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == "file"
    assert platform.stored_files() == 1


async def test_large_fetched_media_wait_in_the_media_stores_folder(http, live, platform, monkeypatch):
    folder = platform.root / "spool"
    monkeypatch.setattr("serving.admission.open_spool", lambda folder: open_spool(folder, 10))
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
