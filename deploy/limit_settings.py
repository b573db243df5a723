"""The settings of what a tenant may use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.limits.config import TenantLimits

__all__ = ["TenantLimitSettings", "requests_at_once"]

_Amount = Annotated[int, Field(ge=1, le=1 << 50)]


class TenantLimitSettings(BaseModel):
    """What each tenant may use that has no limits of its own (``manymodal tenants set``); see ``TenantLimits``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: _Amount | None = None
    tokens_per_minute: _Amount | None = None
    pixels_per_minute: _Amount | None = None
    media_seconds_per_minute: _Amount | None = None
    stored_bytes: _Amount | None = None
    concurrent_requests: _Amount | None = None
    collections: _Amount | None = None

    def limits(self) -> TenantLimits:
        """The settings as the gateway takes them."""
        return TenantLimits(**self.model_dump())


def requests_at_once(max_ongoing_requests: int) -> int:
    """How many requests a gateway answers at once of those that Ray Serve lets in. The rest are refused by us, in
    JSON and at once; what is beyond, Ray would refuse in plain text.
    """
    return max(1, max_ongoing_requests - max(1, max_ongoing_requests // 16))
