"""Which object store the settings name."""

from __future__ import annotations

from storage.config import StorageConfig
from storage.local import LocalObjectStore
from storage.objects import ObjectStore

__all__ = ["open_object_store"]


def open_object_store(config: StorageConfig) -> ObjectStore:
    """The S3 store if one is configured, else the local one. Raises ``StoreUnavailable`` when it cannot be
    opened; call ``probe`` before trusting it.
    """
    if config.s3 is not None:
        from storage.s3.store import S3ObjectStore  # boto3 takes a third of a second to import

        return S3ObjectStore(config.s3)
    return LocalObjectStore(config.root, config.cold_root)
