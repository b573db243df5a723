"""Many media at once: what ``MediaStore.receive`` and ``commit`` do, for less than one by one.

The order of things is theirs: references before blobs, records last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO

from storage.intake import Content, taken_in
from storage.keys import check_tenant, record_key
from storage.many import put_all_if_absent
from storage.media import MediaStore
from storage.records import encode_record, id_time_seconds, new_media_id
from storage.types import INLINE, MediaRecord, MediaRef

__all__ = ["commit_all", "receive_all"]


def receive_all(
    media: MediaStore, tenant: str, streams: Sequence[tuple[BinaryIO, str]], max_bytes: int
) -> list[MediaRef]:
    """Receive seekable streams, each another one, with their content types as inline media. Nothing is kept when it
    raises.

    Raises as ``MediaStore.receive`` does. Only small media gain by it.
    """
    check_tenant(tenant)
    if len({id(stream) for stream, _ in streams}) < len(streams):
        raise ValueError("A stream cannot be read twice side by side.")
    refs: list[MediaRef] = []
    small: list[tuple[str, Content]] = []
    with ExitStack() as taken:
        try:
            for stream, content_type in streams:
                start = stream.tell()
                content = taken.enter_context(taken_in(media.objects, stream, max_bytes, media.spool_folder))
                if content.digests is not None:
                    stream.seek(start)
                    refs.append(media.receive(tenant, stream, content_type, max_bytes, inline=True))
                    continue
                media_id = new_media_id(media.clock(), inline=True)
                refs.append(MediaRef(media_id, tenant, content.sha256, content.size_bytes, content_type))
                small.append((media_id, content))
            media.blobs.write_all(tenant, small)
        except BaseException:
            for ref in refs:
                media.abandon(ref)
            raise
    return refs


def commit_all(media: MediaStore, received: Sequence[tuple[MediaRef, str | None]]) -> list[MediaRecord]:
    """Make inline media public under their file names, without an end. After an error ``abandon`` each.

    Raises as ``MediaStore.commit`` does.
    """
    if all(_is_young(media, ref) for ref, _ in received):
        records = [MediaRecord(ref, name, int(id_time_seconds(ref.id)), INLINE) for ref, name in received]
        encoded = [(record_key(one.ref.tenant, one.ref.id), encode_record(one)) for one in records]
        put_all_if_absent(media.objects, encoded)
        if all(_is_young(media, ref) for ref, _ in received):
            return records
    # Received so long ago that garbage collection may have been there: the slow way of ``commit``.
    return [media.commit(ref, filename=name, purpose=INLINE) for ref, name in received]


def _is_young(media: MediaStore, ref: MediaRef) -> bool:
    return media.clock() - id_time_seconds(ref.id) <= media.grace_seconds / 4
