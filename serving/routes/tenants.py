"""``/v1/tenants``, ours: a tenant's settings, for the operator, and the removal of a tenant's data."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from serving.auth import CurrentCaller
from serving.errors import PermissionDenied
from serving.gateway import gateway_of
from serving.protocol.tenants import (
    Tenant,
    TenantDataDeleted,
    TenantRequest,
    removed_object,
    tenant_object,
    tenant_settings,
)
from serving.routes.body import json_schema, read_model
from storage.keys import check_tenant

__all__ = ["router"]

router = APIRouter()


@router.get("/v1/tenants/{tenant}")
async def get_tenant(request: Request, tenant: str) -> Tenant:
    """What holds for a tenant; the defaults, also of one that nobody has heard of."""
    gateway = gateway_of(request)
    own = await asyncio.to_thread(gateway.tenant_store.get, tenant)
    return tenant_object(tenant, own or gateway.config.tenant_defaults, is_default=own is None)


@router.put("/v1/tenants/{tenant}", openapi_extra=json_schema(TenantRequest))
async def set_tenant(request: Request, tenant: str) -> Tenant:
    """Set all that holds for a tenant. Gateways follow within seconds."""
    gateway = gateway_of(request)
    check_tenant(tenant)
    settings = tenant_settings(await read_model(request, TenantRequest))
    await asyncio.to_thread(gateway.tenant_store.put, tenant, settings)
    return tenant_object(tenant, settings, is_default=False)


@router.delete("/v1/tenants/{tenant}/data")
async def delete_tenant_data(request: Request, tenant: str, caller: CurrentCaller) -> TenantDataDeleted:
    """Remove all that is kept of a tenant: with an admin's key, or with a key of that tenant. May be repeated."""
    if "admin" not in caller.scopes and caller.tenant != tenant:
        raise PermissionDenied(
            "Only a key of this tenant, or one with the scope 'admin', may remove its data."
        )
    check_tenant(tenant)
    return removed_object(tenant, await gateway_of(request).tenant_data.remove(tenant))
