"""A tenant's media page by page, newest first, by kind."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.types import MediaKind
from storage.media import MediaStore
from storage.types import INLINE, MediaRecord, modality_of

__all__ = ["MediaPage", "media_page"]

_MOST_LOOKED_AT = 1000  # records read for one page: each is a small object of the store


@dataclass(frozen=True, slots=True)
class MediaPage:
    """Some records, and the id to go on after; ``after`` is ``None`` at the end.

    A page may be short, even empty, and not the last: only so many records are looked at for one.
    """

    records: tuple[MediaRecord, ...]
    after: str | None


def media_page(
    media: MediaStore,
    tenant: str,
    after: str | None,
    limit: int,
    kind: MediaKind | None,
    purpose: str | None,
) -> MediaPage:
    """At most ``limit`` images, recordings and videos, or those of one ``kind``, from the one after the id
    ``after`` on. Files that are none are left out. Blocks: call it in a thread. Raises ``MediaNotFound`` for a
    malformed ``after``.
    """
    found: list[MediaRecord] = []
    looked_at = 0
    while looked_at < _MOST_LOOKED_AT:
        step = min(max(limit + 1, looked_at), _MOST_LOOKED_AT - looked_at)  # few wanted: ever more at a time
        # The store would look for other purposes among all there is; inline media are told by their ids.
        records = media.list(tenant, after=after, limit=step, purpose=INLINE if purpose == INLINE else None)
        for record in records:
            if _is_wanted(record, kind) and purpose in (None, record.purpose):
                if len(found) == limit:
                    return MediaPage(tuple(found), found[-1].ref.id)
                found.append(record)
        if len(records) < step:
            return MediaPage(tuple(found), None)
        looked_at += step
        after = records[-1].ref.id
    return MediaPage(tuple(found), after)


def _is_wanted(record: MediaRecord, kind: MediaKind | None) -> bool:
    modality = modality_of(record.ref.content_type)
    return modality != "text" if kind is None else modality == kind.value
