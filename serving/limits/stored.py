"""How many bytes a tenant stores. The truth is the listing of the object store; the count between two listings is
kept with the other counts, so that gateways share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.errors import QuotaExceeded, ServiceUnavailable
from serving.limits.windows import Counts
from serving.tenant_settings import TenantDirectory
from storage.objects import ObjectStore

__all__ = ["StoredBytes"]

_FOLDERS = ("blobs", "parts")
_TRUSTED_SECONDS = 10.0  # nobody is refused by a count that is older
_COUNTING_SECONDS = 120.0


class StoredBytes:
    """Holds tenants to ``stored_bytes``: contents of files and media, each once, and parts of uploads under way.

    What is written takes its bytes before, so the count is never less than what lies there, except for what another
    gateway's upload adds while this one lists. It may be more (the same content twice, deletions): whoever would be
    refused is counted anew first. A restart loses nothing: without a count the store is listed. One per gateway.
    """

    def __init__(self, tenants: TenantDirectory, counts: Counts, objects: ObjectStore) -> None:
        self._tenants = tenants
        self._counts = counts
        self._objects = objects
        self._counting: dict[str, asyncio.Task[None]] = {}
        self._under_way: dict[str, int] = {}
        self._limited: set[str] = set()

    @asynccontextmanager
    async def kept(self, tenant: str, size_bytes: int) -> AsyncIterator[None]:
        """Take bytes for what the block stores; given back when it fails. Raises ``QuotaExceeded``."""
        limit = (await self._tenants.settings(tenant)).limits.stored_bytes
        if limit is None:
            yield
            return
        self._limited.add(tenant)
        await self._take(tenant, limit, size_bytes)
        self._under_way[tenant] = self._under_way.get(tenant, 0) + size_bytes
        try:
            yield
        except BaseException:
            await self.freed(tenant, size_bytes)
            raise
        finally:
            self._under_way[tenant] -= size_bytes
            if not self._under_way[tenant]:
                del self._under_way[tenant]

    async def freed(self, tenant: str, size_bytes: int = 0) -> None:
        """Something was removed; without its size, the next one who would be refused is counted anew."""
        limit = (await self._tenants.settings(tenant)).limits.stored_bytes
        if limit is None:
            return
        if size_bytes:
            await self._counts.add(_key(tenant), limit, -size_bytes)
        else:
            await self._counts.doubt(_key(tenant))

    async def recount(self, tenant: str) -> None:
        """List what is there. Several at once list once."""
        task = self._counting.get(tenant)
        if task is None:
            task = self._counting[tenant] = asyncio.create_task(self._listed(tenant), name="stored-bytes")
            task.add_done_callback(lambda _: self._counting.pop(tenant, None))
        try:
            async with asyncio.timeout(_COUNTING_SECONDS):
                await asyncio.shield(task)
        except TimeoutError:
            raise ServiceUnavailable(
                "What is stored for this tenant is being counted. Please try again in a minute."
            ) from None

    async def recount_all(self) -> None:
        """Count anew those tenants that were held to a limit here."""
        for tenant in tuple(self._limited):
            await self.recount(tenant)

    async def _take(self, tenant: str, limit: int, size_bytes: int) -> None:
        answer = await self._counts.add(_key(tenant), limit, size_bytes)
        if answer is None or (not answer[0] and answer[2] > _TRUSTED_SECONDS):
            await self.recount(tenant)
            answer = await self._counts.add(_key(tenant), limit, size_bytes)
        if answer is None:
            raise ServiceUnavailable("What is stored for this tenant is being counted. Please try again.")
        fits, total, _ = answer
        if not fits:
            raise QuotaExceeded(
                f"This needs {size_bytes} bytes, and {total} of the {limit} bytes that may be stored "
                "(stored_bytes) are used. Delete files that are not needed any more.",
                60,
            )

    async def _listed(self, tenant: str) -> None:
        total = await asyncio.to_thread(self._sum, tenant)
        await self._counts.set(_key(tenant), total + self._under_way.get(tenant, 0))

    def _sum(self, tenant: str) -> int:
        return sum(
            info.size_bytes for folder in _FOLDERS for info in self._objects.list(f"{folder}/{tenant}/")
        )


def _key(tenant: str) -> str:
    return f"{{{tenant}}}:stored"
