"""Settings of storage, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["StorageConfig"]


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where objects lie, where uploads are spooled until their hash is known, how much is kept in memory."""

    root: Path
    spool_folder: Path
    memory_cache_bytes: int = 64 << 20
