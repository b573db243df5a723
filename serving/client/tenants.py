"""``/v1/tenants``: for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.client.answers import RemovedData, Tenant
from serving.client.calls import AsyncResource, SyncResource, call
from serving.client.requests import Request

__all__ = ["AsyncTenants", "Tenants"]


class TenantCalls:
    """What holds for tenants. Keys need the scope ``admin``."""

    @call(Tenant, "GET /tenants/{tenant}")
    def get(self, tenant: str) -> Request:
        """Its settings."""
        return Request({"tenant": tenant})

    @call(Tenant, "PUT /tenants/{tenant}")
    def put(
        self,
        tenant: str,
        *,
        limits: Mapping[str, int] | None = None,
        moderation: Mapping[str, Any] | None = None,
    ) -> Request:
        """Set all of them: what is left out is no limit, and no moderation."""
        return Request({"tenant": tenant}, body={"limits": limits, "moderation": moderation})

    @call(RemovedData, "DELETE /tenants/{tenant}/data")
    def delete_data(self, tenant: str) -> Request:
        """Remove all that is kept of it; with a key of that tenant, too. May be repeated."""
        return Request({"tenant": tenant})


class Tenants(TenantCalls, SyncResource):
    """``client.tenants``."""


class AsyncTenants(TenantCalls, AsyncResource):
    """``client.tenants``, to be awaited."""
