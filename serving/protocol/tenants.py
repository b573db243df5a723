"""Wire schema of ``/v1/tenants``, ours: what holds for a tenant, and the removal of its data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from serving.limits.config import TenantLimits
from serving.moderation.policy import CATEGORIES, ModerationPolicy, Place
from serving.tenant_data import TenantDataRemoved
from serving.tenant_settings import TenantSettings

__all__ = [
    "Limits",
    "Moderation",
    "Tenant",
    "TenantDataDeleted",
    "TenantRequest",
    "removed_object",
    "tenant_object",
    "tenant_settings",
]

Limit: TypeAlias = Annotated[StrictInt, Field(ge=0, le=1 << 60)] | None
Threshold: TypeAlias = Annotated[float, Field(ge=0, le=1, strict=True)]


class Limits(BaseModel):
    """``serving.limits.config.TenantLimits``; ``null`` and left out: no limit."""

    model_config = ConfigDict(extra="forbid")
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    pixels_per_minute: Limit = None
    media_seconds_per_minute: Limit = None
    stored_bytes: Limit = None
    concurrent_requests: Limit = None
    collections: Limit = None


class Moderation(BaseModel):
    """``serving.moderation.policy.ModerationPolicy``."""

    model_config = ConfigDict(extra="forbid")
    places: Annotated[list[Place], Field(fail_fast=True)] = []
    threshold: Threshold = 0.5
    thresholds: dict[Literal[CATEGORIES], Threshold] = {}  # type: ignore[valid-type]  # a constant tuple, read by pydantic


class TenantRequest(BaseModel):
    """All settings of a tenant, in place of those it had."""

    model_config = ConfigDict(extra="forbid")
    limits: Limits = Limits()
    moderation: Moderation = Moderation()


class Tenant(BaseModel):
    """What holds for a tenant; ``is_default`` when it has no settings of its own."""

    id: str
    object: Literal["tenant"] = "tenant"
    is_default: bool
    limits: Limits
    moderation: Moderation


class TenantDataDeleted(BaseModel):
    """How much was removed. ``objects`` are all of the store; ``cached_in_redis`` is ``null`` where Redis did not
    answer.
    """

    id: str
    object: Literal["tenant.data.deleted"] = "tenant.data.deleted"
    deleted: Literal[True] = True
    collections: int
    ingest_jobs: int
    batches: int
    responses: int
    files: int
    uploads: int
    objects: int
    cached_in_memory: int
    cached_in_redis: int | None


def tenant_settings(wanted: TenantRequest) -> TenantSettings:
    """The settings that a request asks for."""
    moderation = wanted.moderation
    policy = ModerationPolicy(frozenset(moderation.places), moderation.threshold, dict(moderation.thresholds))
    return TenantSettings(TenantLimits(**wanted.limits.model_dump()), policy)


def tenant_object(tenant: str, settings: TenantSettings, *, is_default: bool) -> Tenant:
    """Settings as they are shown."""
    policy = settings.moderation
    return Tenant(
        id=tenant,
        is_default=is_default,
        limits=Limits(**asdict(settings.limits)),
        moderation=Moderation(
            places=sorted(policy.places), threshold=policy.threshold, thresholds=dict(policy.thresholds)
        ),
    )


def removed_object(tenant: str, removed: TenantDataRemoved) -> TenantDataDeleted:
    """What was removed, as it is shown."""
    return TenantDataDeleted(id=tenant, **asdict(removed))
