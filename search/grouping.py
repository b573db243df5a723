"""From rows to documents: rows are over-fetched until enough documents are certain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from search.hits import FoundRow, as_cosine, described
from search.rank_fusion import fused, fusion_depth
from search.row_columns import RowColumns
from search.snapshot import Candidates, Masks, Snapshot
from search.types import Query, SearchAnswer, Vector

__all__ = ["answered"]

_SPARE_ROWS = 4
_FETCH_GROWTH = 4

_Fetch: TypeAlias = Callable[[int], tuple[Candidates, bool]]
"""The best so many rows, and whether there are no more."""


_Group: TypeAlias = list[FoundRow]
"""A document: its rows that were found, best first."""


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Documents, best first, and whether there are more. All rows are there that score ``cutoff`` or better."""

    groups: list[_Group]
    has_more: bool
    cutoff: float


def answered(snapshot: Snapshot, vector: Vector | None, query: Query, space: str) -> SearchAnswer:
    """The documents of a snapshot from place ``query.offset`` on, best first, ties in order of document id.

    A document scores as its best row. Its ``parts`` are the rows that score at least as high as the last document
    in the answer does (they would have earned a place by themselves), best first, at most 16. The answer depends
    only on the live rows, not on how they are spread over segments.

    In a hybrid answer ``parts`` are the rows by which the document was found in either ranking, scored by cosine
    similarity where they have a vector.
    """
    masks = snapshot.matching(query)
    wanted = query.offset + query.top_k
    if vector is not None and query.text is not None:
        return _hybrid(snapshot, vector, query.text, query, space, masks)
    if vector is not None:
        ranking = _by_vector(snapshot, vector, query, space, masks, wanted)
    else:
        ranking = _by_text(snapshot, query.text or "", masks, wanted)
    by_vector = vector is not None
    columns, cutoff = snapshot.columns, ranking.cutoff
    hits = []
    for group in ranking.groups[query.offset :]:
        best = group[0]
        score = as_cosine(best[0]) if by_vector else best[0]
        hits.append(
            described(
                columns,
                group if group[-1][0] >= cutoff else [row for row in group if row[0] >= cutoff],
                score,
                by_vector=by_vector,
                vector_score=score if by_vector else None,
                text_score=None if by_vector else score,
                vector=_asked_vector(snapshot, best, query, space),
            )
        )
    return SearchAnswer(tuple(hits), "cosine" if by_vector else "bm25", snapshot.version, ranking.has_more)


def _hybrid(
    snapshot: Snapshot, vector: Vector, text: str, query: Query, space: str, masks: Masks
) -> SearchAnswer:
    wanted = query.offset + query.top_k
    depth = fusion_depth(wanted)
    by_vector = _by_vector(snapshot, vector, query, space, masks, depth)
    by_text = _by_text(snapshot, text, masks, depth)
    columns, fusion = snapshot.columns, query.fusion
    vectors = {_document_id(columns, group[0]): group for group in by_vector.groups}
    texts = {_document_id(columns, group[0]): group for group in by_text.groups}
    rankings = [(list(vectors), fusion.vector_weight), (list(texts), fusion.text_weight)]
    order = fused(rankings, fusion.constant)
    hits = []
    for document_id, score in order[query.offset : wanted]:
        near, worded = vectors.get(document_id), texts.get(document_id)
        rows = [] if near is None else [row for row in near if row[0] >= by_vector.cutoff]
        if worded is not None:
            known = {row[1:] for row in rows}
            more = [row for row in worded if row[0] >= by_text.cutoff]
            more = [row for row in more if row[1:] not in known]
            rows = _by_similarity(snapshot, vector, space, rows, more)
        hits.append(
            described(
                columns,
                rows,
                score,
                by_vector=True,
                vector_score=None if near is None else as_cosine(near[0][0]),
                text_score=None if worded is None else worded[0][0],
                vector=_asked_vector(snapshot, rows[0], query, space),
            )
        )
    has_more = len(order) > wanted or by_vector.has_more or by_text.has_more
    return SearchAnswer(tuple(hits), "reciprocal_rank", snapshot.version, has_more)


