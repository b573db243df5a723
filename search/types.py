"""What search stores and answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hit", "PartHit", "Query", "Row", "Vector"]

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One searchable part of a document.

    A picture or a text is one row; a video is one row per sampled frame, audio one per transcript segment.
    ``part_index`` counts parts inside the document; ``start_seconds``/``end_seconds`` place the part in time.
    ``vector`` is float32 ``(dimensions,)`` with L2 norm 1.
    """

    document_id: str
    modality: str
    vector: Vector
    part_index: int = 0
    start_seconds: float | None = None
    end_seconds: float | None = None
    text: str = ""
    media_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """A vector query over one tenant's collection.

    ``filters`` maps metadata names to required values. The time of adding, in seconds since the epoch, lies in
    ``created_after_seconds <= time < created_before_seconds``. ``min_version`` gives read-your-writes: the
    answer has seen at least that table version, one that adding or deleting returned.
    """

    vector: Vector
    top_k: int = 10
    modalities: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)
    created_after_seconds: float | None = None
    created_before_seconds: float | None = None
    score_threshold: float | None = None
    min_version: int | None = None


@dataclass(frozen=True, slots=True)
class PartHit:
    """A part of a document that matched: a video frame or a stretch of speech."""

    part_index: int
    start_seconds: float | None
    end_seconds: float | None
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that matched, with its best score (cosine similarity) and its matching parts, best first."""

    document_id: str
    modality: str
    score: float
    media_id: str | None
    text: str
    metadata: Mapping[str, Any]
    created_at_seconds: float
    parts: tuple[PartHit, ...]
