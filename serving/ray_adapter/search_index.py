"""The search service over a handle."""

from __future__ import annotations

from ray.serve.handle import DeploymentHandle

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
from serving.pool_calls import PoolCalls
from serving.ray_adapter.caller import Caller

__all__ = ["RaySearchIndex"]


class RaySearchIndex(Caller):
    """``serving.services.SearchIndex`` over a handle; ``calls`` as in ``Caller``.

    Calls that say what was there before they took it away are not made twice.
    """

    def __init__(
        self, handle: DeploymentHandle, timeout_seconds: float, calls: PoolCalls | None = None
    ) -> None:
        super().__init__(handle, "Search", timeout_seconds, calls)

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        result: CollectionInfo = await self.call("create", tenant, name, spec)
        return result

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        result: CollectionInfo = await self.call("describe", tenant, collection)
        return result

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        result: tuple[CollectionInfo, ...] = await self.call("collections", tenant)
        return result

    async def drop(self, tenant: str, name: str) -> bool:
        return bool(await self.call("drop", tenant, name, repeatable=False))

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        await self.call("point_alias", tenant, alias, name)

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        return bool(await self.call("drop_alias", tenant, alias, repeatable=False))

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        return int(await self.call("add", tenant, collection, rows))

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        result: SearchAnswer = await self.call("search", tenant, collection, query)
        return result

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        result: tuple[StoredDocument, ...] = await self.call("documents", tenant, collection, document_ids)
        return result

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        result: tuple[StoredDocument, ...] = await self.call(
            "scroll", tenant, collection, after, limit, where
        )
        return result

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        result: dict[str, str] = await self.call("known_contents", tenant, collection, content_hashes)
        return result

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        result: tuple[Cluster, ...] = await self.call("clusters", tenant, collection, count, where)
        return result

    async def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None
    ) -> CollectionMap:
        result: CollectionMap = await self.call("layout", tenant, collection, count, limit, where)
        return result

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        return int(await self.call("delete", tenant, collection, document_id))

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        return int(await self.call("delete_media", tenant, media_ids, repeatable=False))

    async def vacuum(self) -> int:
        return int(await self.call("vacuum", repeatable=False))
