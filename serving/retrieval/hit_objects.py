"""Hits, documents and clusters on the wire."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from search.types import Cluster, CollectionMap, Hit, PartHit, Row, ScoreKind, StoredDocument
from serving.document_rows import FRAMES_KEY, shown_metadata, written_text

__all__ = ["cluster_object", "document_object", "hit_object", "map_object", "score_object"]

_MEANINGS: Mapping[ScoreKind, str] = {
    "cosine": "Cosine similarity of the query and the document's best part, from -1 to 1.",
    "bm25": "BM25 of the query's words in the document's best part: 0 or more, comparable within one answer only.",
    "reciprocal_rank": (
        "Reciprocal rank fusion: the sum of weight / (rank_constant + rank) over the ranking by vectors and the "
        "one by words. It orders one answer; vector_score and text_score say how good a match is."
    ),
    "reranked": (
        "Late interaction: for each query item the cosine similarity of its best part, weighted mean, from -1 to 1."
    ),
}


def score_object(kind: ScoreKind) -> dict[str, str]:
    """What ``similarity_score`` is in this answer."""
    return {"kind": kind, "meaning": _MEANINGS[kind]}


def hit_object(hit: Hit, include: Collection[str], urls: Mapping[str, str]) -> dict[str, Any]:
    """A hit, with what was asked to be included; ``urls`` are links by the ids of media."""
    shown: dict[str, Any] = {"id": hit.document_id, "type": hit.modality}
    if "url" in include:
        shown["url"] = urls.get(hit.media_id) if hit.media_id else None
    shown |= {"media_id": hit.media_id, "similarity_score": hit.score}
    if hit.vector_score is not None and hit.vector_score != hit.score:
        shown["vector_score"] = hit.vector_score
    if hit.text_score is not None and hit.text_score != hit.score:
        shown["text_score"] = hit.text_score
    if "metadata" in include:
        shown["metadata"] = shown_metadata(hit.metadata)
    if "text" in include and (text := _own_text(hit.modality, hit.text, hit.metadata)) is not None:
        shown["text"] = text
    # The first parts of a video are its frames, the others what is said in it.
    count = _frame_count(hit.metadata)
    if hit.modality == "video":
        matched = sorted(
            (part for part in hit.parts if part.part_index < count), key=lambda part: part.part_index
        )
        shown["matched_frames"] = [part.part_index for part in matched]
        shown["matched_frame_times"] = [part.start_seconds for part in matched]
    if hit.modality in ("video", "audio"):
        shown["matched_segments"] = _segments(
            part for part in hit.parts if part.part_index >= count and part.start_seconds is not None
        )
    if "matches" in include:
        shown["matches"] = [
            {
                "part_index": part.part_index,
                "start_seconds": part.start_seconds,
                "end_seconds": part.end_seconds,
                "score": part.score,
                "text": part.text,
            }
            for part in hit.parts
        ]
    if "vector" in include:
        shown["vector"] = None if hit.vector is None else hit.vector.tolist()
    return shown


def document_object(
    document: StoredDocument, collection: str, include: Collection[str], urls: Mapping[str, str]
) -> dict[str, Any]:
    """A stored document, with what was asked to be included."""
    first = document.rows[0]
    shown: dict[str, Any] = {
        "id": document.document_id,
        "object": "document",
        "collection": collection,
        "type": first.modality,
        "media_id": first.media_id,
        "created_at": int(document.created_at_seconds),
    }
    if "url" in include:
        shown["url"] = urls.get(first.media_id) if first.media_id else None
    if "metadata" in include:
        shown["metadata"] = shown_metadata(first.metadata)
    if "parts" in include or "vector" in include:
        frames = _frame_count(first.metadata)
        shown["parts"] = [
            {
                "part_index": row.part_index,
                "kind": _part_kind(row, frames),
                "start_seconds": row.start_seconds,
                "end_seconds": row.end_seconds,
                "text": row.text,
            }
            | (
                {
                    "vector": row.vector.tolist(),
                    "vectors": {name: vector.tolist() for name, vector in row.vectors.items()},
                }
                if "vector" in include
                else {}
            )
            for row in document.rows
        ]
    return shown


def cluster_object(
    cluster: Cluster,
    documents: Mapping[str, StoredDocument],
    include: Collection[str],
    urls: Mapping[str, str],
) -> dict[str, Any]:
    """A cluster and its representatives, nearest to the centre first."""
    shown: dict[str, Any] = {
        "size": cluster.size,
        "mean_similarity": cluster.mean_similarity,
        "representatives": [
            _representative(documents[document_id], include, urls)
            for document_id in cluster.representatives
            if document_id in documents
        ],
    }
    if "vector" in include:
        shown["centre"] = cluster.centre.tolist()
    return shown


def map_object(found: CollectionMap, clusters: list[dict[str, Any]]) -> dict[str, Any]:
    """A map of a collection, with its ``clusters`` as they are shown."""
    return {
        "object": "collection.map",
        "method": "pca",
        "explained": list(found.explained),
        "documents": found.documents,
        "sampled": found.sampled,
        "data": [
            {
                "id": place.document_id,
                "type": place.modality,
                "media_id": place.media_id,
                "x": place.x,
                "y": place.y,
                "cluster": place.cluster,
            }
            for place in found.places
        ],
        "clusters": clusters,
    }


def _representative(
    document: StoredDocument, include: Collection[str], urls: Mapping[str, str]
) -> dict[str, Any]:
    first = document.rows[0]
    shown: dict[str, Any] = {
        "id": document.document_id,
        "type": first.modality,
        "media_id": first.media_id,
    }
    if "url" in include:
        shown["url"] = urls.get(first.media_id) if first.media_id else None
    if "metadata" in include:
        shown["metadata"] = shown_metadata(first.metadata)
    if (text := _own_text(first.modality, first.text, first.metadata)) is not None:
        shown["text"] = text
    return shown


def _frame_count(metadata: Mapping[str, Any]) -> int:
    frames = metadata.get(FRAMES_KEY)
    return int(frames) if isinstance(frames, int | float) else 0


def _part_kind(row: Row, frames: int) -> str:
    if row.modality == "video" and row.part_index < frames:
        return "frame"
    if row.start_seconds is not None:
        return "speech"
    return "text" if row.modality == "text" else "whole"


def _own_text(modality: str, text: str, metadata: Mapping[str, Any]) -> str | None:
    """What a client wrote, of a text or with a medium."""
    return text if modality == "text" else written_text(text, metadata)


def _segments(parts: Iterable[PartHit]) -> list[dict[str, Any]]:
    """What is said in matching parts, in order of time."""
    return [
        {
            "start_seconds": part.start_seconds,
            "end_seconds": part.end_seconds,
            "text": part.text,
            "score": part.score,
        }
        for part in sorted(parts, key=lambda part: part.part_index)
    ]
