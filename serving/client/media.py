"""``/v1/media``: upload once, use the id everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from serving.client.answers import Link, ListedMedium, MediaDeleted, MediaText, Medium, WarmedUp
from serving.client.calls import AsyncResource, SyncResource, call, listed, planned
from serving.client.found import ListPage
from serving.client.requests import Request, Upload
from serving.client.sending import Plan

__all__ = ["AsyncMedia", "Media"]

_WARM_UP_IDS = 1000


class MediaCalls:
    """Stored pictures, recordings and videos. Ids are those of ``openai``'s ``files`` too."""

    @call(Medium, "POST /media")
    def put(self, file: Upload) -> Request:
        """Store a file: a path, bytes, an open file, or a name and one of these. The same bytes are kept once.

        The call is repeated when the connection breaks; the first try may then have left an id of its own.
        """
        return Request(files={"file": file})

    @call(Medium, "POST /media")
    def put_url(self, url: str, *, filename: str | None = None) -> Request:
        """Store what the platform fetches from an ``http(s)://`` URL, or what a ``data:`` URL holds."""
        name = "data" if url[:5].lower() == "data:" else "url"
        return Request(body={name: url, "filename": filename})

    @call(Medium, "GET /media/{media_id}")
    def get(self, media_id: str) -> Request:
        """What is known of a medium, and which pictures look like it."""
        return Request({"media_id": media_id})

    @listed(ListPage[ListedMedium], "GET /media")
    def list(
        self,
        *,
        kind: str | None = None,
        purpose: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Request:
        """All media, newest first. ``limit`` is the size of a page (1 to 100), ``kind`` ``image``, ``audio`` or
        ``video``. Those that came inside other requests have the ``purpose`` ``inline`` and are listed for it only.
        """
        return Request(query={"kind": kind, "purpose": purpose, "limit": limit, "after": after})

    @call(bytes, "GET /media/{media_id}/content")
    def content(self, media_id: str) -> Request:
        """Its bytes. For what is too large for memory: ``openai.files.with_streaming_response.content(id)``."""
        return Request({"media_id": media_id})

    @call(bytes, "GET /media/{media_id}/thumbnail")
    def thumbnail(
        self, media_id: str, *, size: int | None = None, time_seconds: float | None = None
    ) -> Request:
        """A picture, or a frame of a video (the first that is not black, or that of a moment), as a JPEG.

        ``size`` is that of the longer side, 64 to 1024 pixels.
        """
        return Request({"media_id": media_id}, query={"size": size, "time_seconds": time_seconds})

    @call(MediaText, "GET /media/{media_id}/text")
    def text(self, media_id: str) -> Request:
        """What is written in a picture, and where."""
        return Request({"media_id": media_id})

    @call(Link, "POST /media/{media_id}/link")
    def link(self, media_id: str, *, expires_in_seconds: int | None = None) -> Request:
        """An address that needs no key: for an hour, or 60 to 604,800 seconds."""
        return Request({"media_id": media_id}, body={"expires_in_seconds": expires_in_seconds})

    @call(MediaDeleted, "DELETE /media/{media_id}")
    def delete(self, media_id: str) -> Request:
        """Forget it: its documents leave the collections, and with the last id of its bytes these go."""
        return Request({"media_id": media_id})

    @call(WarmedUp, "POST /media/warm_up")
    def _warm_up(self, ids: Sequence[str]) -> Request:
        return Request(body={"ids": ids})

    @planned
    def warm_up(self, ids: Iterable[str]) -> Plan[WarmedUp]:
        """Load what was derived of these media into the caches, however many. Nothing is computed."""
        wanted = [*ids]
        whole = WarmedUp(object="media.warm_up", loaded=0, loaded_bytes=0, complete=True, not_found=[])
        for start in range(0, len(wanted), _WARM_UP_IDS):
            part: WarmedUp = yield MediaCalls._warm_up.ask(wanted[start : start + _WARM_UP_IDS])
            whole.loaded += part.loaded
            whole.loaded_bytes += part.loaded_bytes
            whole.complete = whole.complete and part.complete
            whole.not_found += part.not_found
        return whole


class Media(MediaCalls, SyncResource):
    """``client.media``."""


class AsyncMedia(MediaCalls, AsyncResource):
    """``client.media``, to be awaited."""
