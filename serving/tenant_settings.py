"""What holds for one tenant: its limits, and what it wants kept out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from serving.limits.config import TenantLimits
from serving.moderation.policy import ModerationPolicy

__all__ = ["SameForAll", "TenantDirectory", "TenantSettings"]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """The settings of one tenant."""

    limits: TenantLimits = field(default_factory=TenantLimits)
    moderation: ModerationPolicy = field(default_factory=ModerationPolicy)


class TenantDirectory(Protocol):
    """Where the settings of tenants are found."""

    async def settings(self, tenant: str) -> TenantSettings:
        """Those of ``tenant``, at most some seconds old; the defaults, where it has none of its own."""
        ...


class SameForAll:
    """The same settings for every tenant."""

    def __init__(self, settings: TenantSettings) -> None:
        self._settings = settings

    async def settings(self, tenant: str) -> TenantSettings:
        """Those of all."""
        return self._settings
