"""Nothing stays of what was refused, given up or could not be written, whenever that happens."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import threading

import pytest
from fake_platform import build_platform
from fake_services import fake_png, fake_wav
from fake_store import FakeTroubledStore
from served_models import served_models

from encoders.types import MediaKind
from serving.concurrency import in_thread_or_undone
from serving.config import ChatModel, GatewayConfig, RequestLimits
from serving.errors import InvalidRequest, LimitExceeded, MediaKindMismatch, ServiceUnavailable
from serving.file_types import is_text, other_content_type
from serving.near_duplicates import near_duplicates
from serving.store_check import StoreCheck
from storage.errors import StoreUnavailable
from storage.local import LocalObjectStore

PHOTO = fake_png({"cat": 0.9})
URL = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"


@pytest.fixture
def store(tmp_path):
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
def platform(tmp_path, store):
    limits = RequestLimits(max_media_bytes=10_000)
    config = GatewayConfig(ChatModel("m", 2048, None), *served_models(), bytes(16), limits=limits)
    return build_platform(tmp_path, config, store)


@pytest.fixture
def admission(platform):
    return platform.gateway.admission


def ways(admission):
    """The same picture through every door."""
    return {
        "inline": lambda: admission.from_reference("default", URL),
        "upload": lambda: admission.file_upload("default", io.BytesIO(PHOTO), "a.png"),
        "data url": lambda: admission.reference_upload("default", URL, "a.png"),
        "received": lambda: admission.received_upload(
            admission._media.receive("default", io.BytesIO(PHOTO), "application/octet-stream", 1000), "a.png"
        ),
    }


DOORS = ["inline", "upload", "data url", "received"]


def leftovers(platform) -> list[str]:
    """Everything but fingerprints, which nobody finds without a record."""
    return [key for key in platform.stored_keys() if not key.startswith("fingerprints/")]


@pytest.mark.parametrize("door", DOORS)
async def test_every_door_types_by_content(platform, admission, door):
    admitted = await ways(admission)[door]()
    assert admitted.info.kind is MediaKind.IMAGE
    assert platform.media.get("default", admitted.record.ref.id) == admitted.record
    assert admitted.record.ref.content_type == "image/png"
    assert (admitted.record.perceptual_hash is None) == (door == "inline")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("operation", ["put", "put_if_absent"])
@pytest.mark.parametrize("count", range(6))
async def test_a_store_that_fails_anywhere_keeps_nothing(platform, admission, store, door, operation, count):
    done = 0

    def fails(asked: str, key: str) -> bool:
        nonlocal done
        done += asked == operation and not key.startswith("derived/")
        return asked == operation and done == count + 1

    store.fails = fails
    try:
        await ways(admission)[door]()
    except StoreUnavailable:
        assert leftovers(platform) == []
    assert count > 0 or done


@pytest.mark.parametrize(
    ("door", "step"),
    [
        pair
        for pair in itertools.product(DOORS, ["blobs/", "files/", "probe", "fingerprint"])
        if pair not in (("inline", "fingerprint"), ("received", "blobs/"))  # it has none; it is stored before
    ],
)
async def test_who_gives_up_leaves_nothing(platform, admission, store, monkeypatch, door, step):
    begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def waits(operation: str, key: str) -> bool:
        if operation in ("put", "put_if_absent") and key.startswith(step):
            loop.call_soon_threadsafe(begun.set)
            go.wait(10)
        return False

    async def never(media):
        begun.set()
        await asyncio.Event().wait()

    if step.endswith("/"):
        store.fails = waits
    else:
        monkeypatch.setattr(platform.perception, step, never)
    admitting = asyncio.create_task(ways(admission)[door]())
    await asyncio.wait_for(begun.wait(), 10)
    admitting.cancel()
    loop.call_later(0.02, go.set)
    with pytest.raises(asyncio.CancelledError):
        await admitting
    assert leftovers(platform) == []


@pytest.mark.parametrize("door", DOORS)
async def test_refused_bytes_leave_nothing(platform, admission, monkeypatch, door):
    async def refuses(media):
        raise MediaKindMismatch("No.")

    monkeypatch.setattr(platform.perception, "probe", refuses)
    with pytest.raises(MediaKindMismatch):
        await ways(admission)[door]()
    assert leftovers(platform) == []


async def test_a_received_file_of_no_known_type(platform, admission):
    for content, content_type in ((b"\x00 nothing", "application/octet-stream"), (b"words", "text/plain")):
        ref = platform.media.receive("default", io.BytesIO(content), "image/png", 100)
        kept = await admission.received_upload(ref, "a")
        assert (kept.info, kept.record.ref.content_type) == (None, content_type)


async def test_who_gets_no_turn_leaves_nothing(platform, admission, monkeypatch):
    monkeypatch.setattr(admission, "_storing", asyncio.Semaphore(0))
    monkeypatch.setattr(admission, "_limits", RequestLimits(admission_wait_seconds=0.01))
    for door in DOORS:
        with pytest.raises(ServiceUnavailable):
            await ways(admission)[door]()
        assert leftovers(platform) == []


@pytest.mark.parametrize("door", DOORS)
async def test_cancelled_again_and_again_while_the_record_is_written(platform, admission, store, door):
    begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def waits(operation: str, key: str) -> bool:
        if operation == "put" and key.startswith("files/"):
            loop.call_soon_threadsafe(begun.set)
            go.wait(10)
        return False

    store.fails = waits
    admitting = asyncio.create_task(ways(admission)[door]())
    await asyncio.wait_for(begun.wait(), 10)
    for _ in range(6):
        admitting.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await admitting
    go.set()
    await asyncio.sleep(0.05)
    for _ in range(200):  # what is left to be taken back goes on behind it
        if not leftovers(platform):
            return
        await asyncio.sleep(0.01)
    assert leftovers(platform) == []


async def test_a_lifetime_counts_from_the_creation(platform, admission):
    for upload in (
        admission.file_upload("default", io.BytesIO(PHOTO), "a.png", "vision", 3600),
        admission.received_upload(
            platform.media.receive("default", io.BytesIO(PHOTO), "image/png", 1000), "a.png", "vision", 3600
        ),
    ):
        record = (await upload).record
        assert record.expires_at_seconds == record.created_at_seconds + 3600


@pytest.mark.parametrize("data", ["AAA", "AAAA=", "AA=A", "A A=", "AAAA\n", "AA-_", "é"])
async def test_base64_is_strict(platform, admission, data):
    with pytest.raises(InvalidRequest, match="base64"):
        await admission.from_base64("default", data)
    assert leftovers(platform) == []


async def test_limits_and_kinds_are_looked_at_before_anything_is_stored(platform, admission, store):
    huge = base64.b64encode(bytes(10_004)).decode()
    with pytest.raises(LimitExceeded):
        await admission.from_base64("default", huge)
    store.calls.clear()
    with pytest.raises(MediaKindMismatch):
        await admission.from_reference("default", URL, frozenset({MediaKind.AUDIO}))
    assert not [key for _, key in store.calls if not key.startswith("access/tenants/")]  # its limits


async def test_pictures_that_look_alike(platform, admission):
    def picture(fingerprint: str, label: str) -> io.BytesIO:
        return io.BytesIO(fake_png({label: 0.9}, fingerprint=fingerprint))

    first, near, far = [
        (await admission.file_upload("default", picture(bits, label), None)).record
        for bits, label in (("0" * 16, "a"), ("0" * 15 + "7", "b"), ("f" * 16, "c"))
    ]
    await admission.file_upload("other", picture("0" * 16, "d"), None)
    sound = (await admission.file_upload("default", io.BytesIO(fake_wav()), None)).record
    found = near_duplicates(platform.storage, first)
    assert [(one.record, one.distance) for one in found] == [(near, 3)]
    assert near_duplicates(platform.storage, far) == []
    assert near_duplicates(platform.storage, sound) is None
    await platform.gateway.remover.remove("default", near.ref.id)
    assert near_duplicates(platform.storage, first) == []


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"The free world, said moov", "text/plain"),
        ("\ufeffÜber".encode(), "text/plain"),
        (("x" * 8191 + "ü").encode()[:8192], "text/plain"),
        (b"\x1b[1mbold\x1b[0m", "text/plain"),
        (b"%PDF-1.4 plain", "application/pdf"),
        (b"\xff\xfe", "application/octet-stream"),
        (b"a\x00b", "application/octet-stream"),
    ],
)
def test_other_files_by_content(head, content_type):
    assert other_content_type(head) == content_type
    assert is_text(head) == (content_type == "text/plain" or head.startswith(b"%PDF"))


async def test_work_of_a_cancelled_caller_is_undone():
    begun, go, undone = threading.Event(), threading.Event(), []

    def work() -> int:
        begun.set()
        go.wait(10)
        return 7

    task = asyncio.create_task(in_thread_or_undone(work, undone.append))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [7]
    assert await in_thread_or_undone(lambda: 8, undone.append) == 8
    assert undone == [7]


async def test_a_store_that_hangs_is_asked_once(store):
    go, asked = threading.Event(), 0

    def hangs(operation: str, key: str) -> bool:
        nonlocal asked
        asked += 1
        return not go.wait(10)

    store.fails = hangs
    check = StoreCheck(store)
    waiting = [asyncio.create_task(check.ready()) for _ in range(20)]
    await asyncio.sleep(0.02)
    waiting[0].cancel()
    go.set()
    assert await asyncio.gather(*waiting[1:]) == [True] * 19
    assert asked == 1
    store.fails = lambda operation, key: True
    assert not await check.ready()
