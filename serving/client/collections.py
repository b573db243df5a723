"""``/v1/collections``: collections, their aliases and clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.client.calls import AsyncResource, SyncResource, call
from serving.client.found import (
    Alias,
    AliasDeleted,
    ClusterList,
    Collection,
    CollectionDeleted,
    CollectionList,
    CollectionMap,
)
from serving.client.requests import Request

__all__ = ["AsyncCollections", "Collections"]


class CollectionCalls:
    """Collections. Wherever one is named an alias will do, but for ``delete`` and as the target of an alias."""

    @call(Collection, "POST /collections")
    def create(
        self,
        name: str,
        *,
        spaces: Sequence[Mapping[str, Any]] | None = None,
        index: Mapping[str, Any] | None = None,
    ) -> Request:
        """Make one; made before with the same settings it is answered as it is.

        ``spaces`` are ``{"name", "dimensions", "model"}`` for vectors of your own, ``index`` is ``{"kind",
        "storage", "dimensions"}``. Raises ``ConflictError`` when it was made with others.
        """
        return Request(
            body={"name": name, "spaces": None if spaces is None else list(spaces), "index": index}
        )

    @call(CollectionList, "GET /collections")
    def list(self) -> Request:
        """All, by name."""
        return Request()

    @call(Collection, "GET /collections/{collection}")
    def get(self, collection: str) -> Request:
        """One."""
        return Request({"collection": collection})

    @call(CollectionDeleted, "DELETE /collections/{collection}")
    def delete(self, collection: str) -> Request:
        """Delete one with its documents, indexes and aliases. Media stay."""
        return Request({"collection": collection})

    @call(Alias, "PUT /collections/{collection}/aliases/{alias}")
    def point_alias(self, collection: str, alias: str) -> Request:
        """Let ``alias`` mean this collection from now on."""
        return Request({"collection": collection, "alias": alias})

    @call(AliasDeleted, "DELETE /collections/{collection}/aliases/{alias}")
    def delete_alias(self, collection: str, alias: str) -> Request:
        """Delete an alias; the collection stays."""
        return Request({"collection": collection, "alias": alias})

    @call(ClusterList, "POST /collections/{collection}/clusters")
    def clusters(
        self,
        collection: str,
        count: int,
        *,
        filters: Mapping[str, Any] | None = None,
        include: Sequence[str] | None = None,
    ) -> Request:
        """Group documents into at most ``count`` groups (up to 1000).

        ``include`` is of ``metadata``, ``url`` and ``vector`` (of the centre).
        """
        wanted = None if include is None else list(include)
        return Request(
            {"collection": collection}, body={"count": count, "filters": filters, "include": wanted}
        )

    @call(CollectionMap, "POST /collections/{collection}/map")
    def map(
        self,
        collection: str,
        *,
        limit: int | None = None,
        count: int | None = None,
        filters: Mapping[str, Any] | None = None,
        include: Sequence[str] | None = None,
    ) -> Request:
        """Place up to ``limit`` documents (500 unless said, up to 2000) on a plane; all of them, or a sample of
        2000, are divided into ``count`` groups (8 unless said).
        """
        wanted = None if include is None else [*include]
        body = {"limit": limit, "count": count, "filters": filters, "include": wanted}
        return Request({"collection": collection}, body=body)


class Collections(CollectionCalls, SyncResource):
    """``client.collections``."""


class AsyncCollections(CollectionCalls, AsyncResource):
    """``client.collections``, to be awaited."""
