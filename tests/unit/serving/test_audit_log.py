"""The audit log: nothing in it can be changed unseen, and nothing waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fake_store import FakeTroubledStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from serving.audit.chain import (
    FIRST,
    HEADS,
    Head,
    audit_secret,
    head_bytes,
    line_hash,
    sealed_segment,
    written_line,
)
from serving.audit.log import AuditLog, AuditMetrics
from serving.audit.recorder import shown_ids
from serving.audit.verification import entries, verify_audit
from storage.errors import ObjectNotFound
from storage.local import LocalObjectStore

SECRET = b"0123456789abcdef"


class Objects:
    """As much of an object store as the log needs, in memory."""

    def __init__(self) -> None:
        self.all: dict[str, bytes] = {}

    def get(self, key):
        if key not in self.all:
            raise ObjectNotFound("No object.")
        return self.all[key]

    def put(self, key, data):
        self.all[key] = data

    def put_if_absent(self, key, data):
        return self.all.setdefault(key, data) is data

    def list(self, prefix, after=None):
        return [Info(key) for key in sorted(self.all) if key.startswith(prefix)]


class Info:
    def __init__(self, key: str) -> None:
        self.key = key


def log_over(objects, **options) -> AuditLog:
    return AuditLog(objects, SECRET, AuditMetrics(CollectorRegistry()), **options)


async def written(objects, *sizes: int, close: bool = True) -> AuditLog:
    """A chain of segments of so many entries."""
    log = log_over(objects)
    for size in sizes:
        for number in range(size):
            log.note("request", {"route": "/v1/files", "status": 200 + number})
        assert await log.flush()
    if close:
        await log.close()
    return log


async def test_what_was_noted_is_there_in_order(tmp_path):
    objects = LocalObjectStore(tmp_path)
    log = await written(objects, 3, 2)
    found = list(entries(objects))
    assert [entry["kind"] for entry in found] == ["start", *["request"] * 5, "stop"]
    assert [entry["number"] for entry in found] == list(range(7))
    assert {entry["gateway"] for entry in found} == {log.gateway}
    report = verify_audit(objects, SECRET)
    assert (report.clean, report.chains, report.entries, report.lost, report.open) == (True, 1, 7, 0, ())
    await written(objects, 1, close=False)
    report = verify_audit(objects, SECRET)
    assert (report.clean, report.chains, len(report.open)) == (True, 2, 1)


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """Three chains that know of one another."""

    async def write() -> dict[str, bytes]:
        objects = Objects()
        for sizes in ((2, 1, 3), (1,), (2, 2)):
            await written(objects, *sizes)
        return objects.all

    return asyncio.run(write())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_change_is_found(whole, data):
    """One byte, one entry, one object: changed, removed, doubled, moved or put in another's place."""
    objects = Objects()
    objects.all = dict(whole)
    keys = sorted(whole)
    key = data.draw(st.sampled_from(keys))
    how = data.draw(st.sampled_from(["byte", "cut", "remove", "swap", "line", "move", "add", "last line"]))
    stored = whole[key]
    if how == "byte":
        at = data.draw(st.integers(0, len(stored) - 1))
        flip = data.draw(st.integers(1, 255))
        objects.all[key] = stored[:at] + bytes([stored[at] ^ flip]) + stored[at + 1 :]
    elif how == "cut":
        objects.all[key] = stored[: data.draw(st.integers(0, len(stored) - 1))]
    elif how == "remove":
        del objects.all[key]
    elif how == "swap":
        other = data.draw(st.sampled_from([one for one in keys if whole[one] != stored]))
        objects.all[key], objects.all[other] = whole[other], stored
    elif how == "move":
        del objects.all[key]
        objects.all[f"{key[:-1]}{(int(key[-1], 16) + 1) % 16:x}"] = stored
    elif how == "add":
        objects.all[f"{key}0" if key.startswith(HEADS) else f"{key[:-1]}f"] = stored
    else:
        lines = stored.splitlines(keepends=True)
        at = len(lines) - 1 if how == "last line" else data.draw(st.integers(0, len(lines) - 1))
        doubled = data.draw(st.booleans())
        objects.all[key] = b"".join([*lines[:at], *lines[at : at + 1] * (2 * doubled), *lines[at + 1 :]])
    assert objects.all == whole or not verify_audit(objects, SECRET).clean


def test_a_chain_made_anew_without_the_secret_is_found(whole):
    """All hashes fit; only the seals do not."""
    objects = Objects()
    objects.all = dict(whole)
    key = next(key for key in sorted(whole) if key.startswith("audit/"))
    line = written_line({"at": 0, "kind": "start", "chains": {}}, 0, FIRST)
    objects.all[key] = sealed_segment(audit_secret(b"another secret!!"), key, [line])
    assert not verify_audit(objects, SECRET).clean
    assert verify_audit(objects, b"another secret!!").findings


def test_entries_out_of_order_within_a_good_seal_are_found():
    """As somebody with the secret, or a mistake of ours, would write them."""
    key = f"audit/g/{0:016d}"
    first = written_line({"at": 0, "kind": "start", "chains": {}}, 0, FIRST)
    second = written_line({"at": 0, "kind": "stop"}, 1, line_hash(first))
    secret = audit_secret(SECRET)
    for lines, clean in (([first, second], True), ([second, first], False), ([first, first], False)):
        objects = Objects()
        objects.all[key] = sealed_segment(secret, key, lines)
        objects.all[HEADS + "g"] = head_bytes(secret, "g", Head(-1, FIRST))
        assert verify_audit(objects, SECRET).clean is clean


