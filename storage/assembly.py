"""Everything storage offers, put together from its settings: what a gateway, a worker or a command needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from storage.artifacts import ArtifactStore
from storage.backends import open_object_store
from storage.cache import MemoryCache
from storage.config import StorageConfig
from storage.derived import DerivedCache
from storage.fingerprints import FingerprintIndex
from storage.garbage import GarbageCollector
from storage.links import LinkSigner
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.redis import RedisCache
from storage.uploads import UploadStore
from storage.vector_cache import VectorCache

__all__ = ["Storage", "assemble", "open_storage"]


@dataclass(frozen=True, slots=True)
class Storage:
    """The parts of storage over one object store. ``aclose`` it in the event loop that used it."""

    config: StorageConfig
    objects: ObjectStore
    media: MediaStore
    uploads: UploadStore
    fingerprints: FingerprintIndex
    garbage: GarbageCollector
    derived: DerivedCache
    vectors: VectorCache
    links: LinkSigner
    redis: RedisCache | None

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self.redis is not None:
            await self.redis.aclose()


def open_storage(config: StorageConfig, secret: bytes) -> Storage:
    """Open the configured store, check that it does what we need, and finish what a crash cut short.

    ``secret`` signs download links. Raises ``StoreUnavailable`` with what is missing. Redis is not asked: the
    platform starts and runs without it.
    """
    objects = open_object_store(config)
    objects.probe()
    config.spool_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    storage = assemble(config, objects, secret)
    storage.garbage.recover()
    return storage


def assemble(
    config: StorageConfig, objects: ObjectStore, secret: bytes, clock: Callable[[], float] = time.time
) -> Storage:
    """The parts over an object store that is open already. ``clock`` gives seconds since the epoch."""
    media = MediaStore(objects, config.spool_folder, clock, config.grace_seconds)
    uploads = UploadStore(objects, media, clock)
    redis = None if config.redis_url is None else RedisCache(config.redis_url, config.redis_timeout_seconds)
    memory = MemoryCache(config.memory_cache_bytes)
    return Storage(
        config=config,
        objects=objects,
        media=media,
        uploads=uploads,
        fingerprints=FingerprintIndex(objects),
        garbage=GarbageCollector(objects, media, uploads, clock, config.grace_seconds),
        derived=DerivedCache(memory, ArtifactStore(objects), redis, config.ttl_seconds),
        vectors=VectorCache(memory, redis, config.ttl_seconds),
        links=LinkSigner(secret, clock),
        redis=redis,
    )