def _by_similarity(
    snapshot: Snapshot, vector: Vector, space: str, rows: list[FoundRow], more: Sequence[FoundRow]
) -> list[FoundRow]:
    """``rows`` and ``more`` by cosine similarity; those of ``more`` without a vector stay last, as they were."""
    without = []
    for row in more:
        _, segment, place = row
        at = np.array([place], dtype=np.int64)
        score = float(snapshot.parts[segment].segment.spaces[space].scores(vector, at)[0])
        if math.isnan(score):
            without.append(row)
        else:
            rows = [*rows, (score, segment, place)]
    return [*sorted(rows, key=lambda row: _order(snapshot.columns, row)), *without]


def _by_vector(
    snapshot: Snapshot, vector: Vector, query: Query, space: str, masks: Masks, wanted: int
) -> _Ranking:
    thresholds = query.score_thresholds
    general = -math.inf if query.score_threshold is None else query.score_threshold

    def fetch(count: int) -> tuple[Candidates, bool]:
        found = snapshot.nearest(vector, space, count, masks, query.exact)
        exhausted = len(found) < count
        if not thresholds and query.score_threshold is None:
            return found, exhausted
        lowest = min([general, *thresholds.values()])
        exhausted = exhausted or (len(found) > 0 and float(found.scores[-1]) < lowest)
        limits = [
            np.array([thresholds.get(modality, general) for modality in segment.columns.modalities])
            for segment in snapshot.segments
        ]
        limit = np.empty(len(found))
        for number, segment in enumerate(snapshot.segments):
            here = found.segments == number
            limit[here] = limits[number][segment.columns.modality_codes[found.rows[here]]]
        return found.kept(found.scores >= limit), exhausted

    return _ranked(snapshot, fetch, wanted)


def _by_text(snapshot: Snapshot, text: str, masks: Masks, wanted: int) -> _Ranking:
    return _ranked(snapshot, lambda count: snapshot.with_words(text, count, masks), wanted)


def _ranked(snapshot: Snapshot, fetch: _Fetch, wanted: int) -> _Ranking:
    """The ``wanted`` best documents, certain ones."""
    count = math.ceil((wanted + 1) * snapshot.parts_per_document) + _SPARE_ROWS
    while True:
        candidates, exhausted = fetch(count)
        groups = _grouped(snapshot, candidates)
        # Rows may tie with the last document: it is certain only once a lower score was seen.
        full = len(groups) > wanted
        if exhausted or (full and float(candidates.scores[-1]) < groups[wanted - 1][0][0]):
            break
        count *= _FETCH_GROWTH
    cutoff = groups[wanted - 1][0][0] if len(groups) >= wanted else -math.inf
    return _Ranking(groups[:wanted], len(groups) > wanted, cutoff)


def _grouped(snapshot: Snapshot, candidates: Candidates) -> list[_Group]:
    """Candidates by document: documents by falling best score, then id; rows by score, then ordinal."""
    scores = candidates.scores.tolist()
    rows = list(zip(scores, candidates.segments.tolist(), candidates.rows.tolist(), strict=True))
    ties = len(set(scores)) < len(scores)
    columns = snapshot.columns
    groups: dict[int | str, _Group] = {}
    if len(columns) == 1:  # where rows lie in order of id and ordinal
        if ties:
            rows.sort(key=lambda row: (-row[0], row[2]))
        numbers = columns[0].numbers.document_numbers
        for row in rows:
            groups.setdefault(numbers[row[2]], []).append(row)
    else:
        if ties:
            rows.sort(key=lambda row: _order(columns, row))
        for row in rows:
            groups.setdefault(_document_id(columns, row), []).append(row)
    return list(groups.values())


def _document_id(columns: Sequence[RowColumns], row: FoundRow) -> str:
    return columns[row[1]].ids[row[2]]


def _order(columns: Sequence[RowColumns], row: FoundRow) -> tuple[float, str, int]:
    score, segment, place = row
    here = columns[segment]
    return -score, here.ids[place], int(here.ordinals[place])


def _asked_vector(snapshot: Snapshot, row: FoundRow, query: Query, space: str) -> Vector | None:
    if not query.include_vectors:
        return None
    return snapshot.parts[row[1]].segment.spaces[space].row_vector(row[2])