async def test_a_store_that_is_away_loses_nothing_and_blocks_nothing(tmp_path):
    objects = FakeTroubledStore(LocalObjectStore(tmp_path))
    log = await written(objects, 1, close=False)
    objects.fails = lambda operation, key: True
    log.note("request", {"status": 1})
    assert not await log.flush()
    log.note("request", {"status": 2})
    assert not await log.flush()
    objects.fails = lambda operation, key: False
    await log.close()
    assert [entry.get("status") for entry in entries(objects)] == [None, 200, 1, 2, None]
    assert verify_audit(objects, SECRET).clean


async def test_a_write_that_was_not_confirmed_is_not_written_twice(tmp_path):
    """The segment is there, its head is not."""
    objects = FakeTroubledStore(LocalObjectStore(tmp_path))
    log = await written(objects, 1, close=False)
    objects.fails = lambda operation, key: operation == "put"
    log.note("request", {"status": 1})
    assert not await log.flush()
    assert verify_audit(objects, SECRET).clean
    objects.fails = lambda operation, key: False
    await log.close()
    report = verify_audit(objects, SECRET)
    assert (report.clean, report.entries, report.open) == (True, 4, ())


async def test_what_the_buffer_has_no_room_for_is_a_gap(tmp_path):
    objects = LocalObjectStore(tmp_path)
    log = log_over(objects, max_waiting=10)
    for number in range(25):
        log.note("request", {"status": number})
    await log.flush()
    log.note("request", {"status": 99})
    await log.close()
    kinds = [entry["kind"] for entry in entries(objects)]
    assert kinds == ["start", *["request"] * 10, "gap", "request", "stop"]
    report = verify_audit(objects, SECRET)
    assert (report.clean, report.lost) == (True, 15)


async def test_a_gap_at_the_end_leaves_the_end_orderly(tmp_path):
    objects = LocalObjectStore(tmp_path)
    log = log_over(objects, max_waiting=1)
    for _ in range(3):
        log.note("request", {})
    await log.close()
    assert [entry["kind"] for entry in entries(objects)] == ["start", "request", "gap", "stop"]
    assert verify_audit(objects, SECRET).open == ()


async def test_strangers_push_nobody_out_and_fill_nothing(tmp_path):
    objects = LocalObjectStore(tmp_path)
    log = log_over(objects, max_waiting=100)
    for round_ in range(2):
        for _ in range(1000):
            log.note_refusal("request", {"status": 401})
        log.note("request", {"status": 200})
        await (log.flush() if round_ == 0 else log.close())
    found = list(entries(objects))
    assert [entry["kind"] for entry in found if entry["kind"] != "request"] == [
        "start",
        "refusals",
        "refusals",
        "stop",
    ]
    assert [entry["more"] for entry in found if entry["kind"] == "refusals"] == [980, 980]
    statuses = [entry["status"] for entry in found if entry["kind"] == "request"]
    assert statuses == [*[401] * 20, 200] * 2
    report = verify_audit(objects, SECRET)
    assert (report.clean, report.lost, report.open) == (True, 0, ())


async def test_what_fills_several_segments_does_not_wait_for_the_next_second(tmp_path, monkeypatch):
    objects = FakeTroubledStore(LocalObjectStore(tmp_path))
    written_twice = threading.Event()

    def second(operation: str, key: str) -> bool:
        if [name for name, _ in objects.calls].count("put_if_absent") == 2:
            written_twice.set()
        return False

    objects.fails = second
    log = log_over(objects)
    for number in range(4500):
        log.note("request", {"status": number})
    monkeypatch.setattr("serving.audit.log._FLUSH_SECONDS", 3600.0)
    running = asyncio.create_task(log.run())
    assert await asyncio.to_thread(written_twice.wait, 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.close()
    assert verify_audit(objects, SECRET).clean


async def test_a_cancelled_writer_leaves_a_whole_chain(tmp_path):
    objects = LocalObjectStore(tmp_path)
    log = log_over(objects)
    running = asyncio.create_task(log.run())
    for number in range(5):
        log.note("request", {"status": number})
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    log.note("request", {"status": 5})
    await log.close()
    assert verify_audit(objects, SECRET).clean
    assert [entry["status"] for entry in entries(objects) if entry["kind"] == "request"] == list(range(6))


def test_names_that_clients_give_are_not_shown():
    file_id = "file-" + "0" * 32
    shown = shown_ids(
        SECRET,
        {"file_id": file_id, "collection": "zoo", "document_id": "diagnosis of Jo.pdf", "token": "secret"},
    )
    assert (shown["file_id"], shown["collection"]) == (file_id, "zoo")
    assert shown.keys() == {"file_id", "collection", "document_id"}
    assert shown["document_id"].startswith("hash:")
    again = shown_ids(
        SECRET, {"document_id": "diagnosis of Jo.pdf", "collection": "a\nb", "file_id": "\ud800"}
    )
    assert again["document_id"] == shown["document_id"]
    assert again["collection"].startswith("hash:")
    card = shown_ids(SECRET, {"document_id": "visa-4111111111111111"})
    assert card["document_id"].startswith("hash:")
