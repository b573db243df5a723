"""Settings of search, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from search.types import DEFAULT_SPACE, CollectionSpec, IndexSpec, SpaceSpec
from storage.config import S3Config

__all__ = ["SearchConfig"]


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Where collections lie, what those are made with that nobody described, and when indexes change their kind.

    ``root`` holds the Lance tables (``<tenant>/<collection>.lance``), aliases and saved segments, unless ``s3`` is
    given: then they lie in that bucket, below its prefix, and ``root`` keeps only this machine's copies of
    segments, which may be deleted at any time. ``dimensions`` and ``model`` are of the default space.

    Below ``flat_rows`` vectors are scanned exactly, from ``pq_rows`` on ``auto`` indexes are product-quantised.
    """

    root: Path
    dimensions: int = 384
    threads: int = 2
    s3: S3Config | None = None
    model: str = ""
    index: IndexSpec = field(default_factory=IndexSpec)
    flat_rows: int = 100_000
    pq_rows: int = 10_000_000

    def default_spec(self) -> CollectionSpec:
        """Of a collection that is made by the first thing added to it."""
        return CollectionSpec((SpaceSpec(DEFAULT_SPACE, self.dimensions, self.model),), self.index)
