"""Rows that were found, told as the hits of an answer. An answer may have a hundred, so each takes microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from search.metadata import decoded_metadata
from search.row_columns import RowColumns
from search.types import Hit, PartHit, Vector

__all__ = ["MAX_PARTS_PER_HIT", "FoundRow", "as_cosine", "described"]

MAX_PARTS_PER_HIT = 16

FoundRow: TypeAlias = tuple[float, int, int]
"""A row that was found: its score, and the segment and place there where it lies. A tuple, for there are many."""


def described(
    columns: Sequence[RowColumns],
    rows: Sequence[FoundRow],
    score: float,
    *,
    by_vector: bool,
    vector_score: float | None,
    text_score: float | None,
    vector: Vector | None,
) -> Hit:
    """A document by its rows that were found, best first, of which 16 are told. ``columns`` are those of each
    segment. Rows' scores are cosine similarities if they were found ``by_vector``.
    """
    parts = []
    for row_score, segment, place in rows[:MAX_PARTS_PER_HIT]:
        here = columns[segment]
        numbers = here.numbers
        start, end = numbers.starts[place], numbers.ends[place]
        parts.append(
            PartHit(
                numbers.part_indexes[place],
                start if start == start else None,  # NaN, which stands for none, is not itself
                end if end == end else None,
                as_cosine(row_score) if by_vector else row_score,
                here.texts[place],
            )
        )
    _, segment, place = rows[0]
    best = columns[segment]
    return Hit(
        best.ids[place],
        best.modalities[best.numbers.modality_codes[place]],
        score,
        best.media_ids.get(place),
        parts[0].text,
        decoded_metadata(best.metadata.encoded(place)),
        best.numbers.created[place],
        tuple(parts),
        vector_score,
        text_score,
        vector,
    )


def as_cosine(score: float) -> float:
    """A float32 inner product of unit vectors can pass 1 by a few units in the last place."""
    if -1.0 <= score <= 1.0:
        return score
    return 1.0 if score > 0 else -1.0
