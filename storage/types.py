"""What storage keeps: objects, media references, media records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MediaRecord", "MediaRef", "ObjectInfo"]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's key, size and time of last change (seconds since the epoch)."""

    key: str
    size_bytes: int
    modified_at_seconds: float


@dataclass(frozen=True, slots=True)
class MediaRef:
    """All that travels inside the platform once bytes are stored. ``id`` is random, never the hash."""

    id: str
    tenant: str
    sha256: str
    size_bytes: int
    content_type: str

    @property
    def blob_key(self) -> str:
        """Where the bytes lie in the object store."""
        return f"blobs/{self.tenant}/sha256/{self.sha256[:2]}/{self.sha256[2:4]}/{self.sha256}"


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """A public handle on stored bytes: the reference, its name, when it was made, and free metadata."""

    ref: MediaRef
    filename: str | None
    created_at_seconds: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
