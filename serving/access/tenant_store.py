"""Settings of single tenants as records in the object store: ``access/tenants/<tenant>.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

from serving.limits.config import TenantLimits
from serving.moderation.policy import CATEGORIES, ModerationPolicy, Place
from serving.tenant_settings import TenantSettings
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound
from storage.keys import check_tenant
from storage.objects import ObjectStore

__all__ = ["TenantStore"]

_FOLDER = "access/tenants/"
_VERSION = 1
_LIMITS = tuple(field.name for field in fields(TenantLimits))
_MOST = 1 << 60


class TenantStore:
    """Settings over an ``ObjectStore``; everything blocks and raises ``StoreUnavailable``, and ``InvalidKey`` for a
    name that no tenant can have.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def get(self, tenant: str) -> TenantSettings | None:
        """A tenant's own settings, ``None`` when it has none. Raises ``CorruptObject`` for a damaged record."""
        key = _key(tenant)
        try:
            found = from_checked_json(key, self._objects.get(key))
        except ObjectNotFound:
            return None
        try:
            if found is None or found["version"] != _VERSION:
                raise ValueError
            return _settings(found)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptObject(
                "The stored settings of this tenant are damaged. Set them anew (`manymodal tenants set`)."
            ) from error

    def put(self, tenant: str, settings: TenantSettings) -> None:
        """Set a tenant's settings. Raises ``ValueError`` with a sentence for what cannot be."""
        limits, moderation = asdict(settings.limits), settings.moderation
        record = {
            "version": _VERSION,
            "limits": limits,
            "moderation": {
                "places": sorted(moderation.places),
                "threshold": moderation.threshold,
                "thresholds": dict(moderation.thresholds),
            },
        }
        _settings(record)
        key = _key(tenant)
        self._objects.put(key, to_checked_json(key, record))

    def delete(self, tenant: str) -> None:
        """Let the defaults hold again."""
        self._objects.delete(_key(tenant))

    def tenants(self) -> list[str]:
        """All tenants that have settings of their own."""
        names = (info.key.removeprefix(_FOLDER) for info in self._objects.list(_FOLDER))
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def _key(tenant: str) -> str:
    return f"{_FOLDER}{check_tenant(tenant)}.json"


def _settings(record: Mapping[str, Any]) -> TenantSettings:
    limits, moderation = record["limits"], record["moderation"]
    for name in limits:
        if name not in _LIMITS:
            raise ValueError(f"There is no limit {name}.")
        value = limits[name]
        if value is not None and (type(value) is not int or not 0 <= value <= _MOST):
            raise ValueError(f"The limit {name} must be a whole number from 0 on.")
    places = frozenset(moderation["places"])
    if not places <= frozenset(get_args(Place)):
        raise ValueError(f"Moderation has the places {', '.join(get_args(Place))}.")
    thresholds = {str(name): value for name, value in moderation["thresholds"].items()}
    for name in thresholds:
        if name not in CATEGORIES:
            raise ValueError(f"Moderation has no category '{name}'; it has {', '.join(CATEGORIES)}.")
    for value in (moderation["threshold"], *thresholds.values()):
        if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= 1):
            raise ValueError("A threshold of moderation lies between 0 and 1.")
    return TenantSettings(
        TenantLimits(**limits), ModerationPolicy(places, moderation["threshold"], thresholds)
    )
