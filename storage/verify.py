"""Walking the whole store: every record, reference, blob, digest, derived artifact, fingerprint and leftover.

Safe beside a running platform: what is younger than the grace period may be half-way in or out and is no finding;
what looks wrong is looked at once more before it is reported or repaired. A few objects are in memory at a time,
and eight bytes of every key.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from storage.blobs import DELETION_SECONDS
from storage.checked_json import from_checked_json
from storage.digests import ChunkDigests, ChunkHasher
from storage.errors import CorruptObject, InvalidKey, MediaNotFound, ObjectNotFound
from storage.findings import Finding, Progress, VerifyReport
from storage.framing import unseal
from storage.keys import (
    blob_key,
    content_of,
    damaged_record_prefix,
    digests_key,
    fingerprint_prefix,
    record_key,
    reference_prefix,
    tenant_of,
    trash_prefix,
)
from storage.marks import Marks
from storage.media import MediaStore
from storage.objects import ObjectStore, any_under, exists
from storage.records import decode_record, encode_record, is_media_id
from storage.salvage import salvaged_record
from storage.types import MediaRecord, ObjectInfo

__all__ = ["verify_store"]

_NOTHING = "nothing"
_KEPT_FINDINGS = 10_000
_THREADS = 8
_BATCH = 64
_SETTLED_SECONDS = 600.0  # a fingerprint is written soon after its record


def verify_store(
    store: ObjectStore,
    media: MediaStore,
    *,
    repair: bool,
    progress: Progress = lambda what, count: None,
    content_type_of: Callable[[bytes], str] = lambda head: "application/octet-stream",
) -> VerifyReport:
    """Check every object of media, and repair what can be repaired if asked to.

    ``content_type_of`` tells the type of a blob's first bytes for a record that is lost. What cannot be repaired is
    marked then, so that uploading the content again makes it whole. Objects that are not
    ours are reported and left alone. Raises ``StoreUnavailable``; what was repaired until then stays repaired.
    """
    return _Verifier(store, media, repair, content_type_of).run(progress)


class _Verifier:
    def __init__(
        self, store: ObjectStore, media: MediaStore, repair: bool, content_type_of: Callable[[bytes], str]
    ) -> None:
        self._content_type_of = content_type_of
        self._store = store
        self._media = media
        self._repair = repair
        self._now = media.clock()
        self._grace_seconds = media.grace_seconds
        self._damaged: set[tuple[str, str]] = set()

    def run(self, progress: Progress) -> VerifyReport:
        findings: list[Finding] = []
        counts: dict[str, int] = {}
        found: Counter[str] = Counter()
        unrepaired = 0
        # Blobs before quarantine: what is whole needs no mark. Uploads' records before their parts.
        for what, prefix, check in (
            ("safety copies", "trash/", self._trash),
            ("records", "files/", self._record),
            ("references", "refs/", self._reference),
            ("blobs", "blobs/", self._blob),
            ("digests", "digests/", self._digests),
            ("derived artifacts", "derived/", self._derived),
            ("quarantined objects", "quarantine/", self._quarantined),
            ("fingerprints", "fingerprints/", self._fingerprint),
            ("staged objects", "staging/", self._staged),
            ("uploads", "uploads/", self._upload),
            ("parts of uploads", "parts/", self._part),
        ):
            if what == "records":
                self._finish_deletions()
            self._mark(what)
            counts[what] = 0
            for batch in self._checked(prefix, check):
                for finding in batch:
                    found[finding.kind] += 1
                    unrepaired += not finding.repaired
                    if len(findings) < _KEPT_FINDINGS:
                        findings.append(finding)
                counts[what] += 1
                if counts[what] % _BATCH == 0:
                    progress(what, counts[what])
            progress(what, counts[what])
        return VerifyReport(tuple(findings), counts, dict(found), unrepaired)

    def _checked(
        self, prefix: str, check: Callable[[ObjectInfo], Iterable[Finding]]
    ) -> Iterator[Iterable[Finding]]:
        infos = self._store.list(prefix)
        with ThreadPoolExecutor(_THREADS, "verify") as pool:
            while batch := list(islice(infos, _BATCH)):
                yield from pool.map(lambda info: _findings(check, info), batch)

    def _mark(self, what: str) -> None:
        """List what the next checks ask about often. Every "no" is looked up once more."""
        if what == "records":
            self._references = Marks(info.key for info in self._store.list("refs/"))
            self._blobs = Marks(info.key for info in self._store.list("blobs/"))
            self._fingerprints = Marks(info.key for info in self._store.list("fingerprints/"))
        elif what == "references":
            self._records = Marks(info.key for info in self._store.list("files/"))

    def _finish_deletions(self) -> None:
        if self._repair:
            self._media.blobs.recover()

    def _trash(self, info: ObjectInfo) -> Iterator[Finding]:
        if content_of(info.key) is None:
            yield _unknown(info)
        elif info.modified_at_seconds < self._now - DELETION_SECONDS:
            yield self._finding("unfinished deletion", info.key, "finished")

    def _record(self, info: ObjectInfo) -> Iterator[Finding]:
        tenant, media_id = tenant_of(info.key), info.key.rpartition("/")[2].removesuffix(".json")
        if not is_media_id(media_id) or info.key != record_key(tenant, media_id):
            yield _unknown(info)
            return
        try:
            record = decode_record(self._get(info.key), tenant, media_id)
        except ObjectNotFound:
            return
        except CorruptObject:
            yield self._damaged_record(tenant, media_id, info.key)
            return
        yield from self._reference_of(record, info)
        yield from self._blob_of(record, info)
        yield from self._fingerprint_of(record, info)

    def _damaged_record(self, tenant: str, media_id: str, key: str) -> Finding:
        if not self._repair:
            return Finding("damaged record", key, _NOTHING, False)
        kept = damaged_record_prefix(tenant, media_id) + secrets.token_hex(4)
        try:
            self._store.copy_if_absent(key, kept)
            record = salvaged_record(self._store, tenant, media_id, self._get(kept), self._content_type_of)
        except ObjectNotFound:  # deleted meanwhile
            return Finding("damaged record", key, "deleted", True)
        if record is None:
            self._store.delete(key)
            return Finding("damaged record", key, "moved to quarantine; upload the medium again", False)
        self._store.put(key, encode_record(record))
        if not self._media.restore_reference(record):  # deleted meanwhile
            self._store.delete(key)
        return Finding("damaged record", key, "written anew; its name may be lost", True)

    def _reference_of(self, record: MediaRecord, info: ObjectInfo) -> Iterator[Finding]:
        ref = record.ref
        key = reference_prefix(ref.tenant, ref.sha256) + ref.id
        if key not in self._references and not exists(self._store, key) and exists(self._store, info.key):
            if self._repair and not self._media.restore_reference(record):
                return
            yield self._finding("record without reference", info.key, "reference written again")

    def _blob_of(self, record: MediaRecord, info: ObjectInfo) -> Iterator[Finding]:
        ref = record.ref
        if ref.blob_key in self._blobs or exists(self._store, ref.blob_key):
            return
        restored = self._repair and self._media.blobs.restore(ref.tenant, ref.sha256)
        if restored:
            yield self._finding("record without blob", info.key, "blob restored from a safety copy")
        elif any_under(self._store, trash_prefix(ref.tenant, ref.sha256)):
            return  # a deletion that is being undone; readers find the copy
        elif exists(self._store, info.key) and not exists(self._store, ref.blob_key):
            yield Finding("lost medium", info.key, "upload it again", False)

    def _fingerprint_of(self, record: MediaRecord, info: ObjectInfo) -> Iterator[Finding]:
        if record.perceptual_hash is None or info.modified_at_seconds > self._now - _SETTLED_SECONDS:
            return
        key = fingerprint_prefix(record.ref.tenant, record.ref.id) + record.perceptual_hash
        if key not in self._fingerprints and not exists(self._store, key) and exists(self._store, info.key):
            if self._repair:
                self._store.put(key, b"")
                if not exists(self._store, info.key):  # deleted meanwhile
                    self._store.delete(key)
            yield self._finding("record without fingerprint", info.key, "fingerprint written again")

    def _reference(self, info: ObjectInfo) -> Iterator[Finding]:
        content, media_id = content_of(info.key), info.key.rpartition("/")[2]
        if content is None or not is_media_id(media_id):
            yield _unknown(info)
            return
        tenant, sha256 = content
        if record_key(tenant, media_id) in self._records or not self._is_old(info):
            return
        if self._media.has_record(tenant, sha256, media_id) or not exists(self._store, info.key):
            return
        if self._repair and not self._media.drop_reference(tenant, sha256, media_id):
            return
        yield self._finding("reference without record", info.key, "removed")

    def _blob(self, info: ObjectInfo) -> Iterator[Finding]:
        content = content_of(info.key)
        if content is None:
            yield _unknown(info)
            return
        tenant, sha256 = content
        chunks = ChunkHasher()
        try:
            is_intact = self._media.blobs.is_intact(info.key, sha256, chunks)
        except ObjectNotFound:
            return
        is_needed = any_under(self._store, reference_prefix(tenant, sha256))
        if not is_needed and (not is_intact or self._is_old(info)):
            if self._repair:
                self._media.blobs.discard(tenant, sha256)
            yield self._finding("blob without reference", info.key, "removed")
        elif is_intact:
            yield from self._digests_of(info, tenant, sha256, chunks.digests)
        elif self._repair and self._media.blobs.mend(tenant, sha256):
            yield Finding("damaged blob", info.key, "restored from a safety copy", True)
        else:
            self._damaged.add((tenant, sha256))
            action = "marked; it is never served" if self._repair else _NOTHING
            yield Finding("damaged blob", info.key, action, False)
            prefix = reference_prefix(tenant, sha256)
            for reference in islice(self._store.list(prefix), _KEPT_FINDINGS):
                key = record_key(tenant, reference.key.removeprefix(prefix))
                yield Finding("lost medium", key, "upload it again" if self._repair else _NOTHING, False)

    def _digests_of(
        self, info: ObjectInfo, tenant: str, sha256: str, digests: ChunkDigests | None
    ) -> Iterator[Finding]:
        if digests is None:
            return
        key = digests_key(tenant, sha256)
        try:
            kept = ChunkDigests.unsealed(key, self._get(key), digests.size_bytes)
        except ObjectNotFound:
            kept = None
        if kept != digests and exists(self._store, info.key):
            if self._repair:
                self._media.blobs.write_digests(tenant, sha256, digests)
            yield self._finding("missing or damaged digests", key, "written again")

    def _digests(self, info: ObjectInfo) -> Iterator[Finding]:
        content = content_of(info.key)
        if content is None:
            yield _unknown(info)
        elif self._is_orphan(info, *content):
            yield self._removed("digests without blob", info)

    def _derived(self, info: ObjectInfo) -> Iterator[Finding]:
        content = content_of(info.key)
        if content is None:
            yield _unknown(info)
            return
        try:
            value = unseal(info.key, self._get(info.key))
        except ObjectNotFound:
            return
        if value is None:
            yield self._removed("damaged derived artifact", info)
        elif self._is_orphan(info, *content):
            yield self._removed("derived artifact without source", info)

    def _quarantined(self, info: ObjectInfo) -> Iterator[Finding]:
        if info.key.startswith(damaged_record_prefix(tenant_of(info.key))):
            return
        content = content_of(info.key)
        if content is None:
            yield _unknown(info)
            return
        if content in self._damaged:
            return
        tenant, sha256 = content
        if exists(self._store, blob_key(tenant, sha256)):
            if self._media.blobs.is_intact(blob_key(tenant, sha256), sha256):
                yield self._removed("mark of a blob that is whole", info)
        elif self._is_old(info) and not any_under(self._store, reference_prefix(tenant, sha256)):
            yield self._removed("quarantined copy of deleted content", info)

    def _fingerprint(self, info: ObjectInfo) -> Iterator[Finding]:
        tenant, (media_id, _, hash_) = tenant_of(info.key), info.key.rpartition("/")[2].rpartition("-")
        if not is_media_id(media_id) or info.key != fingerprint_prefix(tenant, media_id) + hash_:
            yield _unknown(info)
            return
        if not self._is_old(info):
            return
        try:
            record = decode_record(self._get(record_key(tenant, media_id)), tenant, media_id)
        except (ObjectNotFound, MediaNotFound):
            yield self._removed("fingerprint without record", info)
            return
        except CorruptObject:
            return
        if record.perceptual_hash != hash_:
            yield self._removed("fingerprint of another picture", info)

    def _staged(self, info: ObjectInfo) -> Iterator[Finding]:
        if self._is_old(info):
            yield self._removed("staged upload left behind", info)

    def _upload(self, info: ObjectInfo) -> Iterator[Finding]:
        if not info.key.endswith(".json"):
            return
        try:
            is_sound = from_checked_json(info.key, self._get(info.key)) is not None
        except ObjectNotFound:
            return
        if not is_sound:
            yield self._removed("damaged upload", info)

    def _part(self, info: ObjectInfo) -> Iterator[Finding]:
        parts = info.key.split("/")
        if len(parts) != 4:
            yield _unknown(info)
        elif self._is_old(info) and not exists(self._store, f"uploads/{parts[1]}/{parts[2]}.json"):
            yield self._removed("part without upload", info)

    def _is_orphan(self, info: ObjectInfo, tenant: str, sha256: str) -> bool:
        key = blob_key(tenant, sha256)
        return key not in self._blobs and self._is_old(info) and not exists(self._store, key)

    def _removed(self, kind: str, info: ObjectInfo) -> Finding:
        if self._repair:
            self._store.delete(info.key)
        return self._finding(kind, info.key, "removed")

    def _finding(self, kind: str, key: str, action: str) -> Finding:
        return Finding(kind, key, action if self._repair else _NOTHING, self._repair)

    def _get(self, key: str) -> bytes:
        """An object that carries a checksum; no bytes if a checksum of the store's own does not fit."""
        try:
            return self._store.get(key)
        except CorruptObject:
            return b""

    def _is_old(self, info: ObjectInfo) -> bool:
        return info.modified_at_seconds < self._now - self._grace_seconds


def _findings(check: Callable[[ObjectInfo], Iterable[Finding]], info: ObjectInfo) -> list[Finding]:
    try:
        return list(check(info))
    except InvalidKey:  # others put objects into a bucket under names that we cannot even ask for
        return [_unknown(info)]


def _unknown(info: ObjectInfo) -> Finding:
    return Finding("unknown object", info.key, _NOTHING, False)
