"""Durable derived artifacts (transcripts, OCR, frame manifests, embeddings), kept beside their source.

They lie at ``derived/<tenant>/<sha256>/<artifact key>`` and are deleted with the blob they came from. They
can always be computed again, so a damaged one is a miss, never an error.
"""

from __future__ import annotations

import logging

from storage.errors import ObjectNotFound
from storage.framing import seal, unseal
from storage.objects import ObjectStore
from storage.types import MediaRef

__all__ = ["ArtifactStore"]

_LOG = logging.getLogger(__name__)


class ArtifactStore:
    """Artifacts by source content hash and ``storage.keys.artifact_key``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, tenant: str, sha256: str, key: str) -> bytes | None:
        """The artifact's bytes, or ``None`` when there is none. One that fails its checksum is removed."""
        object_key = self._object_key(tenant, sha256, key)
        try:
            framed = self._store.get(object_key)
        except ObjectNotFound:
            return None
        value = unseal(object_key, framed)
        if value is None:
            _LOG.warning("A derived artifact failed its checksum and was removed; it will be computed again.")
            self._store.delete(object_key)
        return value

    def put(self, tenant: str, sha256: str, key: str, value: bytes) -> None:
        """Keep ``value`` durably, unless its source is gone. Writing the same artifact twice is harmless."""
        object_key = self._object_key(tenant, sha256, key)
        self._store.put(object_key, seal(object_key, value))
        # The source may have been deleted while the value was computed. Deleting removes the blob before it
        # lists the artifacts, so either it finds this one, or the blob is already missing here. What a crash
        # in between leaves behind is for the store's sweep.
        try:
            self._store.head(MediaRef("", tenant, sha256, 0, "").blob_key)
        except ObjectNotFound:
            self._store.delete(object_key)

    def delete_all(self, tenant: str, sha256: str) -> None:
        """Remove every artifact derived from one source."""
        for info in list(self._store.list(f"derived/{tenant}/{sha256}/")):
            self._store.delete(info.key)

    @staticmethod
    def _object_key(tenant: str, sha256: str, key: str) -> str:
        return f"derived/{tenant}/{sha256}/{key}"
