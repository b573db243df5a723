"""Verification: everything that can be wrong is found; what can be repaired is, and stays so."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from media_uploads import keys, sha256, upload

from storage.artifacts import ArtifactStore
from storage.errors import CorruptObject, MediaNotFound
from storage.findings import Finding, VerifyReport
from storage.fingerprints import FingerprintIndex
from storage.framing import seal
from storage.keys import blob_key, digests_key, fingerprint_prefix, record_key, reference_prefix, trash_prefix
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRecord
from storage.verify import verify_store

ARTIFACT = "ab" * 32
LARGE = bytes(9 << 20)


@pytest.fixture
def records(media: MediaStore, store: LocalObjectStore) -> list[MediaRecord]:
    """A small and a large medium with artifacts and fingerprint, and one of another tenant."""
    found = [upload(media, b"small", perceptual_hash="0" * 16), upload(media, LARGE)]
    for record in found:
        ArtifactStore(store).put("acme", record.ref.sha256, ARTIFACT, b"derived")
    FingerprintIndex(store).add("acme", found[0].ref.id, "0" * 16)
    return [*found, upload(media, b"small", tenant="other")]


def verify(store: LocalObjectStore, *, repair: bool, ahead_seconds: float = 1e7) -> VerifyReport:
    """As it is much later, when nothing is young any more."""
    return verify_store(store, MediaStore(store, clock=lambda: time.time() + ahead_seconds), repair=repair)


def flip(store: LocalObjectStore, key: str, at: int = 0) -> None:
    data = bytearray(store.get(key))
    data[at] ^= 1
    store.put(key, bytes(data))


def test_a_sound_store_is_clean_and_everything_is_counted(
    store: LocalObjectStore, records: list[MediaRecord]
) -> None:
    before = keys(store)
    told: dict[str, int] = {}
    report = verify_store(store, MediaStore(store), repair=True, progress=told.__setitem__)
    assert report.clean
    assert report.findings == ()
    assert told == report.counts
    assert report.counts["records"] == report.counts["references"] == report.counts["blobs"] == 3
    assert report.counts["digests"] == report.counts["fingerprints"] == 1
    assert report.counts["derived artifacts"] == 2
    assert keys(store) == before


def test_an_empty_store_is_clean(store: LocalObjectStore) -> None:
    assert verify(store, repair=True).clean


Damage = Callable[[LocalObjectStore, list[MediaRecord]], None]


def _reference(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.delete(reference_prefix("acme", records[0].ref.sha256) + records[0].ref.id)


def _digests(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.delete(digests_key("acme", records[1].ref.sha256))


def _bad_digests(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    flip(store, digests_key("acme", records[1].ref.sha256), 60)


def _artifact(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    flip(store, f"derived/acme/{records[0].ref.sha256}/{ARTIFACT}", 21)


def _orphaned_artifact(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    key = f"derived/acme/{'0' * 64}/{ARTIFACT}"
    store.put(key, seal(key, b"x"))


def _orphaned_digests(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(digests_key("acme", "0" * 64), b"x")


def _orphaned_fingerprint(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(fingerprint_prefix("acme", "file-" + "0" * 32) + "0" * 16, b"")


def _wrong_fingerprint(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(fingerprint_prefix("acme", records[0].ref.id) + "1" * 16, b"")


def _missing_fingerprint(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.delete(fingerprint_prefix("acme", records[0].ref.id) + "0" * 16)


def _orphaned_reference(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    MediaStore(store).receive("acme", io.BytesIO(b"never committed"), "x/y", 100)


def _orphaned_blob(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(blob_key("acme", sha256(b"x")), b"x")


def _trash(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(trash_prefix("acme", "0" * 64) + "ff", b"x")


def _blob_in_trash(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.copy_if_absent(records[0].ref.blob_key, trash_prefix("acme", records[0].ref.sha256) + "ff")
    store.delete(records[0].ref.blob_key)


def _bad_blob_with_copy_in_trash(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(trash_prefix("acme", records[1].ref.sha256) + "ff", LARGE)
    flip(store, records[1].ref.blob_key)


def _staged(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put("staging/ff", b"x")


def _part(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put("parts/acme/upload_1/part_1", b"x")


def _upload(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put("uploads/acme/upload_1.json", b"{damaged")


def _stale_mark(store: LocalObjectStore, records: list[MediaRecord]) -> None:
    store.put(f"quarantine/acme/{records[0].ref.sha256}/ff", b"bad")


REPAIRABLE: list[Damage] = [
    *(_reference, _digests, _bad_digests, _artifact, _orphaned_artifact, _orphaned_digests),
    *(_orphaned_fingerprint, _wrong_fingerprint, _missing_fingerprint, _orphaned_reference, _orphaned_blob),
    *(_trash, _blob_in_trash, _bad_blob_with_copy_in_trash, _staged, _part, _upload, _stale_mark),
]


@pytest.mark.parametrize("damage", REPAIRABLE)
def test_what_can_be_repaired_is(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord], damage: Damage
) -> None:
    before = keys(store)
    damage(store, records)
    damaged = keys(store)
    reported = verify(store, repair=False)
    assert not reported.clean
    assert all(finding.action == "nothing" for finding in reported.findings if not finding.repaired)
    assert keys(store) == damaged
    assert verify(store, repair=True).clean
    if damage is _bad_blob_with_copy_in_trash:  # the copy goes when the restored blob is seen to have lasted
        assert verify(store, repair=True).clean
    again = verify(store, repair=False)
    assert (again.clean, again.findings) == (True, ())
    for record in records:
        assert media.read(media.get(record.ref.tenant, record.ref.id).ref)
    if damage is not _artifact:  # it is computed again
        assert keys(store) == before


def test_a_damaged_blob_is_lost_until_it_is_uploaded_again(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    again = upload(media, LARGE)
    flip(store, records[1].ref.blob_key, 5 << 20)
    report = verify(store, repair=True)
    assert not report.clean
    lost = {finding.key for finding in report.findings if finding.kind == "lost medium"}
    assert lost == {record_key("acme", record.ref.id) for record in (records[1], again)}
    assert report.found == {"damaged blob": 1, "lost medium": 2}
    with pytest.raises(CorruptObject):
        media.read(records[1].ref)
    upload(media, LARGE)
    assert media.read(records[1].ref) == LARGE
    assert verify(store, repair=True, ahead_seconds=0).clean
    assert verify(store, repair=True).clean


def test_a_missing_blob_is_lost_until_it_is_uploaded_again(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    store.delete(records[0].ref.blob_key)
    report = verify(store, repair=True)
    assert [finding.kind for finding in report.findings if not finding.repaired] == ["lost medium"]
    upload(media, b"small")
    assert media.read(records[0].ref) == b"small"
    assert verify(store, repair=True).clean


@pytest.mark.parametrize("byte", [30, 150, -60, -3])
def test_a_damaged_record_is_written_anew_from_what_the_store_knows(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord], byte: int
) -> None:
    for record in records:
        tenant, media_id = record.ref.tenant, record.ref.id
        content, key = media.read(record.ref), record_key(tenant, media_id)
        flip(store, key, byte)
        damaged = store.get(key)
        reported = verify(store, repair=False)
        assert Finding("damaged record", key, "nothing", False) in reported.findings
        with pytest.raises(CorruptObject):
            media.get(tenant, media_id)
        assert verify(store, repair=True).clean
        found = media.get(tenant, media_id)
        assert media.read(found.ref) == content
        assert (found.created_at_seconds, found.expires_at_seconds) == (record.created_at_seconds, None)
        assert found.perceptual_hash == record.perceptual_hash
        assert damaged in [store.get(kept) for kept in keys(store, "quarantine/")]
        assert verify(store, repair=False, ahead_seconds=0).clean


def test_a_damaged_record_that_lost_its_reference_too_is_written_anew(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    ref = records[0].ref
    flip(store, record_key("acme", ref.id), -3)
    store.delete(reference_prefix("acme", ref.sha256) + ref.id)
    assert verify(store, repair=True).clean
    assert media.read(media.get("acme", ref.id).ref) == b"small"
    assert verify(store, repair=True).clean
    assert media.read(media.get("acme", ref.id).ref) == b"small"


def test_a_damaged_record_whose_content_is_gone_is_kept_aside(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    ref = records[0].ref
    flip(store, record_key("acme", ref.id), 30)
    store.delete(ref.blob_key)
    assert not verify(store, repair=True, ahead_seconds=0).clean
    with pytest.raises(MediaNotFound):
        media.get("acme", ref.id)
    assert keys(store, "quarantine/acme/records/")
    assert verify(store, repair=False, ahead_seconds=0).clean


def test_objects_that_are_not_ours_are_reported_and_left_alone(store: LocalObjectStore) -> None:
    strange = ["blobs/acme/x", "derived/x", "digests/x", "files/acme/x.json", "fingerprints/acme/x"]
    strange += ["parts/x", "quarantine/x", "refs/acme/x/y", "trash/x"]
    for key in [*strange, "search/acme/x"]:
        store.put(key, b"x")
    report = verify(store, repair=True)
    assert sorted(finding.key for finding in report.findings) == sorted(strange)
    assert report.found == {"unknown object": len(strange)}
    assert not report.clean
    assert len(keys(store)) == len(strange) + 1


UNDER_WAY: list[Damage] = [
    *(_orphaned_artifact, _orphaned_digests, _orphaned_fingerprint, _orphaned_reference, _orphaned_blob),
    *(_trash, _blob_in_trash, _missing_fingerprint, _staged, _part),
]


@pytest.mark.parametrize("damage", UNDER_WAY)
def test_beside_a_running_platform_what_is_young_is_no_finding(
    store: LocalObjectStore, records: list[MediaRecord], damage: Damage
) -> None:
    damage(store, records)
    before = keys(store)
    report = verify(store, repair=False, ahead_seconds=0)
    assert (report.clean, report.findings) == (True, ())
    assert keys(store) == before


def test_expired_records_are_sound(store: LocalObjectStore, media: MediaStore) -> None:
    upload(media, b"x", expires_at_seconds=5)
    report = verify(store, repair=True)
    assert (report.clean, report.findings) == (True, ())


def test_many_findings_are_counted_but_not_all_kept(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.verify._KEPT_FINDINGS", 3)
    for number in range(200):
        store.put(f"staging/{number}", b"")
    report = verify(store, repair=False)
    assert (len(report.findings), report.unrepaired) == (3, 200)
    assert report.found == {"staged upload left behind": 200}


def test_a_deletion_during_the_walk_is_no_finding(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    """Everything is deleted at the first word of progress of each stage in turn."""
    for stage in ("safety copies", "records", "references", "blobs", "derived artifacts"):
        made = [upload(media, bytes([number]) * 100) for number in range(5)]
        made.append(upload(media, LARGE + b"x"))

        def progress(what: str, count: int, stage: str = stage, made: list[MediaRecord] = made) -> None:
            while what == stage and made:
                media.delete("acme", made.pop().ref.id)

        report = verify_store(store, media, repair=True, progress=progress)
        assert not made
        assert (report.clean, report.findings) == (True, ())


def test_a_reference_is_not_written_for_a_record_that_goes_meanwhile(
    store: LocalObjectStore, media: MediaStore, records: list[MediaRecord]
) -> None:
    record = replace(records[0])
    media.delete("acme", record.ref.id)
    assert not media.restore_reference(record)
    assert keys(store, f"refs/acme/{record.ref.sha256}/") == []
