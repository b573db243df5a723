"""Download links for the media that answers name: they need no key and end after a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from cachetools import TTLCache
from starlette.datastructures import URL

from serving.concurrency import all_of
from storage.assembly import Storage
from storage.errors import MediaNotFound, StorageError

__all__ = ["MediaLinks"]

_LINK_SECONDS = 3600
_KEPT_SECONDS = 300.0
_MAX_KEPT = 20_000
_PROBE_KEY = "blobs/default/sha256/00/00/" + "0" * 64  # never read: only whether the store makes links at all

_log = logging.getLogger("manymodal.gateway")


class MediaLinks:
    """Makes links, an hour long: the store's own if it has some that outsiders reach, else ours. One per gateway.

    The store's links need a look at each medium's record; they are kept for five minutes.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._of_store: bool | None = None
        self._kept: TTLCache[tuple[str, str], str] = TTLCache(_MAX_KEPT, _KEPT_SECONDS)

    async def to(self, tenant: str, media_ids: Iterable[str | None], here: URL) -> dict[str, str]:
        """A link for each medium, by its id. ``here`` is the address of the request, whose host ours get.

        Media that are gone may be missing: the index may be a moment behind.
        """
        wanted = list(dict.fromkeys(media_id for media_id in media_ids if media_id))
        if not wanted:
            return {}
        expires_at = int(time.time()) + _LINK_SECONDS
        if await self._are_the_stores():
            urls = await all_of(self._by_store(tenant, media_id, expires_at) for media_id in wanted)
            return {media_id: url for media_id, url in zip(wanted, urls, strict=True) if url is not None}
        sign = self._storage.links.sign
        return {
            media_id: str(here.replace(path=f"/v1/links/{sign(tenant, media_id, expires_at)}", query=""))
            for media_id in wanted
        }

    async def _are_the_stores(self) -> bool:
        if self._of_store is None:
            make = self._storage.objects.download_url
            url = await asyncio.to_thread(make, _PROBE_KEY, 60, "application/octet-stream", "probe")
            self._of_store = url is not None
        return self._of_store

    async def _by_store(self, tenant: str, media_id: str, expires_at: int) -> str | None:
        kept = self._kept.get((tenant, media_id))
        if kept is not None:
            return kept
        url = await asyncio.to_thread(self._made_by_store, tenant, media_id, expires_at)
        if url is not None:
            self._kept[tenant, media_id] = url
        return url

    def _made_by_store(self, tenant: str, media_id: str, expires_at: int) -> str | None:
        try:
            record = self._storage.media.get(tenant, media_id)
        except MediaNotFound:
            return None
        except StorageError as error:  # the answer is worth having without the link
            _log.warning("A search hit got no link: %s", error)
            return None
        ends = min(expires_at, record.expires_at_seconds or expires_at)
        seconds = max(1, ends - int(time.time()))
        ref = record.ref
        return self._storage.objects.download_url(
            ref.blob_key, seconds, ref.content_type, record.filename or media_id
        )
