"""The search deployment: the synchronous engine on a bounded number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from search.config import SearchConfig
from search.errors import SearchUnavailable
from search.types import Hit, Query, Row

if TYPE_CHECKING:
    from search.engine import SearchEngine

__all__ = ["SearchDeployment"]

T = TypeVar("T")
_MAX_WAITING = 256


class SearchDeployment:
    """Satisfies ``serving.services.SearchIndex``.

    ``config.threads`` searches and two writes run at a time, so that neither waits for the other; beyond 256
    calls under way further ones are refused with ``SearchUnavailable``.
    """

    def __init__(self, config: SearchConfig) -> None:
        from search.engine import SearchEngine  # here: Lance and FAISS must not be loaded by who only builds

        self._engine: SearchEngine = SearchEngine(config)
        self._readers = ThreadPoolExecutor(max_workers=config.threads, thread_name_prefix="search")
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="search-write")
        self._waiting = 0

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        """See ``SearchIndex.add``."""
        return await self._run(self._writers, lambda: self._engine.add(tenant, collection, rows))

    async def search(self, tenant: str, collection: str, query: Query) -> tuple[Hit, ...]:
        """See ``SearchIndex.search``."""
        return await self._run(self._readers, lambda: self._engine.search(tenant, collection, query))

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        """See ``SearchIndex.delete``."""
        return await self._run(self._writers, lambda: self._engine.delete(tenant, collection, document_id))

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        """See ``SearchIndex.delete_media``."""
        return await self._run(self._writers, lambda: self._engine.delete_media(tenant, media_ids))

    async def vacuum(self) -> int:
        """See ``SearchIndex.vacuum``."""
        return await self._run(self._writers, self._engine.vacuum)

    async def ready(self) -> bool:
        """Whether the tables' folder can be read."""
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
