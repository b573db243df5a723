"""Finding pictures that look alike by the bits in which their perceptual hashes differ."""

from __future__ import annotations

import secrets

import pytest
from fake_object_store import FakeStoreWithHooks

from storage.errors import MediaNotFound
from storage.fingerprints import FingerprintIndex
from storage.keys import fingerprint_prefix
from storage.objects import ObjectStore
from storage.records import new_media_id


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def flipped(hash_: int, bits: int) -> str:
    return f"{hash_ ^ ((1 << bits) - 1):016x}"


def test_the_nearest_come_first_and_among_equals_the_newest(store: ObjectStore) -> None:
    index = FingerprintIndex(store)
    hash_ = secrets.randbits(64)
    by_bits = {}
    for at, bits in enumerate((5, 0, 3, 3, 20, 64)):
        media_id = new_media_id(1000.0 + at)
        index.add("acme", media_id, flipped(hash_, bits))
        by_bits.setdefault(bits, []).append(media_id)
    index.add("other", new_media_id(1.0), f"{hash_:016x}")
    for found in (index, FingerprintIndex(store)):
        near = found.near("acme", f"{hash_:016x}", 5, 10)
        assert near == [(by_bits[0][0], 0), (by_bits[3][1], 3), (by_bits[3][0], 3), (by_bits[5][0], 5)]
        assert found.near("acme", f"{hash_:016x}", 5, 2) == near[:2]
        assert found.near("acme", f"{hash_:016x}", 5, 2, exclude=by_bits[0][0]) == near[1:3]
        assert len(found.near("acme", f"{hash_:016x}", 64, 10)) == 6
        assert found.near("nobody", f"{hash_:016x}", 64, 10) == []


def test_own_changes_are_seen_at_once_and_others_after_a_refresh(store: ObjectStore) -> None:
    timer = Timer()
    index, other = FingerprintIndex(store, timer), FingerprintIndex(store)
    ids = [new_media_id(5000.0 + number) for number in range(4)]
    index.add("acme", ids[0], "0" * 16)
    assert [i for i, _ in index.near("acme", "0" * 16, 0, 9)] == ids[:1]
    index.add("acme", ids[1], "0" * 16)
    index.add("acme", ids[1], "0" * 16)
    assert [i for i, _ in index.near("acme", "0" * 16, 0, 9)] == ids[1::-1]
    other.add("acme", ids[2], "0" * 16)
    other.add("acme", new_media_id(1.0), "0" * 16)  # long after its medium came in
    store.delete(fingerprint_prefix("acme", ids[0]) + "0" * 16)  # with its medium, by anybody
    assert [i for i, _ in index.near("acme", "0" * 16, 0, 9)] == [ids[1]]
    timer.now = 11
    assert [i for i, _ in index.near("acme", "0" * 16, 0, 9)] == [ids[2], ids[1]]
    timer.now = 601
    assert len(index.near("acme", "0" * 16, 0, 9)) == 3
    store.delete(fingerprint_prefix("acme", ids[2]) + "0" * 16)
    assert len(index.near("acme", "0" * 16, 0, 9)) == 2


def test_a_search_lists_nothing_while_the_listing_is_fresh(store: ObjectStore) -> None:
    listed = []
    hooked = FakeStoreWithHooks(store, lambda when, name, key: listed.append(key) if name == "list" else None)
    index = FingerprintIndex(hooked, Timer())
    index.add("acme", new_media_id(1.0), "0" * 16)
    index.near("acme", "0" * 16, 0, 1)
    listed.clear()
    for number in range(5):
        index.add("acme", new_media_id(2.0 + number), "0" * 16)
        assert len(index.near("acme", "0" * 16, 0, 9)) == 2 + number
    assert listed == []


def test_more_tenants_than_fit_are_listed_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.fingerprints._KEPT_FINGERPRINTS", 2)
    index = FingerprintIndex(store)
    for tenant in ("a", "b", "c"):
        for number in range(3):
            index.add(tenant, new_media_id(float(number)), "0" * 16)
            assert len(index.near(tenant, "0" * 16, 0, 9)) == number + 1


def test_malformed_input_is_refused(store: ObjectStore) -> None:
    index = FingerprintIndex(store)
    with pytest.raises(MediaNotFound):
        index.add("acme", "../x", "0" * 16)
    for hash_ in ("", "0" * 15, "G" * 16, "0" * 17, "A" * 16):
        with pytest.raises(ValueError, match="16"):
            index.add("acme", new_media_id(1.0), hash_)
        with pytest.raises(ValueError, match="16"):
            index.near("acme", hash_, 1, 1)
