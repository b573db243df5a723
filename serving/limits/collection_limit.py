"""How many collections a tenant may have."""

from __future__ import annotations

from cachetools import LRUCache

from serving.errors import QuotaExceeded
from serving.services import SearchIndex
from serving.tenant_settings import TenantDirectory

__all__ = ["CollectionLimit"]

_REMEMBERED = 10_000


class CollectionLimit:
    """Asked before something may make a collection. Two made at the same moment may both be let through."""

    def __init__(self, tenants: TenantDirectory, search: SearchIndex) -> None:
        self._tenants = tenants
        self._search = search
        self._known: LRUCache[tuple[str, str], bool] = LRUCache(_REMEMBERED)

    async def check(self, tenant: str, name: str) -> None:
        """``name``, a collection or an alias, is about to be written to. Raises ``QuotaExceeded``."""
        limit = (await self._tenants.settings(tenant)).limits.collections
        if limit is None or (tenant, name) in self._known:
            return
        there = await self._search.collections(tenant)
        if any(name == one.name or name in one.aliases for one in there):
            self._known[tenant, name] = True
        elif len(there) >= limit:
            raise QuotaExceeded(
                f"There are {len(there)} collections, and at most {limit} are allowed (collections). Delete one "
                "that is not needed any more.",
                60,
            )

    def forget(self, tenant: str, name: str) -> None:
        """A collection or an alias was deleted."""
        self._known.pop((tenant, name), None)
