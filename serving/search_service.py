"""The search deployment as the gateway sees it: one of the seams in ``serving.services``."""

from __future__ import annotations

from typing import Protocol

from search.filters import Condition
from search.types import (
    Cluster,
    CollectionInfo,
    CollectionMap,
    CollectionSpec,
    Query,
    Row,
    SearchAnswer,
    StoredDocument,
)

__all__ = ["SearchIndex"]


class SearchIndex(Protocol):
    """The search deployment. Raises the typed errors of ``search.errors``.

    ``collection`` may be an alias everywhere but in ``create``, ``drop`` and ``point_alias``.
    """

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        """Make a collection, by default as the settings say. Made before with the same spec: the same answer;
        with another one: ``CollectionExists``.
        """
        ...

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        """What there is to say of a collection. ``CollectionNotFound``, also for a ``default`` without rows."""
        ...

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """All of a tenant's collections, by name."""
        ...

    async def drop(self, tenant: str, name: str) -> bool:
        """Delete a collection with its rows, segments and the aliases that point to it; whether it was there."""
        ...

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        """Make ``alias`` mean the collection ``name`` from now on, at once for every reader."""
        ...

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        """Delete an alias; whether it was there. The collection stays."""
        ...

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        """Write rows durably and return the table version that holds them. Replaces documents of the same id."""
        ...

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        """The ``top_k`` best documents, best first; parts of one document are grouped into one hit."""
        ...

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        """Stored documents with their vectors, in the order of the ids; missing ones are left out."""
        ...

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        """At most ``limit`` documents that satisfy ``where``, in order of id, from the one after ``after`` on."""
        ...

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        """Which of some contents (SHA-256, hex) are indexed already, and the id of a document of each."""
        ...

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        """Spherical k-means over the documents (each the mean of its parts), largest cluster first; fewer than
        ``count`` when there are fewer documents. The same collection gives the same clusters.
        """
        ...

    async def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None
    ) -> CollectionMap:
        """At most ``limit`` documents on a plane, and a sample (all, or some thousands of them) in at most
        ``count`` clusters. The same collection gives the same map.
        """
        ...

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        """Remove a document and return the table version without it. A missing id is not an error."""
        ...

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        """Remove what was indexed of these media from all the tenant's collections, whatever ids the
        documents have. Returns how many documents were there.
        """
        ...

    async def vacuum(self) -> int:
        """Compact tables, bring their text indexes up to date, take deleted rows and unused segments of all
        tenants off the disk; returns how many bytes that were.
        """
        ...

    async def ready(self) -> bool:
        """Whether the table store can be read."""
        ...
