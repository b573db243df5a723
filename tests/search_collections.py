"""Collections for tests: random documents, queries and conditions, and readers of a table without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.collection import Collection
from search.config import SearchConfig
from search.filters import AllOf, AnyOf, Condition, Equals, Exists, In, Not, Range
from search.location import SearchLocation
from search.rows import rows_table
from search.table import RowTable, new_session
from search.types import CollectionSpec, IndexSpec, Query, Row, SpaceSpec, Vector
from storage.config import S3Config

__all__ = ["DIMENSIONS", "OpenTable", "open_table", "random_condition", "random_document", "random_query"]

DIMENSIONS = 16
MODALITIES = ("image", "video", "audio", "text")
BIG = 1 << 53
VALUES: tuple[Any, ...] = (
    *(
        "u1",
        "u'2",
        "",
        "Zoë",
        "\N{GRINNING FACE}",
        "u10",
        3,
        3.5,
        0,
        -1.25,
        True,
        False,
        None,
        ["a", 1],
        {"k": "v"},
    ),
    *(BIG, BIG + 1, -BIG - 1, float(BIG), (1 << 63) + 5, 10**25, 1e300),
)
SCALARS = tuple(value for value in VALUES if isinstance(value, str | int | float))


@dataclass(frozen=True)
class OpenTable:
    """A table and what its readers are made with."""

    table: RowTable
    settings: SearchConfig
    location: SearchLocation

    def reader(self, cache_folder: Path | None = None) -> Collection:
        """A reader that knows nothing yet, as after a cold start."""
        folder = self.location.cache_folder if cache_folder is None else cache_folder
        return Collection(self.table, self.settings, self.location.records, folder)

    def add(self, rows: Sequence[Row], now: float = 0.0) -> int:
        """Put documents into the table."""
        table = rows_table("t", rows, self.table.spec, now)
        return self.table.replace(table, sorted({row.document_id for row in rows}))


def open_table(
    root: Path,
    index: IndexSpec | None = None,
    further: tuple[SpaceSpec, ...] = (),
    flat_rows: int = 100_000,
    dimensions: int = DIMENSIONS,
    s3: S3Config | None = None,
    **settings: Any,
) -> OpenTable:
    """The collection ``c`` of tenant ``t`` below ``root`` or on S3, made if there is none."""
    config = SearchConfig(root, dimensions=dimensions, flat_rows=flat_rows, s3=s3, **settings)
    spec = CollectionSpec((SpaceSpec("default", dimensions), *further), index or IndexSpec())
    location = SearchLocation(config)
    return OpenTable(RowTable.create(location.table("t", "c"), spec, new_session()), config, location)


def random_document(
    chance: np.random.Generator, document_id: str, centres: Vector | None = None
) -> list[Row]:
    """A document of one part or of many, with metadata of all kinds; around one of ``centres`` if given."""
    modality = MODALITIES[chance.integers(4)]
    metadata: dict[str, Any] = {}
    if chance.random() < 0.9:
        metadata["user_id"] = VALUES[chance.integers(len(VALUES))]
    if chance.random() < 0.5:
        metadata["größe 'x'"] = int(chance.integers(5))
    metadata["share"] = float(chance.random())
    centre = np.zeros(DIMENSIONS) if centres is None else 2.0 * centres[chance.integers(len(centres))]
    scale = 10 ** chance.uniform(-3, 3)
    return [
        Row(
            document_id,
            modality,
            ((centre + chance.standard_normal(DIMENSIONS)) * scale).astype(np.float32),
            part_index=part * 3,
            start_seconds=part * 0.5 if modality in ("video", "audio") else None,
            end_seconds=part * 0.5 + 0.5 if modality == "audio" else None,
            text=f"{document_id} part {part} \N{GRINNING FACE}",
            media_id=f"media-{document_id}" if modality != "text" else None,
            metadata=metadata,
        )
        for part in range(int(chance.integers(1, 22)) if modality in ("video", "audio") else 1)
    ]


def random_condition(chance: np.random.Generator, depth: int = 3) -> Condition:
    """Of any kind, nested at most ``depth`` levels."""
    kind = chance.integers(7 if depth > 1 else 4)
    name = ("user_id", "größe 'x'", "share", "nowhere")[chance.choice(4, p=[0.5, 0.2, 0.25, 0.05])]
    match kind:
        case 0:
            return Equals(name, _scalar(chance))
        case 1:
            return In(name, tuple(_scalar(chance) for _ in range(chance.integers(4))))
        case 2:
            return _random_range(chance, name)
        case 3:
            return Exists(name, bool(chance.random() < 0.7))
        case 4:
            return Not(random_condition(chance, depth - 1))
        case _:
            inner = tuple(random_condition(chance, depth - 1) for _ in range(chance.integers(1, 4)))
            return AllOf(inner) if kind == 5 else AnyOf(inner)


def random_query(chance: np.random.Generator, now: float, ids: Sequence[str]) -> Query:
    """With any of the conditions that a query may have."""

    def maybe(probability: float, value: Any) -> Any:
        return value if chance.random() < probability else None

    return Query(
        chance.standard_normal(DIMENSIONS).astype(np.float32),
        top_k=int(chance.choice([1, 2, 5, 10, 50, 1000])),
        offset=int(maybe(0.2, chance.integers(30)) or 0),
        modalities=tuple(m for m in MODALITIES if chance.random() < 0.5) if chance.random() < 0.3 else (),
        where=maybe(0.5, random_condition(chance)),
        created_after_seconds=maybe(0.2, float(chance.integers(0, int(now) + 2))),
        created_before_seconds=maybe(0.2, float(chance.integers(0, int(now) + 2))),
        score_threshold=maybe(0.2, float(chance.uniform(-0.2, 0.8))),
        score_thresholds=maybe(0.2, {MODALITIES[chance.integers(4)]: float(chance.uniform(-0.2, 0.8))}) or {},
        excluded_documents=tuple(chance.choice(ids, 3)) if ids and chance.random() < 0.2 else (),
        include_vectors=bool(chance.random() < 0.2),
    )


def _scalar(chance: np.random.Generator) -> Any:
    if chance.random() < 0.3:
        return int(chance.integers(5))
    return SCALARS[chance.integers(len(SCALARS))]


def _random_range(chance: np.random.Generator, name: str) -> Range:
    texts = chance.random() < 0.3
    bounds: dict[str, Any] = {}
    for side in ("at_least", "above", "at_most", "below"):
        if chance.random() < 0.35:
            pool = [v for v in SCALARS if isinstance(v, str) == texts and not isinstance(v, bool)]
            bounds[side] = pool[chance.integers(len(pool))]
            if name == "share" and not texts:
                bounds[side] = float(chance.random())
    return Range(name, **bounds)
