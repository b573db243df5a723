"""Where a job notes how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serving.ingest.items import Outcome

__all__ = ["Checkpoint"]


class Checkpoint(Protocol):
    """Told of items that have ended, durably, and of the last document of those all before have ended of."""

    async def __call__(self, outcomes: Sequence[Outcome], after: str | None = None) -> None:
        """Note it."""
        ...
