"""Uploads in parts: the file is what was sent, in the order that was asked for, once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upload_house import DAY, HOUR, House, md5

from storage.errors import (
    CorruptObject,
    MediaNotFound,
    ObjectTooLarge,
    UploadClosed,
    UploadMismatch,
    UploadNotFound,
)
from storage.uploads import Upload


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def test_the_parts_become_a_file_in_the_order_asked_for(house):
    upload = house.create(11, file_expires_after_seconds=HOUR)
    assert (upload.status, upload.expires_at_seconds) == ("pending", house.now + HOUR)
    world, hello = house.add(upload, b"world"), house.add(upload, b"hello ")
    assert house.uploads.get("acme", upload.id) == upload
    ended = house.complete(upload, hello, world, md5=md5(b"hello world"))
    assert (ended.status, house.content(ended)) == ("completed", b"hello world")
    assert ended.file_expires_after_seconds == HOUR
    assert house.uploads.get("acme", upload.id) == ended
    assert house.keys("parts/") == []


@settings(max_examples=20, deadline=None)
@given(
    parts=st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6),
    order=st.randoms(),
    read=st.data(),
)
def test_any_parts_in_any_order_and_pieces(tmp_path_factory, parts, order, read):
    house = House(tmp_path_factory.mktemp("store"))
    chosen = list(parts)
    upload = house.create(sum(map(len, parts)))
    ids = {id(part): house.add(upload, part) for part in parts}
    order.shuffle(chosen)
    with house.uploads.open(upload, [ids[id(part)] for part in chosen]) as stream:
        pieces = list(iter(lambda: stream.read(read.draw(st.integers(1, 2000))), b""))
    assert b"".join(pieces) == b"".join(chosen)


def test_equal_parts_have_different_ids(house):
    upload = house.create(2)
    first, second = house.add(upload, b"x"), house.add(upload, b"x")
    assert first[5:] not in second
    assert house.content(house.complete(upload, first, second)) == b"xx"


def test_what_does_not_add_up_is_refused_and_may_be_tried_again(house):
    upload = house.create(10)
    other = house.create(10)
    hello, foreign = house.add(upload, b"hello"), house.add(other, b"world")
    world = house.add(upload, b"world")
    for ids, words in (
        ([hello], "5 bytes"),
        ([hello, hello, hello], "15 bytes"),
        ([hello, foreign], "does not have"),
        ([hello, "part_x"], "does not have"),
        ([hello, "../x"], "does not have"),
        ([hello, "part_" + "0" * 48], "does not have"),
        ([], "0 bytes"),
    ):
        with pytest.raises(UploadMismatch, match=words):
            house.complete(upload, *ids)
    with pytest.raises(UploadMismatch, match="MD5"):
        house.complete(upload, world, hello, md5=md5(b"helloworld"))
    assert house.keys("files/", "refs/", "blobs/", "staging/") == []
    assert house.content(house.complete(upload, hello, world)) == b"helloworld"


def test_parts_have_a_size(house):
    upload = house.create(5)
    with pytest.raises(ObjectTooLarge, match=r"larger than 4 bytes \(max_part_bytes\)"):
        house.add(upload, b"hello", max_bytes=4)
    with pytest.raises(UploadMismatch, match="empty"):
        house.add(upload, b"")
    assert house.keys("parts/") == []


def test_parts_cannot_fill_the_disk(house, monkeypatch):
    monkeypatch.setattr("storage.uploads._SPARE_PARTS_BYTES", 3)
    upload = house.create(5)
    house.add(upload, b"hello")
    house.add(upload, b"hello")  # sent again: the answer was lost
    with pytest.raises(UploadMismatch, match="far more"):
        house.add(upload, b"hello")


@pytest.mark.parametrize("flip", [0, 7, -1])
def test_a_part_damaged_in_the_store_is_noticed(house, flip):
    upload = house.create(10)
    hello, world = house.add(upload, b"hello"), house.add(upload, b"world")
    key = f"parts/acme/{upload.id}/{hello}"
    damaged = bytearray(house.store.get(key))
    damaged[flip % 5] ^= 1
    house.store.put(key, bytes(damaged))
    with pytest.raises(CorruptObject, match="part of this upload was damaged"):
        house.complete(upload, hello, world)
    assert house.keys("files/", "refs/", "blobs/") == []
    assert house.complete(upload, house.add(upload, b"hello"), world).status == "completed"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"nonsense", b'{"version": 1}', b'{"version": 2}'])
def test_a_damaged_record_is_noticed_and_swept(house, damage):
    upload = house.create(5)
    house.add(upload, b"hello")
    house.store.put(f"uploads/acme/{upload.id}.json", damage)
    with pytest.raises(CorruptObject, match="record of this upload"):
        house.uploads.get("acme", upload.id)
    house.uploads.sweep(house.store.head(f"uploads/acme/{upload.id}.json").modified_at_seconds + 2 * DAY)
    assert house.keys() == []


def test_no_flipped_bit_makes_the_sweep_remove_a_file(house):
    """Damage in what says which file is the upload's must not look like another file's name."""
    ended = house.complete(upload := house.create(5), house.add(upload, b"hello"))
    key = f"uploads/acme/{upload.id}.outcome.json"
    whole = house.store.get(key)
    for bit in range(0, len(whole) * 8, 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        house.store.put(key, bytes(damaged))
        with pytest.raises(CorruptObject):
            house.uploads.get("acme", upload.id)
        house.uploads.sweep()
    house.store.delete(key)  # by ``verify --repair``
    house.now += 3 * HOUR
    house.uploads.sweep()
    assert house.content(ended) == b"hello"


def test_unknown_foreign_and_malformed_ids_are_alike(house):
    foreign = house.create(5, tenant="other").id
    errors = set()
    for upload_id in (foreign, "upload_" + "0" * 32, "upload_x", "", "../other/" + foreign, foreign + "\n"):
        for attempt in (
            lambda id_: house.uploads.get("acme", id_),
            lambda id_: house.uploads.cancel("acme", id_),
            lambda id_: house.uploads.add_part("acme", id_, io.BytesIO(b"x"), 5),
        ):
            with pytest.raises(UploadNotFound) as caught:
                attempt(upload_id)
            errors.add(caught.value.message)
    assert len(errors) == 1


def closed_by_completion(house: House, upload: Upload) -> None:
    house.complete(upload, house.add(upload, b"hello"))


def closed_by_cancelling(house: House, upload: Upload) -> None:
    house.add(upload, b"hello")
    assert house.uploads.cancel("acme", upload.id).status == "cancelled"


def closed_by_time(house: House, upload: Upload) -> None:
    house.now += HOUR


@pytest.mark.parametrize(
    ("close", "words"),
    [
        (closed_by_completion, "is completed"),
        (closed_by_cancelling, "is cancelled"),
        (closed_by_time, "has expired"),
    ],
)
def test_a_closed_upload_takes_nothing_more(house, close, words):
    upload = house.create(5)
    close(house, upload)
    with pytest.raises(UploadClosed, match=words):
        house.add(upload, b"hello")
    with pytest.raises(UploadClosed, match=words):
        house.complete(upload)
    if close is not closed_by_cancelling:
        with pytest.raises(UploadClosed, match=words):
            house.uploads.cancel("acme", upload.id)
    else:
        assert house.uploads.cancel("acme", upload.id).status == "cancelled"
    assert house.keys("parts/") == []


def test_of_two_completions_one_wins_and_both_give_its_file(house):
    upload = house.create(5)
    part = house.add(upload, b"hello")
    winners = []

    def overtake(operation: str, key: str) -> None:
        if operation == "put_if_absent" and key.endswith(".outcome.json"):
            house.before = lambda operation, key: None
            winners.append(house.complete(upload, part))

    house.before = overtake
    loser = house.complete(upload, part)
    assert [loser] == winners
    assert [record.ref.id for record in house.media.list("acme")] == [loser.file_id]
    assert house.content(loser) == b"hello"


def test_a_completion_overtaken_by_a_cancellation_leaves_no_file(house):
    upload = house.create(5)
    part = house.add(upload, b"hello")

    def overtake(operation: str, key: str) -> None:
        if operation == "put_if_absent" and key.endswith(".outcome.json"):
            house.before = lambda operation, key: None
            house.uploads.cancel("acme", upload.id)

    house.before = overtake
    assert house.complete(upload, part).status == "cancelled"
    assert house.keys("files/", "refs/", "blobs/", "parts/") == []


def test_a_part_that_comes_while_the_upload_is_cancelled_does_not_stay(house):
    upload = house.create(5)

    def overtake(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("parts/"):
            house.before = lambda operation, key: None
            house.uploads.cancel("acme", upload.id)

    house.before = overtake
    with pytest.raises(UploadClosed, match="is cancelled"):
        house.add(upload, b"hello")
    assert house.keys("parts/") == []


def test_the_sweep_leaves_living_uploads_alone(house):
    upload = house.create(5)
    part = house.add(upload, b"hello")
    before = house.keys()
    house.now += 2 * HOUR - 1  # expired, but a completion that began in time may be at work
    assert house.uploads.sweep() == 0
    assert house.keys() == before
    assert part in before[0]


def test_the_sweep_removes_dead_uploads(house):
    kept = house.complete(upload := house.create(5), house.add(upload, b"hello"))
    house.uploads.cancel("acme", house.create(5).id)
    house.add(house.create(5), b"parts")
    house.now += 2 * HOUR
    assert house.uploads.sweep() == 1
    assert house.keys("parts/") == []
    # A repeated completion is still answered.
    assert house.uploads.get("acme", kept.id) == kept
    house.now += DAY
    house.uploads.sweep()
    assert house.keys("parts/", "uploads/") == []
    assert house.content(kept) == b"hello"
    with pytest.raises(UploadNotFound):
        house.uploads.get("acme", kept.id)


def test_the_sweep_removes_parts_without_an_upload(house):
    house.store.put(f"parts/acme/upload_{'0' * 32}/part_{'0' * 48}", b"x")
    assert house.uploads.sweep() == 1
    assert house.keys() == []


def test_no_completion_wins_against_the_sweep(house):
    upload = house.create(5)
    part = house.add(upload, b"hello")

    def overtake(operation: str, key: str) -> None:
        if operation == "put_if_absent" and key.endswith(".outcome.json"):
            house.before = lambda operation, key: None
            house.now += 3 * HOUR
            house.uploads.sweep()

    house.before = overtake
    assert house.complete(upload, part).status == "expired"
    assert house.keys("files/", "refs/", "blobs/", "parts/") == []


def test_a_completed_upload_whose_file_was_deleted(house):
    ended = house.complete(upload := house.create(5), house.add(upload, b"hello"))
    house.media.delete("acme", ended.file_id)
    assert house.uploads.get("acme", upload.id) == ended
    with pytest.raises(MediaNotFound):
        house.content(ended)
    house.uploads.sweep()
