"""What a manifest says of saved segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.index.effort import Effort
from search.index.plan import IndexPlan

__all__ = ["Origin", "SavedFile", "SavedSpace", "SegmentRecord"]


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file by the SHA-256 of its bytes, in hex."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SavedSpace:
    """A space's full vectors (``rows`` of them) and the index over them, if it has one (few rows are scanned)."""

    rows: int
    vectors: SavedFile
    plan: IndexPlan
    index: SavedFile | None = None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """A fragment's files by their names, which are never used again: its rows, and which are deleted if any."""

    data: str
    deletions: str


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A saved segment: how many rows, of which fragments (and how many of each one's rows were deleted then)."""

    rows: int
    fragments: Mapping[int, int]
    columns: SavedFile
    spaces: Mapping[str, SavedSpace]
    origins: Mapping[int, Origin]
    """Of ``fragments``."""

    def files(self) -> tuple[SavedFile, ...]:
        """All that it is made of."""
        found = [self.columns]
        for space in self.spaces.values():
            found += [space.vectors] if space.index is None else [space.vectors, space.index]
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        origins = {str(one): [origin.data, origin.deletions] for one, origin in self.origins.items()}
        fragments = {str(one): count for one, count in self.fragments.items()}
        return {**asdict(self), "fragments": fragments, "origins": origins}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SegmentRecord:
        """From a manifest; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        return cls(
            int(fields["rows"]),
            {int(one): int(count) for one, count in fields["fragments"].items()},
            _file(fields["columns"]),
            {name: _space(space) for name, space in fields["spaces"].items()},
            {int(one): Origin(str(data), str(gone)) for one, (data, gone) in fields["origins"].items()},
        )


def _space(fields: Mapping[str, Any]) -> SavedSpace:
    index, effort = fields["index"], fields["effort"]
    return SavedSpace(
        int(fields["rows"]),
        _file(fields["vectors"]),
        IndexPlan(**fields["plan"]),
        None if index is None else _file(index),
        None if effort is None else Effort.from_json(effort),
    )


def _file(fields: Mapping[str, Any]) -> SavedFile:
    sha256 = str(fields["sha256"])
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError("A saved file is named by its SHA-256.")
    return SavedFile(sha256, int(fields["size_bytes"]))
