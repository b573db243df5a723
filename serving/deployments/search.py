"""The search deployment: the synchronous engine on a bounded number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from search.config import SearchConfig
from search.errors import SearchUnavailable
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

if TYPE_CHECKING:
    from search.engine import SearchEngine

__all__ = ["SearchDeployment"]

T = TypeVar("T")
_MAX_WAITING = 256
_WRITERS = 16


class SearchDeployment:
    """Satisfies ``serving.services.SearchIndex``.

    ``config.threads`` searches run at a time, and beside them 16 writes, which the engine commits together: one
    that waits for a commit works no more than one that waits for a thread. What takes long has a thread of its own.
    Nobody waits for the others; beyond 256 calls under way further ones are refused with ``SearchUnavailable``.
    """

    def __init__(self, config: SearchConfig) -> None:
        from search.engine import SearchEngine  # here: Lance and FAISS must not be loaded by who only builds

        self._engine: SearchEngine = SearchEngine(config)
        self._readers = ThreadPoolExecutor(max_workers=config.threads, thread_name_prefix="search")
        self._writers = ThreadPoolExecutor(max_workers=_WRITERS, thread_name_prefix="search-write")
        self._slow = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search-slow")
        self._waiting = 0

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        """See ``SearchIndex.create``."""
        return await self._run(self._writers, lambda: self._engine.create(tenant, name, spec))

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        """See ``SearchIndex.describe``."""
        return await self._run(self._readers, lambda: self._engine.describe(tenant, collection))

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """See ``SearchIndex.collections``."""
        return await self._run(self._readers, lambda: self._engine.collections(tenant))

    async def drop(self, tenant: str, name: str) -> bool:
        """See ``SearchIndex.drop``."""
        return await self._run(self._writers, lambda: self._engine.drop(tenant, name))

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        """See ``SearchIndex.point_alias``."""
        await self._run(self._writers, lambda: self._engine.point_alias(tenant, alias, name))

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        """See ``SearchIndex.drop_alias``."""
        return await self._run(self._writers, lambda: self._engine.drop_alias(tenant, alias))

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        """See ``SearchIndex.add``."""
        return await self._run(self._writers, lambda: self._engine.add(tenant, collection, rows))

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        """See ``SearchIndex.search``."""
        return await self._run(self._readers, lambda: self._engine.search(tenant, collection, query))

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        """See ``SearchIndex.documents``."""
        return await self._run(
            self._readers, lambda: self._engine.documents(tenant, collection, document_ids)
        )

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        """See ``SearchIndex.scroll``."""
        return await self._run(
            self._readers, lambda: self._engine.scroll(tenant, collection, after, limit, where)
        )

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        """See ``SearchIndex.known_contents``."""
        return await self._run(
            self._readers, lambda: self._engine.known_contents(tenant, collection, content_hashes)
        )

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        """See ``SearchIndex.clusters``."""
        return await self._run(self._slow, lambda: self._engine.clusters(tenant, collection, count, where))

    async def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None
    ) -> CollectionMap:
        """See ``SearchIndex.layout``."""
        return await self._run(
            self._slow, lambda: self._engine.layout(tenant, collection, count, limit, where)
        )

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        """See ``SearchIndex.delete``."""
        return await self._run(self._writers, lambda: self._engine.delete(tenant, collection, document_id))

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        """See ``SearchIndex.delete_media``."""
        return await self._run(self._writers, lambda: self._engine.delete_media(tenant, media_ids))

    async def vacuum(self) -> int:
        """See ``SearchIndex.vacuum``."""
        return await self._run(self._slow, self._engine.vacuum)

    async def ready(self) -> bool:
        """Whether the tables can be read."""
        try:
            await self._run(self._readers, self._engine.check)
        except SearchUnavailable:
            return False
        return True

    async def check_health(self) -> None:
        """Raise ``SearchUnavailable`` when the tables cannot be reached, so that the replica is replaced."""
        await self._run(self._readers, self._engine.check)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise SearchUnavailable("Search has too much to do right now. Try again shortly.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        finally:
            self._waiting -= 1
