"""Durable derived artifacts (transcripts, OCR, frame manifests, embeddings), kept beside their source.

They lie at ``derived/<tenant>/<sha256>/<artifact key>`` and are deleted with the blob they came from. They
can always be computed again, so a damaged one is a miss, never an error.
"""

from __future__ import annotations

import logging

from storage.errors import CorruptObject, ObjectNotFound
from storage.framing import seal, unseal
from storage.keys import blob_key, derived_prefix
from storage.objects import ObjectStore

__all__ = ["ArtifactStore"]

_LOG = logging.getLogger(__name__)


class ArtifactStore:
    """Artifacts by source content hash and ``storage.keys.artifact_key``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, tenant: str, sha256: str, key: str) -> bytes | None:
        """The artifact's bytes, or ``None`` when there is none. One that fails its checksum is removed."""
        object_key = derived_prefix(tenant, sha256) + key
        try:
            value = unseal(object_key, self._store.get(object_key))
        except ObjectNotFound:
            return None
        except CorruptObject:  # a store that keeps checksums of its own noticed first
            value = None
        if value is None:
            _LOG.warning("A derived artifact failed its checksum and was removed; it will be computed again.")
            self._store.delete(object_key)
        return value

    def put(self, tenant: str, sha256: str, key: str, value: bytes) -> bool:
        """Keep ``value`` durably, unless its source is gone (then ``False``). Writing the same artifact twice is
        harmless.
        """
        object_key = derived_prefix(tenant, sha256) + key
        self._store.put(object_key, seal(object_key, value))
        # The source may have been deleted while the value was computed. Deleting removes the blob before it
        # lists the artifacts, so either it finds this one, or the blob is already missing here. What a crash
        # in between leaves behind is collected as garbage.
        try:
            self._store.head(blob_key(tenant, sha256))
        except ObjectNotFound:
            self._store.delete(object_key)
            return False
        return True

    def keys(self, tenant: str, sha256: str) -> tuple[str, ...]:
        """The keys of all artifacts derived from one source."""
        prefix = derived_prefix(tenant, sha256)
        return tuple(info.key.removeprefix(prefix) for info in self._store.list(prefix))

    def delete_all(self, tenant: str, sha256: str) -> tuple[str, ...]:
        """Remove every artifact derived from one source; their artifact keys."""
        keys = self.keys(tenant, sha256)
        for key in keys:
            self._store.delete(derived_prefix(tenant, sha256) + key)
        return keys
