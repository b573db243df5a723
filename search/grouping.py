"""From rows to documents: over-fetch rows until enough documents are certain, then describe each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


_Row: TypeAlias = tuple[float, int, int]
"""A row that was found: its score, and the segment and place there where it lies. A tuple, for there are many."""


@dataclass(slots=True)
class _Group:
    """A document with its rows that were found, best first."""

    document_id: str
    rows: list[_Row]

    @property
    def score(self) -> float:
        """Of the best row."""
        return self.rows[0][0]


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
            _cosine(group.score) if by_vector else group.score,
            [row for row in group.rows if row[0] >= ranking.cutoff],
            query,
            space,
            by_vector=by_vector,
            vector_score=_cosine(group.score) if by_vector else None,
            text_score=None if by_vector else group.score,
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
        rows = [] if near is None else [row for row in near.rows if row[0] >= by_vector.cutoff]
        if worded is not None:
            known = {row[1:] for row in rows}
            more = [row for row in worded.rows if row[0] >= by_text.cutoff]
            more = [row for row in more if row[1:] not in known]
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
                vector_score=None if near is None else _cosine(near.score),
                text_score=None if worded is None else worded.score,
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
        _, segment, place = row
        at = np.array([place], dtype=np.int64)
        score = float(snapshot.parts[segment].segment.spaces[space].scores(vector, at)[0])
        if math.isnan(score):
            without.append(row)
        else:
            rows = [*rows, (score, segment, place)]
    return [*sorted(rows, key=lambda row: _order(snapshot, row)), *without]


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
        if exhausted or (full and float(candidates.scores[-1]) < groups[wanted - 1].score):
            break
        count *= _FETCH_GROWTH
    cutoff = groups[wanted - 1].score if len(groups) >= wanted else -math.inf
    return _Ranking(groups[:wanted], len(groups) > wanted, cutoff)


def _grouped(snapshot: Snapshot, candidates: Candidates) -> list[_Group]:
    """Candidates by document: documents by falling best score, then id; rows by score, then ordinal."""
    scores = candidates.scores
    rows = list(zip(scores.tolist(), candidates.segments.tolist(), candidates.rows.tolist(), strict=True))
    if len(rows) > 1 and bool((scores[1:] == scores[:-1]).any()):
        rows.sort(key=lambda row: _order(snapshot, row))
    ids = [part.segment.columns.ids for part in snapshot.parts]
    groups: dict[str, _Group] = {}
    for row in rows:
        document_id = ids[row[1]][row[2]]
        group = groups.get(document_id)
        if group is None:
            groups[document_id] = _Group(document_id, [row])
        else:
            group.rows.append(row)
    return list(groups.values())


def _order(snapshot: Snapshot, row: _Row) -> tuple[float, str, int]:
    score, segment, place = row
    columns = snapshot.parts[segment].segment.columns
    return -score, columns.ids[place], int(columns.ordinals[place])


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
    _, number, place = rows[0]
    segment = snapshot.parts[number].segment
    columns = segment.columns
    parts = tuple([_part(snapshot, row, by_vector) for row in rows[:MAX_PARTS_PER_HIT]])
    return Hit(
        document_id,
        columns.modalities[columns.modality_codes.item(place)],
        score,
        columns.media_ids.get(place),
        parts[0].text,
        decoded_metadata(columns.metadata[place]),
        columns.created.item(place),
        parts,
        vector_score,
        text_score,
        segment.spaces[space].row_vector(place) if query.include_vectors else None,
    )


def _part(snapshot: Snapshot, row: _Row, by_vector: bool) -> PartHit:
    score, segment, place = row
    columns = snapshot.parts[segment].segment.columns
    start, end = columns.starts.item(place), columns.ends.item(place)
    return PartHit(
        columns.part_indexes.item(place),
        start if start == start else None,  # NaN, which stands for none, is not itself
        end if end == end else None,
        _cosine(score) if by_vector else score,
        columns.texts[place],
    )


def _cosine(score: float) -> float:
    """A float32 inner product of unit vectors can pass 1 by a few units in the last place."""
    if -1.0 <= score <= 1.0:
        return score
    return 1.0 if score > 0 else -1.0
