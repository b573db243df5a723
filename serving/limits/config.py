"""What a tenant may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TenantLimits"]


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Limits of one tenant over all gateways; ``None`` is none. What "per minute" counts is a sliding minute.

    ``tokens_per_minute`` counts prompt and answer, ``pixels_per_minute`` what is decoded of pictures and frames,
    ``media_seconds_per_minute`` what is decoded of sound and video: what lies in a cache is free.
    ``concurrent_requests`` are answers under way, streamed or not.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    pixels_per_minute: int | None = None
    media_seconds_per_minute: int | None = None
    stored_bytes: int | None = None
    concurrent_requests: int | None = None
    collections: int | None = None
