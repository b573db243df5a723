"""Counting what became of items: how far, how fast, how long still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.ingest.items import Outcome

__all__ = ["IngestStatistics"]


@dataclass(slots=True)
class IngestStatistics:
    """Items that have ended, by how."""

    indexed: int = 0
    skipped: int = 0
    failed: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> IngestStatistics:
        """From ``counts()``."""
        return cls(counts["indexed"], counts["skipped"], counts["failed"])

    @property
    def processed(self) -> int:
        """All that have ended."""
        return self.indexed + self.skipped + self.failed

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Add these."""
        for one in outcomes:
            setattr(self, one.status, getattr(self, one.status) + 1)

    def counts(self) -> dict[str, int]:
        """By status."""
        return {"indexed": self.indexed, "skipped": self.skipped, "failed": self.failed}

    def final(self, seconds: float) -> dict[str, float | int]:
        """What a finished run reports. ``throughput`` is in items a second."""
        processed = self.processed
        return {
            "total_processed": processed,
            "successful": self.indexed,
            "failed": self.failed,
            "skipped": self.skipped,
            "total_duration_ms": round(seconds * 1000, 1),
            "avg_time_per_item_ms": round(seconds * 1000 / processed, 3) if processed else 0.0,
            "throughput": round(processed / seconds, 3) if seconds > 0 else 0.0,
        }
