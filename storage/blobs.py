"""Contents: bytes stored once per tenant under their hash, needed as long as a reference says so.

**Coming and going.** A reference is written before the blob's existence is looked at. A deletion copies the blob
to the trash, deletes it, and then looks for references *again*, with the copy still at hand. So an upload of the
same bytes that races with a deletion either finds the blob gone and writes it, or wrote its reference before the
deletion's last look, which puts the blob back. ``recover`` finishes deletions that a crash cut short. Until the
blob is back a reader finds the trash copy. When the store did not answer the deletion of the blob at once, a try
may come into effect after all this, on bytes that somebody has uploaded since; therefore the copy stays then, and
``recover`` takes care of it as after a crash.

**Healing.** A blob that fails its hash stays where it is, and a copy of it in quarantine marks it: deleting it
could hit good bytes that somebody else has just put there, overwriting it with good ones never does harm. So
whoever uploads the content again and finds the mark overwrites the blob. A deletion that copied the *bad* bytes to
the trash just before that might still delete the good ones and put its bad copy back; therefore the healer
leaves a good copy in the trash, which readers fall back on, and which ``recover`` puts in place, once every such
deletion is long over, before it drops it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from storage.artifacts import ArtifactStore
from storage.digests import ChunkDigests, ChunkHasher
from storage.errors import CorruptObject, ObjectNotFound
from storage.intake import Content
from storage.keys import (
    blob_key,
    content_of,
    digests_key,
    quarantine_prefix,
    reference_prefix,
    trash_prefix,
)
from storage.many import put_all_if_absent
from storage.objects import ObjectStore, any_under, exists

__all__ = ["DELETION_SECONDS", "BlobStore"]

_LOG = logging.getLogger(__name__)
DELETION_SECONDS = 3600.0
"""No deletion takes longer: it gives up after half of this. Older trash belongs to a crash or to a healing."""

_CHUNK_BYTES = 1 << 20
_ROUNDS = 4  # each failing one needs another deletion of the same content to have come and gone meanwhile


class BlobStore:
    """Blobs, references, trash and quarantine over an ``ObjectStore``. Threads and processes may share it."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._artifacts = ArtifactStore(store)
        self._clock = clock

    def refer(self, tenant: str, sha256: str, media_id: str) -> None:
        """Say that an id needs the content."""
        self._store.put(reference_prefix(tenant, sha256) + media_id, b"")

    def unrefer(self, tenant: str, sha256: str, media_id: str) -> None:
        """Say that an id does not need the content any more."""
        self._store.delete(reference_prefix(tenant, sha256) + media_id)

    def is_referred(self, tenant: str, sha256: str, media_id: str) -> bool:
        """Whether the id is on record as needing the content."""
        return exists(self._store, reference_prefix(tenant, sha256) + media_id)

    def write(self, tenant: str, content: Content) -> bool:
        """Store a content that a reference needs already; whether its blob was not there before."""
        key = blob_key(tenant, content.sha256)
        if content.digests is not None:
            self.write_digests(tenant, content.sha256, content.digests)
        if content.write_if_absent(key):
            return True
        self._heal(tenant, content)
        return False

    def write_all(self, tenant: str, contents: Sequence[tuple[str, Content]]) -> None:
        """``refer`` and ``write`` for small contents, each with the id that needs it."""
        put_all_if_absent(
            self._store,
            [(reference_prefix(tenant, content.sha256) + media_id, b"") for media_id, content in contents],
        )
        bodies = [(content, content.body()) for _, content in contents]
        written = put_all_if_absent(
            self._store,
            [(blob_key(tenant, content.sha256), body) for content, body in bodies if body is not None],
        )
        for (content, _), is_new in zip(bodies, written, strict=True):
            if not is_new:
                self._heal(tenant, content)

    def write_digests(self, tenant: str, sha256: str, digests: ChunkDigests) -> None:
        """Keep a large content's chunk digests."""
        key = digests_key(tenant, sha256)
        self._store.put(key, digests.sealed(key))

    def is_usable(self, tenant: str, sha256: str) -> bool:
        """Whether the blob is there and nobody has found it damaged."""
        is_marked = any_under(self._store, quarantine_prefix(tenant, sha256))
        return not is_marked and exists(self._store, blob_key(tenant, sha256))

    def copies(self, tenant: str, sha256: str) -> Iterator[str]:
        """Keys under which the content may be found, in the order to try them: the blob, and after that, while
        there are any, the trash copies and the blob again.
        """
        key = blob_key(tenant, sha256)
        yield key
        for _ in range(_ROUNDS):
            trash = [info.key for info in self._store.list(trash_prefix(tenant, sha256))]
            yield from trash
            yield key  # put back before we looked into the trash
            if not trash:
                return

    def restore(self, tenant: str, sha256: str) -> bool:
        """See that the blob of a referenced content is in its place; ``False`` when its bytes are gone."""
        key = blob_key(tenant, sha256)
        for copy in self.copies(tenant, sha256):
            if copy == key:
                if exists(self._store, key):
                    return True
                continue
            with suppress(ObjectNotFound):
                self._store.copy_if_absent(copy, key)
                return True
        return False

    def discard(self, tenant: str, sha256: str) -> tuple[str, ...]:
        """Delete a content with everything derived from it, unless a reference needs it.

        Returns the artifact keys of what was derived; none when the content is still needed.
        """
        key = blob_key(tenant, sha256)
        for _ in range(_ROUNDS):
            if self._is_referenced(tenant, sha256):
                return ()
            begun = self._clock()
            copy = _new_trash_key(tenant, sha256)
            try:
                self._store.copy_if_absent(key, copy)
            except ObjectNotFound:  # another deletion of the same content came first, or it was lost
                # An upload since may need the marks, when that deletion puts damaged bytes back.
                return () if self._is_referenced(tenant, sha256) else self._forget(tenant, sha256)
            if self._clock() - begun > DELETION_SECONDS / 2:
                # ``recover`` may take the copy for a crash's soon; without it the blob must stay.
                _LOG.warning("A deletion took too long and was given up; garbage collection comes again.")
                return ()
            # A try that is still under way may hit what is written after this; then the copy must be there.
            is_over = self._store.delete(key)
            if not self._is_referenced(tenant, sha256):
                keys = self._forget(tenant, sha256)
                if is_over:
                    self._store.delete(copy)
                return keys
            self._store.copy_if_absent(copy, key)
            if is_over:
                self._store.delete(copy)
            # Then once more: the reference that we saw may have gone before the blob was back.
        return ()

    def recover(self) -> int:
        """Finish deletions that a crash cut short: put back blobs that are needed, drop copies that are not.

        Safe beside running deletions: putting back is what they do themselves, and only old copies are
        dropped. Returns how many were dropped.
        """
        limit = self._clock() - DELETION_SECONDS
        dropped = 0
        for info in list(self._store.list("trash/")):
            content = content_of(info.key)
            if content is not None:
                dropped += self._recover(info.key, *content, is_old=info.modified_at_seconds < limit)
        return dropped

    def quarantine(self, tenant: str, sha256: str) -> None:
        """Mark a blob that failed its hash, so that the next upload of the content overwrites it."""
        prefix = quarantine_prefix(tenant, sha256)
        if any_under(self._store, prefix):
            return
        _LOG.error("A blob is damaged: %s", blob_key(tenant, sha256))
        with suppress(ObjectNotFound):
            self._store.copy_if_absent(blob_key(tenant, sha256), prefix + secrets.token_hex(8))

    def mend(self, tenant: str, sha256: str) -> bool:
        """Overwrite a damaged blob with a whole copy from the trash; without one, mark it and return ``False``."""
        key = blob_key(tenant, sha256)
        for info in list(self._store.list(trash_prefix(tenant, sha256))):
            with suppress(ObjectNotFound):
                if self.is_intact(info.key, sha256):
                    with self._store.open(info.key) as stream:
                        self._store.put(key, stream)
                    return True
        self.quarantine(tenant, sha256)
        return False

    def is_intact(self, key: str, sha256: str, chunks: ChunkHasher | None = None) -> bool:
        """Whether an object is the content; ``chunks`` is shown all of it. Raises ``ObjectNotFound``."""
        whole = hashlib.sha256()
        try:
            with self._store.open(key) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    whole.update(chunk)
                    if chunks is not None:
                        chunks.update(chunk)
        except CorruptObject:  # the store's own checksum told
            return False
        return whole.hexdigest() == sha256

    def _heal(self, tenant: str, content: Content) -> None:
        """Overwrite the blob if it is marked as damaged."""
        key = blob_key(tenant, content.sha256)
        marks = [info.key for info in self._store.list(quarantine_prefix(tenant, content.sha256))]
        if marks:
            _LOG.warning("A damaged blob was uploaded again and is whole now: %s", key)
            content.write(_new_trash_key(tenant, content.sha256))
            content.write(key)
            for mark in marks:
                self._store.delete(mark)

    def _recover(self, copy: str, tenant: str, sha256: str, *, is_old: bool) -> bool:
        key = blob_key(tenant, sha256)
        try:
            if self._is_referenced(tenant, sha256):
                self._store.copy_if_absent(copy, key)
                if is_old and not self.is_intact(key, sha256) and self.is_intact(copy, sha256):
                    with self._store.open(copy) as stream:
                        self._store.put(key, stream)
                    return False  # dropped next time, when this is seen to have lasted
        except ObjectNotFound:  # the deletion was finished by its own process
            return False
        if not is_old:
            return False
        # If the blob is there all the same, its marks and digests stay for who may be uploading it just now.
        if not self._is_referenced(tenant, sha256) and not exists(self._store, key):
            self._forget(tenant, sha256)
        self._store.delete(copy)
        return True

    def _forget(self, tenant: str, sha256: str) -> tuple[str, ...]:
        """Remove what belongs to a content whose blob was deleted."""
        keys = self._artifacts.delete_all(tenant, sha256)
        self._store.delete(digests_key(tenant, sha256))
        for info in list(self._store.list(quarantine_prefix(tenant, sha256))):
            self._store.delete(info.key)
        return keys

    def _is_referenced(self, tenant: str, sha256: str) -> bool:
        return any_under(self._store, reference_prefix(tenant, sha256))


def _new_trash_key(tenant: str, sha256: str) -> str:
    return trash_prefix(tenant, sha256) + secrets.token_hex(8)
