"""What storage keeps: objects, media references, media records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["INLINE", "MediaRecord", "MediaRef", "Modality", "ObjectInfo", "Tier", "TierPolicy", "modality_of"]

Tier: TypeAlias = Literal["hot", "warm", "cold"]
"""How dear and how quick an object's storage is."""

Modality: TypeAlias = Literal["image", "video", "audio", "text"]
"""What a cached value was made from; decides how long it is kept."""

INLINE = "inline"
"""Purpose of media that came inside another request (a data URL, a link, a transcription), not as a file."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's key, size, time of last change (seconds since the epoch) and tier."""

    key: str
    size_bytes: int
    modified_at_seconds: float
    tier: Tier = "hot"


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """After how many days without change blobs become warm and cold. ``None``: never."""

    warm_after_days: int | None = None
    cold_after_days: int | None = None


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
    """A public handle on stored bytes.

    ``purpose`` is OpenAI's (``user_data``, ``vision``, ``batch``, ...) or ``INLINE``. ``perceptual_hash`` is
    the 64-bit pHash of a picture in 16 hex digits. Times are whole seconds since the epoch; a record past
    ``expires_at_seconds`` is not found any more.
    """

    ref: MediaRef
    filename: str | None
    created_at_seconds: int
    purpose: str = "user_data"
    expires_at_seconds: int | None = None
    perceptual_hash: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def modality_of(content_type: str) -> Modality:
    """The modality that a content type names; what is no medium counts as text."""
    kinds: dict[str, Modality] = {"image": "image", "video": "video", "audio": "audio"}
    return kinds.get(content_type.partition("/")[0], "text")
