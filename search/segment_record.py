"""What a manifest says of a saved segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.index.effort import Effort
from search.index.plan import IndexPlan

__all__ = ["SavedFile", "SavedSpace", "SegmentRecord"]


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file by the SHA-256 of its bytes, in hex."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SavedSpace:
    """A space's full vectors (``rows`` of them) and the index over them; no index where few rows have one."""

    rows: int
    vectors: SavedFile
    index: SavedFile | None
    plan: IndexPlan | None
    effort: Effort | None


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A saved segment: how many rows, of which fragments (and how many of each one's rows were deleted then)."""

    rows: int
    fragments: Mapping[int, int]
    columns: SavedFile
    spaces: Mapping[str, SavedSpace]

    def files(self) -> tuple[SavedFile, ...]:
        """All that it is made of."""
        found = [self.columns]
        for space in self.spaces.values():
            found += [space.vectors] if space.index is None else [space.vectors, space.index]
        return tuple(found)
