"""Pictures that look like one that was uploaded."""

from __future__ import annotations

from dataclasses import dataclass

from storage.assembly import Storage
from storage.errors import CorruptObject, MediaNotFound
from storage.types import MediaRecord

__all__ = ["NearDuplicate", "near_duplicates"]

# Of 64 bits: copies in other sizes, formats and qualities differ in less, other pictures in about 32.
_MAX_DISTANCE = 10
_MAX_SHOWN = 10


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A picture of the same tenant, and in how many of 64 bits its perceptual hash differs."""

    record: MediaRecord
    distance: int


def near_duplicates(storage: Storage, record: MediaRecord) -> list[NearDuplicate] | None:
    """The tenant's uploaded pictures that look like this one, most alike first. Blocks: call it in a thread.

    ``None`` for what has no perceptual hash (sound, video, files that came inside another request).
    """
    if record.perceptual_hash is None:
        return None
    ref = record.ref
    found = storage.fingerprints.near(
        ref.tenant, record.perceptual_hash, max_distance=_MAX_DISTANCE, limit=_MAX_SHOWN, exclude=ref.id
    )
    alike = []
    for media_id, distance in found:
        try:
            alike.append(NearDuplicate(storage.media.get(ref.tenant, media_id), distance))
        except (MediaNotFound, CorruptObject):  # being uploaded or deleted right now, or damaged
            continue
    return alike
