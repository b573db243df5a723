"""API keys in the store, and as a gateway knows them."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import pytest
from fake_store import FakeTroubledStore

from serving.access.access import Access
from serving.access.config import AccessConfig
from serving.access.key_ring import KeyRing
from serving.access.keys import KeyStore
from serving.errors import AuthenticationFailed, ServiceUnavailable
from serving.identity import ALL_SCOPES
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, InvalidKey, StoreUnavailable
from storage.local import LocalObjectStore

SECRET = b"0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(tmp_path) -> FakeTroubledStore:
    return FakeTroubledStore(LocalObjectStore(tmp_path))


@pytest.fixture
def store(objects, clock) -> KeyStore:
    return KeyStore(objects, SECRET, clock)


@pytest.fixture
def ring(store, clock) -> KeyRing:
    return KeyRing(store, AccessConfig("keys"), clock)


def test_only_a_hash_of_the_secret_is_kept(store, objects):
    key, text = store.create("laptop", "acme", {"chat"})
    assert re.fullmatch(r"mm_[0-9a-f]{24}_[A-Za-z0-9_-]{43}", text)
    assert store.get(key.id) == key
    secret = text.rpartition(key.id + "_")[2]
    for info in objects.list(""):
        assert secret.encode() not in objects.get(info.key)
    assert store.create("laptop", "acme", {"chat"})[1] != text
    assert len(store.ids()) == 2
    assert store.any()


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"tenant": "../x"}, InvalidKey),
        ({"scopes": set()}, ValueError),
        ({"scopes": {"everything"}}, ValueError),
        ({"name": "a\nb"}, ValueError),
        ({"name": "a" * 129}, ValueError),
        ({"expires_at_seconds": 1000}, ValueError),
    ],
)
def test_what_no_key_can_be(store, wanted, error):
    with pytest.raises(error):
        store.create(**{"name": "", "tenant": "acme", "scopes": ALL_SCOPES, **wanted})
    assert not store.any()


def test_a_record_that_somebody_else_wrote_lets_nobody_in(store, objects):
    """With a right checksum, as anybody can make one, but more scopes, or under another id."""
    key, _ = store.create("", "acme", {"chat"})
    other, _ = store.create("", "acme", {"chat"})
    path = f"access/keys/{key.id}.json"
    fields = from_checked_json(path, objects.get(path))
    for change in ({"scopes": ["admin", "chat"]}, {"tenant": "b"}, {"id": other.id}, {"seal": "0" * 64}):
        objects.put(path, to_checked_json(path, {**fields, **change}))
        with pytest.raises(CorruptObject):
            store.get(key.id)
    moved = from_checked_json(f"access/keys/{other.id}.json", objects.get(f"access/keys/{other.id}.json"))
    objects.put(path, to_checked_json(path, moved))
    with pytest.raises(CorruptObject):
        store.get(key.id)
    objects.put(path, to_checked_json(path, fields))
    assert store.get(key.id) == key
    assert KeyStore(objects, b"another secret of 16").is_genuine(key.id) is False
    objects.put(path, b"damaged")
    assert store.revoke(key.id).revoked_at_seconds is not None
    assert store.get(key.id).scopes == frozenset()


def test_rotation(store, clock):
    key, text = store.create("ci", "acme", {"chat", "files"}, 5000)
    new, new_text = store.rotate(key.id, overlap_seconds=60)
    assert (new.name, new.tenant, new.scopes, new.expires_at_seconds) == ("ci", "acme", key.scopes, 5000)
    assert new_text != text
    assert store.get(key.id).expires_at_seconds == 1060
    assert store.rotate(new.id)[0].is_good(clock())
    assert not store.get(new.id).is_good(clock())
    assert store.rotate(new.id) is None
    assert store.rotate("0" * 24) is None
    assert store.revoke("../../x") is None


async def test_who_a_key_is(ring, store):
    key, text = store.create("", "acme", {"chat"})
    caller = await ring.caller_of(text)
    assert (caller.tenant, caller.scopes, caller.key_id, caller.internal) == ("acme", {"chat"}, key.id, False)


async def test_what_lets_nobody_in_answers_alike(ring, store, objects, clock):
    _, text = store.create("", "acme", {"chat"}, 1500)
    revoked, revoked_text = store.create("", "acme", {"chat"})
    store.revoke(revoked.id)
    forged = "mm_" + "0" * 24 + "_" + "a" * 43
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    unknown = store.create("", "acme", {"chat"})
    objects.delete(f"access/keys/{unknown[0].id}.json")
    words = set()
    for given in (
        "",
        "none",
        "sk-" + "a" * 40,
        forged,
        wrong,
        wrong + "a",
        revoked_text,
        unknown[1],
        text * 9,
    ):
        with pytest.raises(AuthenticationFailed) as refused:
            await ring.caller_of(given)
        words.add(str(refused.value))
    await ring.caller_of(text)
    clock.now = 1500
    with pytest.raises(AuthenticationFailed) as refused:
        await ring.caller_of(text)
    assert words == {str(refused.value)}


async def test_made_up_ids_ask_the_store_nothing(ring, objects):
    for number in range(50):
        with pytest.raises(AuthenticationFailed):
            await ring.caller_of(f"mm_{number:024x}_{'a' * 43}")
    assert objects.calls == []


async def test_a_revocation_is_seen_in_time_also_while_a_key_is_used_all_the_time(ring, store, clock):
    key, text = store.create("", "acme", {"chat"})
    await ring.caller_of(text)
    store.revoke(key.id)
    revoked_at = clock.now
    while True:
        clock.now += 0.5
        assert clock.now - revoked_at <= 5
        try:
            await ring.caller_of(text)
        except AuthenticationFailed:
            break
        await asyncio.sleep(0)


async def test_many_requests_are_one_look(ring, store, objects, clock):
    _, text = store.create("", "acme", {"chat"})
    objects.calls.clear()
    await asyncio.gather(*(ring.caller_of(text) for _ in range(100)))
    assert [operation for operation, _ in objects.calls] == ["get", "put"]  # the record, and that it was used
    for _ in range(20):
        clock.now += 1
        await ring.caller_of(text)
        await asyncio.sleep(0.001)
    assert [operation for operation, _ in objects.calls].count("put") == 1


async def test_without_a_store_nobody_comes_in_for_long(ring, store, objects, clock):
    _, text = store.create("", "acme", {"chat"})
    await ring.caller_of(text)
    objects.fails = lambda operation, key: True
    clock.now += 3
    assert (await ring.caller_of(text)).tenant == "acme"  # known a moment ago
    clock.now += 2
    with pytest.raises(StoreUnavailable):
        await ring.caller_of(text)
    objects.fails = lambda operation, key: operation == "put"
    assert (await ring.caller_of(text)).tenant == "acme"  # that its use could not be noted keeps nobody out


async def test_a_store_that_hangs_is_waited_for_only_so_long(store, objects, clock):
    ring = KeyRing(store, AccessConfig("keys", wait_seconds=0.01), clock)
    _, text = store.create("", "acme", {"chat"})
    go = threading.Event()
    objects.fails = lambda operation, key: not go.wait(10)
    with pytest.raises(ServiceUnavailable):
        await ring.caller_of(text)
    go.set()
    while True:  # what was begun ends now, and then the key is known
        try:
            assert (await ring.caller_of(text)).tenant == "acme"
            break
        except ServiceUnavailable:
            await asyncio.sleep(0.01)


async def test_auto_is_open_until_there_is_a_key_and_never_again(ring, store, objects, clock):
    access = Access(AccessConfig("auto"), ring, "default")
    assert (await access.caller([])).tenant == "default"
    assert (await access.caller(["Bearer none"])).tenant == "default"
    key, text = store.create("", "acme", {"chat"})
    clock.now += 5
    with pytest.raises(AuthenticationFailed):
        await access.caller([])
    assert (await access.caller([f"bearer  {text} "])).tenant == "acme"
    store.revoke(key.id)
    objects.delete(f"access/keys/{key.id}.json")
    clock.now += 60
    for given in ([], [f"Bearer {text}"], [f"Basic {text}"], [f"Bearer {text}", f"Bearer {text}"], [text]):
        with pytest.raises(AuthenticationFailed):
            await access.caller(given)


async def test_auto_neither_opens_nor_closes_while_the_store_is_away(ring, store, objects, clock):
    access = Access(AccessConfig("auto"), ring, "default")
    objects.fails = lambda operation, key: True
    with pytest.raises(StoreUnavailable):
        await access.caller([])
    objects.fails = lambda operation, key: False
    await access.caller([])
    objects.fails = lambda operation, key: True
    clock.now += 5
    assert (await access.caller([])).tenant == "default"
    objects.fails = lambda operation, key: False
    store.create("", "acme", {"chat"})
    with pytest.raises(AuthenticationFailed):
        await access.caller([])
    objects.fails = lambda operation, key: True
    clock.now += 5
    with pytest.raises(AuthenticationFailed):
        await access.caller([])


def test_nothing_of_a_key_is_shown_by_its_record(store):
    key, text = store.create("laptop", "acme", {"chat"})
    assert text.rpartition(key.id + "_")[2] not in json.dumps(repr(key))


async def test_who_goes_away_while_a_key_is_read_stops_nobody_else(ring, store, objects):
    _, text = store.create("", "acme", {"chat"})
    go = threading.Event()
    objects.fails = lambda operation, key: not go.wait(10)
    first, second = (asyncio.create_task(ring.caller_of(text)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go.set()
    assert (await second).tenant == "acme"
    assert [operation for operation, _ in objects.calls].count("get") == 1


async def test_what_a_slow_store_was_asked_long_ago_lets_nobody_in(ring, store, objects, clock):
    """The key is read, revoked, and the answer of before comes only now."""
    key, text = store.create("", "acme", {"chat"})
    read, go = threading.Event(), threading.Event()
    get = store.get

    def slow(key_id):
        found = get(key_id)
        read.set()
        assert go.wait(10)
        return found

    store.get = slow
    early = asyncio.create_task(ring.caller_of(text))
    await asyncio.to_thread(read.wait, 10)
    store.get = get
    store.revoke(key.id)
    clock.now += 5
    late = asyncio.create_task(ring.caller_of(text))
    await asyncio.sleep(0)
    go.set()
    assert (await early).tenant == "acme"  # it came before the revocation
    with pytest.raises(AuthenticationFailed):
        await late
