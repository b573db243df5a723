"""From rows to documents: over-fetch rows until ``top_k`` documents are certain, then describe each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from search.snapshot import Candidate, Snapshot
from search.types import Hit, PartHit, Query, Vector

__all__ = ["MAX_PARTS_PER_HIT", "top_documents"]

MAX_PARTS_PER_HIT = 16
_FIRST_FETCH_PER_HIT = 4
_FETCH_GROWTH = 4
_KEYS = ("document_id", "ordinal")
_COLUMNS = (
    "part_index",
    "start_seconds",
    "end_seconds",
    "modality",
    "media_id",
    "text",
    "metadata",
    "created_at_seconds",
)


@dataclass(slots=True)
class _Group:
    document_id: str
    parts: list[Candidate] = field(default_factory=list)


def top_documents(snapshot: Snapshot, vector: Vector, query: Query, threads: int) -> tuple[Hit, ...]:
    """The ``query.top_k`` best documents of a snapshot, best first, ties in order of document id.

    A document scores as its best part. Its ``parts`` are those that score at least as high as the last
    document in the answer does (they would have earned a place by themselves), best first, at most 16. The
    answer depends only on the live rows, not on how they are spread over segments.
    """
    masks = snapshot.matching(query)
    available = sum(int(mask.sum()) for mask in masks)
    count = query.top_k * _FIRST_FETCH_PER_HIT
    while True:
        candidates = snapshot.search(vector, count, masks, threads)
        exhausted = count >= available
        if query.score_threshold is not None:
            above = [candidate for candidate in candidates if candidate.score >= query.score_threshold]
            exhausted = exhausted or len(above) < len(candidates)
            candidates = above
        groups = _grouped(snapshot, candidates)
        full = len(groups) >= query.top_k
        # Rows may tie with the last document: it is certain only once a lower score was seen.
        if exhausted or (full and candidates[-1].score < groups[query.top_k - 1].parts[0].score):
            break
        count *= _FETCH_GROWTH
    groups = groups[: query.top_k]
    if not groups:
        return ()
    cutoff = groups[-1].parts[0].score if full else float("-inf")
    kept = [[part for part in group.parts if part.score >= cutoff][:MAX_PARTS_PER_HIT] for group in groups]
    rows = iter(snapshot.rows([part for parts in kept for part in parts], _COLUMNS))
    return tuple(
        _hit(group.document_id, parts, [next(rows) for _ in parts])
        for group, parts in zip(groups, kept, strict=True)
    )


def _grouped(snapshot: Snapshot, candidates: list[Candidate]) -> list[_Group]:
    """Candidates by document: documents by falling best score, then id; parts by score, then ordinal."""
    keys = snapshot.rows(candidates, _KEYS)
    ranked = sorted(
        zip(candidates, keys, strict=True),
        key=lambda pair: (-pair[0].score, pair[1]["document_id"], pair[1]["ordinal"]),
    )
    groups: dict[str, _Group] = {}
    for candidate, key in ranked:
        document_id = key["document_id"]
        groups.setdefault(document_id, _Group(document_id)).parts.append(candidate)
    return list(groups.values())


def _hit(document_id: str, parts: list[Candidate], rows: list[dict[str, Any]]) -> Hit:
    best = rows[0]
    return Hit(
        document_id=document_id,
        modality=best["modality"],
        score=_cosine(parts[0].score),
        media_id=best["media_id"],
        text=best["text"],
        metadata=json.loads(best["metadata"]),
        created_at_seconds=best["created_at_seconds"],
        parts=tuple(
            PartHit(
                part_index=row["part_index"],
                start_seconds=row["start_seconds"],
                end_seconds=row["end_seconds"],
                score=_cosine(part.score),
                text=row["text"],
            )
            for part, row in zip(parts, rows, strict=True)
        ),
    )


def _cosine(score: float) -> float:
    """A float32 inner product of unit vectors can pass 1 by a few units in the last place."""
    return max(-1.0, min(1.0, score))
