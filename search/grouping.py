"""From rows to documents: over-fetch rows until enough documents are certain, then describe each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from search.metadata import decoded_metadata
from search.rank_fusion import fused, fusion_depth
from search.snapshot import Candidates, Masks, Snapshot
from search.types import Hit, PartHit, Query, SearchAnswer, Vector

__all__ = ["MAX_PARTS_PER_HIT", "answered"]

MAX_PARTS_PER_HIT = 16
_SPARE_ROWS = 4
_FETCH_GROWTH = 4

_Fetch: TypeAlias = Callable[[int], tuple[Candidates, bool]]
"""The best so many rows, and whether there are no more."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that was found: its score and where it lies in the snapshot."""

    score: float
    segment: int
    row: int


@dataclass(slots=True)
class _Group:
    """A document with its rows that were found, best first."""

    document_id: str
    rows: list[_Row] = field(default_factory=list)


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
    hits = [
        _hit(
            snapshot,
            group.document_id,
            _cosine(group.rows[0].score) if by_vector else group.rows[0].score,
            [row for row in group.rows if row.score >= ranking.cutoff],
            query,
            space,
            by_vector=by_vector,
            vector_score=_cosine(group.rows[0].score) if by_vector else None,
            text_score=None if by_vector else group.rows[0].score,
        )
        for group in ranking.groups[query.offset :]
    ]
    return SearchAnswer(tuple(hits), "cosine" if by_vector else "bm25", snapshot.version, ranking.has_more)


def _hybrid(
    snapshot: Snapshot, vector: Vector, text: str, query: Query, space: str, masks: Masks
) -> SearchAnswer:
    wanted = query.offset + query.top_k
    depth = fusion_depth(wanted)
    by_vector = _by_vector(snapshot, vector, query, space, masks, depth)
    by_text = _by_text(snapshot, text, masks, depth)
    order = fused(
        [
            ([group.document_id for group in by_vector.groups], query.fusion.vector_weight),
            ([group.document_id for group in by_text.groups], query.fusion.text_weight),
        ],
        query.fusion.constant,
    )
    vectors = {group.document_id: group for group in by_vector.groups}
    texts = {group.document_id: group for group in by_text.groups}
    hits = []
    for document_id, score in order[query.offset : wanted]:
        near, worded = vectors.get(document_id), texts.get(document_id)
        rows = [] if near is None else [row for row in near.rows if row.score >= by_vector.cutoff]
        if worded is not None:
            known = {(row.segment, row.row) for row in rows}
            more = [row for row in worded.rows if row.score >= by_text.cutoff]
            more = [row for row in more if (row.segment, row.row) not in known]
            rows = _by_similarity(snapshot, vector, space, rows, more)
        hits.append(
            _hit(
                snapshot,
                document_id,
                score,
                rows,
                query,
                space,
                by_vector=True,
                vector_score=None if near is None else _cosine(near.rows[0].score),
                text_score=None if worded is None else worded.rows[0].score,
            )
        )
    has_more = len(order) > wanted or by_vector.has_more or by_text.has_more
    return SearchAnswer(tuple(hits), "reciprocal_rank", snapshot.version, has_more)


def _by_similarity(
    snapshot: Snapshot, vector: Vector, space: str, rows: list[_Row], more: Sequence[_Row]
) -> list[_Row]:
    """``rows`` and ``more`` by cosine similarity; those of ``more`` without a vector stay last, as they were."""
    without = []
    for row in more:
        at = np.array([row.row], dtype=np.int64)
        score = float(snapshot.parts[row.segment].segment.spaces[space].scores(vector, at)[0])
        if math.isnan(score):
            without.append(row)
        else:
            rows = [*rows, _Row(score, row.segment, row.row)]
    return [*sorted(rows, key=lambda row: (-row.score, *_place(snapshot, row))), *without]


def _by_vector(
    snapshot: Snapshot, vector: Vector, query: Query, space: str, masks: Masks, wanted: int
) -> _Ranking:
    thresholds = query.score_thresholds
    general = -math.inf if query.score_threshold is None else query.score_threshold
    lowest = min([general, *thresholds.values()])

    def fetch(count: int) -> tuple[Candidates, bool]:
        found = snapshot.nearest(vector, space, count, masks, query.exact)
        exhausted = len(found) < count
        if not thresholds and query.score_threshold is None:
            return found, exhausted
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
        if exhausted or (full and float(candidates.scores[-1]) < groups[wanted - 1].rows[0].score):
            break
        count *= _FETCH_GROWTH
    cutoff = groups[wanted - 1].rows[0].score if len(groups) >= wanted else -math.inf
    return _Ranking(groups[:wanted], len(groups) > wanted, cutoff)


def _grouped(snapshot: Snapshot, candidates: Candidates) -> list[_Group]:
    """Candidates by document: documents by falling best score, then id; rows by score, then ordinal."""
    scores = candidates.scores
    rows = list(map(_Row, scores.tolist(), candidates.segments.tolist(), candidates.rows.tolist()))
    if len(rows) > 1 and bool((scores[1:] == scores[:-1]).any()):
        rows.sort(key=lambda row: (-row.score, *_place(snapshot, row)))
    ids = [segment.columns.ids for segment in snapshot.segments]
    groups: dict[str, _Group] = {}
    for row in rows:
        document_id = ids[row.segment][row.row]
        group = groups.get(document_id)
        if group is None:
            group = groups[document_id] = _Group(document_id)
        group.rows.append(row)
    return list(groups.values())


def _place(snapshot: Snapshot, row: _Row) -> tuple[str, int]:
    columns = snapshot.parts[row.segment].segment.columns
    return columns.ids[row.row], int(columns.ordinals[row.row])


def _hit(
    snapshot: Snapshot,
    document_id: str,
    score: float,
    rows: Sequence[_Row],
    query: Query,
    space: str,
    *,
    by_vector: bool,
    vector_score: float | None,
    text_score: float | None,
) -> Hit:
    best = rows[0]
    segment = snapshot.parts[best.segment].segment
    columns = segment.columns
    parts = tuple(_part(snapshot, row, by_vector) for row in rows[:MAX_PARTS_PER_HIT])
    return Hit(
        document_id=document_id,
        modality=columns.modalities[columns.modality_codes[best.row]],
        score=score,
        media_id=columns.media_ids.get(best.row),
        text=parts[0].text,
        metadata=decoded_metadata(columns.metadata[best.row]),
        created_at_seconds=columns.created.item(best.row),
        parts=parts,
        vector_score=vector_score,
        text_score=text_score,
        vector=segment.spaces[space].row_vector(best.row) if query.include_vectors else None,
    )


def _part(snapshot: Snapshot, row: _Row, by_vector: bool) -> PartHit:
    columns = snapshot.parts[row.segment].segment.columns
    start, end = columns.starts.item(row.row), columns.ends.item(row.row)
    return PartHit(
        part_index=columns.part_indexes.item(row.row),
        start_seconds=None if math.isnan(start) else start,
        end_seconds=None if math.isnan(end) else end,
        score=_cosine(row.score) if by_vector else row.score,
        text=columns.texts[row.row],
    )


def _cosine(score: float) -> float:
    """A float32 inner product of unit vectors can pass 1 by a few units in the last place."""
    return max(-1.0, min(1.0, score))
