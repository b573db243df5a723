"""Settings of storage, built once in ``deploy`` and passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.types import Modality, TierPolicy

__all__ = ["S3Config", "StorageConfig", "default_ttl_seconds"]

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class S3Config:
    """A bucket of any server that speaks S3 and has conditional writes.

    ``endpoint_url`` ``None`` is AWS; without keys boto3's own chain of credentials is asked (environment,
    profile, instance role). ``public_endpoint_url`` is what download links name when clients reach the server
    by another address than we do. ``prefix`` lets installations share a bucket.
    """

    bucket: str
    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    prefix: str = ""
    path_style: bool = True
    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 5.0
    max_attempts: int = 3


def default_ttl_seconds() -> Mapping[Modality, float]:
    """How long values of each modality are cached, unless told otherwise."""
    return {
        "image": _HOUR_SECONDS,
        "video": 2 * _HOUR_SECONDS,
        "audio": _HOUR_SECONDS,
        "text": _HOUR_SECONDS / 2,
    }


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where objects lie, where uploads wait until their hash is known, what is cached where and how long.

    ``root`` is the local store's folder, used unless ``s3`` is given; ``cold_root`` is where its cold blobs go
    (another disk). ``grace_seconds`` is how old garbage must be before it is collected; it must be longer than
    any upload takes. ``inline_retention_seconds`` is how long media that came inside another request are kept,
    ``response_retention_seconds`` how long stored responses are, and with them their media.
    """

    root: Path
    spool_folder: Path
    s3: S3Config | None = None
    cold_root: Path | None = None
    tiers: TierPolicy = field(default_factory=TierPolicy)
    memory_cache_bytes: int = 64 << 20
    redis_url: str | None = field(default=None, repr=False)
    redis_timeout_seconds: float = 0.1
    ttl_seconds: Mapping[Modality, float] = field(default_factory=default_ttl_seconds)
    grace_seconds: float = 24 * _HOUR_SECONDS
    housekeeping_seconds: float = _HOUR_SECONDS
    inline_retention_seconds: int = 30 * 24 * 3600
    response_retention_seconds: int = 30 * 24 * 3600
