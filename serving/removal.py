"""Removing a medium, and with it everything that was made of it, wherever that lies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from serving.inline_memo import InlineMemo
from serving.limits.stored import StoredBytes
from serving.services import SearchIndex
from storage.assembly import Storage
from storage.errors import MediaNotFound
from storage.types import MediaRecord

__all__ = ["Remover"]


class Remover:
    """Takes media out of search, the store and the caches. One per gateway."""

    def __init__(self, storage: Storage, search: SearchIndex, memo: InlineMemo, stored: StoredBytes) -> None:
        self._storage = storage
        self._search = search
        self._memo = memo
        self._stored = stored

    async def remove(self, tenant: str, media_id: str) -> None:
        """Remove a medium. Raises ``MediaNotFound``; then there was nothing to remove.

        What another id of the same bytes needs stays. After a failure in the middle, doing it again finishes
        it, as long as the record is there, by which the medium is found: it goes after what search has of it.
        From then on nobody finds the medium any more, and what is left is collected as garbage.
        """
        record = await asyncio.to_thread(self._storage.media.get, tenant, media_id)
        await self._search.delete_media(tenant, (media_id,))
        await self._delete(record)
        # Once more: whoever was indexing it may have written rows before the record was gone. Later ones see
        # that it is (``serving.indexing``).
        await self._search.delete_media(tenant, (media_id,))

    async def remove_all(
        self, tenant: str, records: Sequence[MediaRecord], failed: Callable[[Exception], None]
    ) -> int:
        """Remove media of one tenant, expired ones too, as ``remove`` does; how many there were.

        ``failed`` is told what goes wrong with one of them; the others are removed all the same.
        """
        media_ids = tuple(record.ref.id for record in records)
        await self._search.delete_media(tenant, media_ids)
        removed = 0
        for record in records:
            try:
                await self._delete(record)
            except MediaNotFound:
                continue  # somebody else was first
            except Exception as error:
                failed(error)
            else:
                removed += 1
        await self._search.delete_media(tenant, media_ids)
        return removed

    async def _delete(self, record: MediaRecord) -> None:
        ref = record.ref
        self._memo.forget(ref.tenant, ref.sha256)
        deleted = await asyncio.to_thread(self._storage.media.delete, ref.tenant, ref.id)
        await self._storage.derived.forget(deleted.artifact_keys)
        await self._stored.freed(ref.tenant)
