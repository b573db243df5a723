"""The settings of storage: which store, which caches, what is kept how long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from storage.config import S3Config, StorageConfig
from storage.types import Modality, TierPolicy

__all__ = ["S3Settings", "StorageSettings"]


class S3Settings(BaseModel):
    """A bucket in place of the data folder's store. What the fields mean stands in ``storage.config.S3Config``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: str = Field(min_length=3, max_length=63)
    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.=@+-]*/)*$")
    path_style: bool = True
    connect_timeout_seconds: float = Field(default=3.0, gt=0)
    read_timeout_seconds: float = Field(default=5.0, gt=0)
    max_attempts: int = Field(default=3, ge=1, le=10)

    @model_validator(mode="after")
    def _both_keys(self) -> S3Settings:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("give both access_key_id and secret_access_key, or neither")
        return self

    def config(self) -> S3Config:
        """The settings as storage takes them."""
        secret = self.secret_access_key
        fields = self.model_dump(exclude={"secret_access_key"})
        return S3Config(**fields, secret_access_key=None if secret is None else secret.get_secret_value())


class StorageSettings(BaseModel):
    """Where media are kept and what is cached. What the fields mean stands in ``storage.config``.

    ``ttl_seconds`` that are not given keep their defaults. ``cold_folder`` is for the local store: a folder on
    a cheaper disk that blobs move to after ``cold_after_days``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    s3: S3Settings | None = None
    redis_url: SecretStr | None = None
    redis_timeout_seconds: float = Field(default=0.1, gt=0, le=5)
    memory_cache_bytes: int = Field(default=64 << 20, ge=1 << 20)
    ttl_seconds: dict[Modality, float] = Field(default_factory=dict)
    grace_seconds: float = Field(default=24 * 3600.0, ge=3600)
    housekeeping_seconds: float = Field(default=3600.0, ge=60)
    inline_retention_seconds: int = Field(default=30 * 24 * 3600, ge=3600)
    response_retention_seconds: int = Field(default=30 * 24 * 3600, ge=3600)
    cold_folder: Path | None = None
    warm_after_days: int | None = Field(default=None, ge=1)
    cold_after_days: int | None = Field(default=None, ge=1)

    @field_validator("ttl_seconds")
    @classmethod
    def _positive(cls, given: dict[Modality, float]) -> dict[Modality, float]:
        if any(seconds <= 0 for seconds in given.values()):
            raise ValueError("times to live must be greater than 0")
        return given

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, given: SecretStr | None) -> SecretStr | None:
        address = urlsplit("redis://" if given is None else given.get_secret_value())
        if address.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis or Valkey address begins with redis://, rediss:// or unix://")
        address.port  # noqa: B018 - raises ValueError for one that is none
        return given

    def config(self, data_dir: Path) -> StorageConfig:
        """The settings as storage takes them; the local store and the spool lie below ``data_dir``."""
        config = StorageConfig(
            root=data_dir / "store",
            spool_folder=data_dir / "spool",
            s3=None if self.s3 is None else self.s3.config(),
            cold_root=None if self.cold_folder is None else self.cold_folder.expanduser().resolve(),
            tiers=TierPolicy(self.warm_after_days, self.cold_after_days),
            memory_cache_bytes=self.memory_cache_bytes,
            redis_url=None if self.redis_url is None else self.redis_url.get_secret_value(),
            redis_timeout_seconds=self.redis_timeout_seconds,
            grace_seconds=self.grace_seconds,
            housekeeping_seconds=self.housekeeping_seconds,
            inline_retention_seconds=self.inline_retention_seconds,
            response_retention_seconds=self.response_retention_seconds,
        )
        return replace(config, ttl_seconds={**config.ttl_seconds, **self.ttl_seconds})
