"""Search as it is meant, over plain dictionaries: every row is looked at, every score computed in float64.

Conditions mean what ``search/filters.py`` says. ``check_exact`` holds an answer to this, ``check_plausible`` one
that may be approximate, whose recall the caller adds up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.filters import AllOf, AnyOf, Condition, Equals, Exists, In, Not, Range
from search.hits import MAX_PARTS_PER_HIT
from search.types import PartHit, Query, Row, SearchAnswer, Vector

__all__ = [
    "ExactCollection",
    "FoundDocument",
    "FoundRow",
    "check_exact",
    "check_plausible",
    "matches",
    "reciprocal_ranks",
    "unit",
]

_TOLERANCE = 2e-6  # of float32 products against float64


@dataclass(frozen=True)
class FoundRow:
    score: float
    ordinal: int
    row: Row


@dataclass(frozen=True)
class FoundDocument:
    """A document with its matching rows, best first."""

    document_id: str
    rows: list[FoundRow]

    @property
    def score(self) -> float:
        return self.rows[0].score


class ExactCollection:
    """What a collection should answer."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[float, list[Row]]] = {}
        self._units: dict[str, dict[str, list[NDArray[np.float64] | None]]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self._documents.values())

    @property
    def ids(self) -> list[str]:
        return sorted(self._documents)

    def rows(self, document_id: str) -> list[Row]:
        return self._documents[document_id][1]

    def add(self, rows: Sequence[Row], now: float) -> None:
        for document_id in {row.document_id for row in rows}:
            mine = [row for row in rows if row.document_id == document_id]
            self._documents[document_id] = (now, mine)
            self._units[document_id] = {}

    def delete(self, document_id: str) -> None:
        self._documents.pop(document_id, None)

    def ranked(self, query: Query) -> list[FoundDocument]:
        """All matching documents by vector, best first, ties in order of id."""
        assert query.vector is not None
        direction = unit(query.vector)
        found = []
        for document_id, rows in self.matching(query).items():
            units = self._units_of(document_id, query.space)
            parts = []
            for ordinal, row in rows:
                vector = units[ordinal]
                if vector is None:
                    continue
                score = float(vector @ direction)
                threshold = query.score_thresholds.get(row.modality, query.score_threshold)
                if threshold is None or score >= threshold:
                    parts.append(FoundRow(score, ordinal, row))
            if parts:
                parts.sort(key=lambda part: (-part.score, part.ordinal))
                found.append(FoundDocument(document_id, parts))
        found.sort(key=lambda document: (-document.score, document.document_id))
        return found

    def matching(self, query: Query) -> dict[str, list[tuple[int, Row]]]:
        """Per document the rows that satisfy all conditions, thresholds aside."""
        found: dict[str, list[tuple[int, Row]]] = {}
        for document_id, (created, rows) in self._documents.items():
            if document_id in query.excluded_documents:
                continue
            if query.created_after_seconds is not None and created < query.created_after_seconds:
                continue
            if query.created_before_seconds is not None and created >= query.created_before_seconds:
                continue
            kept = [
                (ordinal, row)
                for ordinal, row in enumerate(rows)
                if (not query.modalities or row.modality in query.modalities)
                and (query.where is None or matches(query.where, row.metadata))
            ]
            if kept:
                found[document_id] = kept
        return found

    def _units_of(self, document_id: str, space: str) -> list[NDArray[np.float64] | None]:
        units = self._units[document_id]
        if space not in units:
            vectors = [
                row.vector if space == "default" else row.vectors.get(space) for row in self.rows(document_id)
            ]
            units[space] = [None if vector is None else unit(vector) for vector in vectors]
        return units[space]


def matches(condition: Condition, metadata: Mapping[str, Any]) -> bool:
    """Whether a row's metadata satisfy a condition."""
    match condition:
        case Equals(name, value):
            return _same(metadata.get(name), value)
        case In(name, values):
            return any(_same(metadata.get(name), value) for value in values)
        case Range(name):
            return _within(metadata.get(name), condition)
        case Exists(name, present):
            return (metadata.get(name) is not None) == present
        case AllOf(conditions):
            return all(matches(inner, metadata) for inner in conditions)
        case AnyOf(conditions):
            return any(matches(inner, metadata) for inner in conditions)
        case Not(inner):
            return not matches(inner, metadata)


def reciprocal_ranks(rankings: Sequence[tuple[Sequence[str], float]], constant: float) -> dict[str, float]:
    """Scores of ids by reciprocal rank fusion of rankings with weights."""
    return {
        one: sum(weight / (constant + ids.index(one) + 1) for ids, weight in rankings if one in ids)
        for ids, _ in rankings
        for one in ids
    }


