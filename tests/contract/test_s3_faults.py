"""The S3 store against a real server that fails: errors, lost answers, broken connections, pauses, kills."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy, Request
from s3_server import S3Server

from storage.config import S3Config
from storage.errors import CorruptObject, ObjectNotFound, StorageError, StoreUnavailable
from storage.s3.store import S3ObjectStore

LARGE = bytes(range(251)) * 80_000  # 20 MB: three parts


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.port, s3_server.config) as proxy:
        yield proxy


@pytest.fixture
def store(s3_server: S3Server, proxy: FaultProxy) -> Iterator[S3ObjectStore]:
    store = S3ObjectStore(replace(s3_server.config, endpoint_url=proxy.url))
    yield store
    store.close()


def is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def is_read(request: Request) -> bool:
    return request.method == "GET"


def unfinished_uploads(server: S3Server, store: S3ObjectStore) -> list[Any]:
    client = server.client()
    try:
        found = client.list_multipart_uploads(Bucket=store._config.bucket, Prefix=store._config.prefix)
        uploads: list[Any] = found.get("Uploads", [])
        return uploads
    finally:
        client.close()


OPERATIONS: dict[str, Callable[[S3ObjectStore], object]] = {
    "get": lambda store: store.get("there"),
    "open": lambda store: store.open("there", 1, 2).read(),
    "head": lambda store: store.head("there").size_bytes,
    "list": lambda store: [info.key for info in store.list("there")],
    "put": lambda store: store.put("new", b"x"),
    "put stream": lambda store: store.put("new", io.BytesIO(LARGE)),
    "put if absent": lambda store: store.put_if_absent("new", b"x"),
    "put stream if absent": lambda store: store.put_if_absent("new", io.BytesIO(LARGE)),
    "put if absent on a taken key": lambda store: not store.put_if_absent("there", b"x"),
    "copy": lambda store: store.copy_if_absent("there", "new"),
    "copy to a taken key": lambda store: not store.copy_if_absent("there", "there-too"),
    "delete": lambda store: store.delete("there-too") in (True, False),
}
WANTED = {"get": b"bytes", "open": b"yt", "head": 5, "list": ["there", "there-too"]}


@pytest.mark.parametrize(
    ("name", "times", "status", "code"),
    [
        *((name, 1, 503, "SlowDown") for name in sorted(OPERATIONS)),
        *((name, 2, 500, "InternalError") for name in ("get", "put", "put stream if absent", "copy")),
    ],
)
def test_errors_of_the_server_are_tried_again(
    store: S3ObjectStore, proxy: FaultProxy, name: str, times: int, status: int, code: str
) -> None:
    store.put("there", b"bytes")
    store.put("there-too", b"bytes")
    with proxy.failing(Fault("answer error", times=times, status=status, code=code)):
        result = OPERATIONS[name](store)
    assert result in (WANTED.get(name, True), None)


def test_a_deletion_says_whether_it_may_come_into_effect_once_more(
    store: S3ObjectStore, proxy: FaultProxy
) -> None:
    assert store.delete("missing") is True
    store.put("there", b"bytes")
    with proxy.failing(Fault("lose answer")):
        assert store.delete("there") is False


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_lost_answer_changes_no_answer(store: S3ObjectStore, proxy: FaultProxy, name: str) -> None:
    """Above all a conditional write that succeeded unheard must not say that another writer was first."""
    store.put("there", b"bytes")
    store.put("there-too", b"bytes")
    final = OPERATIONS[name]
    lost = Fault("lose answer", lambda request: request.is_completion if "stream" in name else True)
    with proxy.failing(lost):
        result = final(store)
    assert lost.times == 0
    assert result in (WANTED.get(name, True), None)
    if name.startswith(("put", "copy")) and "taken" not in name:
        assert store.get("new") in (b"x", b"bytes", LARGE)
    assert store.get("there") == b"bytes"


def test_a_conflict_is_tried_again(store: S3ObjectStore, proxy: FaultProxy) -> None:
    conflict = {"times": 2, "status": 409, "code": "ConditionalRequestConflict"}
    with proxy.failing(Fault("answer error", is_write, **conflict)):
        assert store.put_if_absent("key", b"x")
    with proxy.failing(Fault("answer error", lambda request: request.is_copy, **conflict)):
        assert store.copy_if_absent("key", "copy")
    with proxy.failing(Fault("answer error", lambda request: request.is_completion, **conflict)):
        assert store.put_if_absent("large", io.BytesIO(LARGE))
    assert store.get("large") == LARGE
    with (
        proxy.failing(Fault("answer error", is_write, 99, 409, "ConditionalRequestConflict")),
        pytest.raises(StoreUnavailable, match="again and again"),
    ):
        store.put_if_absent("other", b"x")


@pytest.mark.parametrize("body", [b"x", LARGE])
def test_a_conflict_after_a_lost_answer_is_not_lost_to_oneself(
    store: S3ObjectStore, proxy: FaultProxy, body: bytes
) -> None:
    """The server may still be at work on the first try when the second one comes."""

    def decides(request: Request) -> bool:
        return request.is_completion or (request.method == "PUT" and not request.is_part)

    lost = Fault("lose answer", decides)
    conflict = Fault("answer error", decides, 1, 409, "ConditionalRequestConflict")
    with proxy.failing(lost, conflict):
        assert store.put_if_absent("key", body)
    assert (lost.times, conflict.times) == (0, 0)
    assert store.get("key") == body


@pytest.mark.parametrize("body", [b"x", LARGE])
def test_what_was_written_unheard_and_deleted_by_another_is_no_missing_object(
    s3_server: S3Server, proxy: FaultProxy, body: bytes
) -> None:
    config = s3_server.config
    store, other = S3ObjectStore(replace(config, endpoint_url=proxy.url)), S3ObjectStore(config)
    lost = Fault("lose answer", lambda request: request.is_completion or body == b"x")
    taken = Fault("answer error", lambda request: not lost.times, 1, 412, "PreconditionFailed")
    gone = Fault("answer error", lambda request: not taken.times, 1, 404)
    gone.before = lambda: other.delete("key")
    with proxy.failing(lost, taken, gone):
        assert store.put_if_absent("key", body)
    assert gone.times == 0
    store.close()
    other.close()


@pytest.mark.parametrize("body", [b"x" * 1000, LARGE])
def test_requests_cut_short_are_sent_again_and_store_nothing_torn(
    store: S3ObjectStore, proxy: FaultProxy, body: bytes
) -> None:
    with proxy.failing(Fault("cut request", lambda request: request.method == "PUT", times=2)):
        assert store.put_if_absent("key", body)
    assert store.get("key") == body


def test_a_broken_download_goes_on_where_it_broke(store: S3ObjectStore, proxy: FaultProxy) -> None:
    store.put("key", LARGE)
    with proxy.failing(Fault("cut answer", is_read, times=3)):
        assert store.get("key") == LARGE
    with proxy.failing(Fault("cut answer", is_read, times=3)), store.open("key", 1000, 5_000_000) as stream:
        pieces = [stream.read(100_000) for _ in range(51)]
    assert b"".join(pieces) == LARGE[1000:5_001_000]
    asked = [request.headers.get("Range") for request in proxy.requests if request.method == "GET"]
    assert asked[-4] == "bytes=1000-5000999"
    assert all(asked[-3:])


def test_a_download_that_breaks_off_for_ever_is_an_error(store: S3ObjectStore, proxy: FaultProxy) -> None:
    store.put("key", LARGE)
    first = Fault("cut answer", lambda request: is_read(request) and "Range" not in request.headers)
    with proxy.failing(first, Fault("lose answer", is_read, times=1000)), pytest.raises(StoreUnavailable):
        store.get("key")


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_two_versions_are_never_mixed(store: S3ObjectStore, proxy: FaultProxy, change: str) -> None:
    store.put("key", LARGE)
    with proxy.failing(Fault("cut answer", is_read)), store.open("key") as stream:
        assert stream.read(50_000) == LARGE[:50_000]
        if change == "replaced":
            store.put("key", LARGE[::-1])
        else:
            store.delete("key")
        with pytest.raises(StoreUnavailable, match="replaced"):
            stream.read()


def test_bytes_damaged_on_the_way_are_noticed(store: S3ObjectStore, proxy: FaultProxy) -> None:
    for body in (b"x" * 1000, LARGE):
        with proxy.failing(Fault("flip request", is_write, times=50)), pytest.raises(StoreUnavailable):
            store.put("key", body)
        with pytest.raises(ObjectNotFound):
            store.head("key")
    store.put("key", b"x" * 1000)
    with proxy.failing(Fault("flip answer", is_read, times=50)), pytest.raises(CorruptObject):
        store.get("key")
    assert store.get("key") == b"x" * 1000


def test_an_upload_that_fails_in_the_middle_leaves_nothing(
    s3_server: S3Server, store: S3ObjectStore, proxy: FaultProxy
) -> None:
    second = Fault("answer error", lambda request: "partNumber=2" in request.path, times=100)
    with proxy.failing(second), pytest.raises(StoreUnavailable):
        store.put("key", io.BytesIO(LARGE))
    assert list(store.list("")) == []
    assert unfinished_uploads(s3_server, store) == []

    class GoesAway(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 10_000_000:
                raise ConnectionResetError("gone")
            return super().read(size)

    with pytest.raises(ConnectionResetError, match="gone"):
        store.put_if_absent("key", GoesAway(LARGE))
    assert list(store.list("")) == []
    assert unfinished_uploads(s3_server, store) == []


def test_a_failing_server_is_asked_a_bounded_number_of_times_then_left_alone_for_a_while(
    s3_server: S3Server, proxy: FaultProxy
) -> None:
    store = S3ObjectStore(replace(s3_server.config, endpoint_url=proxy.url), recovery_seconds=0.5)
    store.put("key", b"x")
    with proxy.failing(Fault("answer error", times=1000)):
        asked = len(proxy.requests)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="overloaded"):
                store.get("key")
        assert len(proxy.requests) == asked + 3 * 3
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="few seconds"):
                store.get("key")
        assert len(proxy.requests) == asked + 3 * 3
    assert eventually(lambda: store.get("key")) == b"x"
    store.close()


def eventually(use: Callable[[], bytes]) -> bytes:
    deadline = time.monotonic() + 30
    while True:
        try:
            return use()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def missing(server: S3Server) -> S3Config:
    return replace(server.config, bucket="no-such-bucket")


def wrong_key(server: S3Server) -> S3Config:
    return replace(server.config, access_key_id="nobody")


def wrong_secret(server: S3Server) -> S3Config:
    return replace(server.config, secret_access_key="wrong")


def nobody_there(server: S3Server) -> S3Config:
    return replace(server.config, endpoint_url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (missing, "bucket does not exist"),
        (wrong_key, "credentials"),
        (wrong_secret, "credentials"),
        (nobody_there, "does not answer"),
    ],
)
def test_the_probe_says_what_is_wrong(
    s3_server: S3Server, config: Callable[[S3Server], S3Config], words: str
) -> None:
    store = S3ObjectStore(config(s3_server))
    with pytest.raises(StoreUnavailable, match=words) as caught:
        store.probe()
    for secret in ("127.0.0.1", "http", "no-such-bucket", "nobody", "wrong"):
        assert secret not in caught.value.message
    store.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint_url": "secret.example:8333"},
        {"public_endpoint_url": "secret.example"},
        {"region": "secret region"},
    ],
)
def test_settings_that_name_no_server_are_a_clear_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(StoreUnavailable, match="http://") as caught:
        S3ObjectStore(S3Config("bucket", **wrong))
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("ignored", "words"),
    [
        (lambda request: request.method == "PUT" and not request.is_copy, "condition of a put"),
        (lambda request: request.is_completion, "condition of a completed multipart upload"),
        (lambda request: request.is_copy, "condition of a copy"),
    ],
)
def test_the_probe_refuses_a_server_without_conditional_writes(
    store: S3ObjectStore, proxy: FaultProxy, ignored: Callable[[Request], bool], words: str
) -> None:
    with proxy.failing(Fault("strip condition", ignored, 10)), pytest.raises(StoreUnavailable, match=words):
        store.probe()
    assert list(store.list("")) == []
    store.probe()


def test_a_paused_server_is_a_clear_error_then_goes_on_and_has_lost_nothing(s3_server: S3Server) -> None:
    config = replace(s3_server.config, connect_timeout_seconds=0.5, read_timeout_seconds=0.5, max_attempts=2)
    store = S3ObjectStore(config, recovery_seconds=0.5)
    acknowledged: list[int] = []
    outcomes: list[str] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                if store.put_if_absent(f"k/{number:06}", f"{number}".encode() * 50):
                    acknowledged.append(number)
            except StoreUnavailable as error:
                outcomes.append(error.message)
                stop.wait(0.01)

    store.probe()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert wait_until(lambda: len(acknowledged) > 20)
        s3_server.pause()
        try:
            assert wait_until(lambda: any("few seconds" in outcome for outcome in outcomes))
            assert any("does not answer" in outcome for outcome in outcomes)
        finally:
            s3_server.resume()
        enough = len(acknowledged) + 20
        assert wait_until(lambda: len(acknowledged) > enough)
    finally:
        stop.set()
        writer.join(timeout=30)
    held = {info.key for info in store.list("k/")}
    assert {f"k/{number:06}" for number in acknowledged} <= held
    for number in acknowledged[-50:]:
        assert store.get(f"k/{number:06}") == f"{number}".encode() * 50
    store.close()


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_killed_server_comes_back_with_all_that_it_acknowledged(s3_server: S3Server) -> None:
    store = S3ObjectStore(s3_server.config, recovery_seconds=0.5)
    bodies = {f"k/{number}": f"{number}".encode() * 5000 for number in range(20)}
    for key, body in bodies.items():
        assert store.put_if_absent(key, body)
    store.put("large", LARGE)
    s3_server.kill()
    try:
        with pytest.raises(StorageError, match="does not answer"):
            store.get("large")
    finally:
        s3_server.start()
    assert eventually(lambda: store.get("large")) == LARGE
    assert {info.key: store.get(info.key) for info in store.list("k/")} == bodies
    store.close()