def check_exact(answer: SearchAnswer, model: ExactCollection, query: Query) -> None:
    """The answer to a search by vector is that of the model, but for the last bits of float32."""
    best = model.ranked(query)
    page = best[query.offset : query.offset + query.top_k]
    assert answer.score_kind == "cosine"
    assert len(answer.hits) == len(page)
    assert answer.has_more == (len(best) > query.offset + query.top_k)
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, [document.score for document in page], atol=_TOLERANCE)
    wanted = query.offset + query.top_k
    cutoff = best[wanted - 1].score if len(best) >= wanted else -2.0
    _check_hits(answer, best, query)
    for hit in answer.hits:
        parts = next(one.rows for one in best if one.document_id == hit.document_id)
        certain = [part for part in parts if part.score >= cutoff + _TOLERANCE]
        assert min(len(certain), MAX_PARTS_PER_HIT) <= len(hit.parts) <= MAX_PARTS_PER_HIT
        assert all(part.score >= cutoff - _TOLERANCE for part in parts[: len(hit.parts)])
        _check_parts(hit.parts, parts)
        assert abs(hit.score - parts[0].score) < _TOLERANCE


def check_plausible(answer: SearchAnswer, model: ExactCollection, query: Query) -> tuple[int, int]:
    """Everything in the answer is true. Returns how many of its documents are among the true best, and how many
    those are.

    No answer is shorter than it need be, but for a threshold: then nothing comes in place of what was missed.
    """
    best = model.ranked(query)
    page = best[query.offset : query.offset + query.top_k]
    assert len(answer.hits) <= len(page)
    if query.score_threshold is None and not query.score_thresholds:
        assert len(answer.hits) == len(page)
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    _check_hits(answer, best, query)
    good = {document.document_id for document in page}
    if page:  # one as good as the last is as good an answer
        good |= {document.document_id for document in best if document.score >= page[-1].score - _TOLERANCE}
    return sum(hit.document_id in good for hit in answer.hits), len(page)


def unit(vector: Vector) -> NDArray[np.float64]:
    wide = vector.astype(np.float64)
    return wide / np.linalg.norm(wide)


def _check_hits(answer: SearchAnswer, best: Sequence[FoundDocument], query: Query) -> None:
    """Each hit is a matching document, said truly."""
    known = {document.document_id: document for document in best}
    assert len({hit.document_id for hit in answer.hits}) == len(answer.hits)
    for hit in answer.hits:
        rows = known[hit.document_id].rows
        nearest = min(rows, key=lambda found: abs(found.score - hit.score))
        assert abs(nearest.score - hit.score) < _TOLERANCE
        assert hit.vector_score == hit.score
        same = [found.row for found in rows if abs(found.score - hit.score) < _TOLERANCE]
        assert (hit.modality, hit.media_id, hit.text) in [(r.modality, r.media_id, r.text) for r in same]
        assert json.loads(json.dumps(dict(same[0].metadata))) == hit.metadata
        assert hit.parts[0].score == hit.score
        assert (hit.vector is not None) == query.include_vectors
        if hit.vector is not None and query.space == "default":
            assert any(np.allclose(hit.vector, unit(row.vector), atol=1e-6) for row in same)


def _check_parts(got: Sequence[PartHit], best: Sequence[FoundRow]) -> None:
    """``got`` are the first of a document's ``best`` rows, each with its own score, by score, then ordinal.

    Which of two rows comes first is open where their scores differ by less than float32 can tell.
    """
    by_part = {found.row.part_index: found for found in best}
    rows = [by_part[part.part_index] for part in got]
    assert len({found.ordinal for found in rows}) == len(rows)
    for part, found, in_its_place in zip(got, rows, best, strict=False):
        row = found.row
        assert (part.start_seconds, part.end_seconds, part.text) == (
            row.start_seconds,
            row.end_seconds,
            row.text,
        )
        assert abs(part.score - found.score) < _TOLERANCE
        assert abs(part.score - in_its_place.score) < _TOLERANCE
    order = [(-part.score, found.ordinal) for part, found in zip(got, rows, strict=True)]
    assert order == sorted(order)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return isinstance(one, str) and isinstance(other, str) and one == other


def _within(value: Any, bounds: Range) -> bool:
    if not isinstance(value, str) and not _is_number(value):
        return False
    given = [b for b in (bounds.at_least, bounds.above, bounds.at_most, bounds.below) if b is not None]
    if any(isinstance(bound, str) != isinstance(value, str) for bound in given):
        return False
    return (
        (bounds.at_least is None or value >= bounds.at_least)
        and (bounds.above is None or value > bounds.above)
        and (bounds.at_most is None or value <= bounds.at_most)
        and (bounds.below is None or value < bounds.below)
    )
