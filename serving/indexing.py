"""Making media and texts searchable: what was perceived becomes rows of a collection."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from encoders.types import ImageLabel, Transcript, TranscriptSegment
from search.types import Row, Vector
from serving.admission import Admission, AdmittedMedia
from serving.concurrency import to_the_end
from serving.errors import InvalidRequest
from serving.perceiver import Perceiver
from serving.services import Services
from storage.errors import MediaNotFound
from storage.media import MediaStore
from storage.types import INLINE, MediaRecord

__all__ = ["FRAMES_KEY", "IndexedDocument", "Indexer"]

FRAMES_KEY = "frames"
"""Metadata of a video: how many of its parts, from the first, are frames; the others are passages of speech.
"""

_RESERVED = frozenset({FRAMES_KEY, "uploaded_at", "resolution", "duration"})
_PASSAGE_WORDS = 150
_MIN_LABEL_PROBABILITY = 0.05
_MAX_LABELS = 5


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What was written: the document's id, how many parts, and the table version that holds them."""

    id: str
    parts: int
    version: int


class Indexer:
    """Perceives documents and writes their rows. One per gateway."""

    def __init__(
        self, services: Services, media: MediaStore, admission: Admission, perceiver: Perceiver
    ) -> None:
        self._search = services.search
        self._media = media
        self._admission = admission
        self._perceiver = perceiver

    async def add_text(
        self, tenant: str, collection: str, text: str, document_id: str | None, metadata: Mapping[str, Any]
    ) -> IndexedDocument:
        """Index a text: one part per passage, so that nothing is cut by the encoder's length."""
        document = document_id or f"doc-{secrets.token_hex(16)}"
        passages = list(_passages(text))
        if not passages:
            raise InvalidRequest("The text to index holds no words.", "text")
        vectors = await self._embed(tenant, passages)
        facts = {**_own(metadata), "uploaded_at": _now()}
        rows = tuple(
            Row(document, "text", vector, part_index=index, text=passage, metadata=facts)
            for index, (passage, vector) in enumerate(zip(passages, vectors, strict=True))
        )
        return await self._write(tenant, collection, document, rows)

    async def add_media(
        self,
        tenant: str,
        collection: str,
        media_id: str,
        document_id: str | None,
        metadata: Mapping[str, Any],
    ) -> IndexedDocument:
        """Index a stored medium: an image is one part, a video its frames and speech, audio its speech."""
        admitted = await self._admission.from_id(tenant, media_id, param="media_id")
        perceived = (await self._perceiver.perceive(admitted.record.ref, admitted.info)).medium
        document = document_id or media_id
        facts = {**_own(metadata), **_facts(admitted)}
        parts: list[tuple[Vector, float | None, float | None, str]] = []
        if perceived.image is not None:
            text = "\n".join(
                [_label_text(perceived.image.labels), *(line.text for line in perceived.text_lines)]
            )
            parts.append((perceived.image.embedding, None, None, text.strip()))
        if perceived.video is not None:
            frames = perceived.video.frames
            facts[FRAMES_KEY] = len(frames)
            ends = [frame.time_seconds for frame in frames[1:]] + [perceived.video.duration_seconds]
            for frame, end in zip(frames, ends, strict=True):
                # The last frame may lie at or past the container's stated end.
                end = max(end, frame.time_seconds)
                parts.append((frame.embedding, frame.time_seconds, end, _label_text(frame.labels)))
        spoken = _spoken(perceived.transcript)
        vectors = await self._embed(tenant, [segment.text.strip() for segment in spoken])
        for segment, vector in zip(spoken, vectors, strict=True):
            parts.append((vector, segment.start_seconds, segment.end_seconds, segment.text.strip()))
        if not parts:
            raise InvalidRequest(
                "Nothing in this medium can be searched: no speech was found in it.",
                "media_id",
                "nothing_to_index",
            )
        rows = tuple(
            Row(
                document,
                admitted.info.kind.value,
                vector,
                part_index=index,
                start_seconds=start,
                end_seconds=end,
                text=text,
                media_id=media_id,
                metadata=facts,
            )
            for index, (vector, start, end, text) in enumerate(parts)
        )
        # To the end: whoever gives up must not keep rows from being held against the record.
        return await to_the_end(self._write_of(admitted.record, collection, document, rows))

    async def _write_of(
        self, record: MediaRecord, collection: str, document: str, rows: tuple[Row, ...]
    ) -> IndexedDocument:
        """Write the rows of a medium, which stays from then on if it came inside another request."""
        ref = record.ref
        written = await self._write(ref.tenant, collection, document, rows)
        try:
            # It may have been deleted meanwhile. A deletion removes the record before it looks for rows the
            # last time, so either it finds these, or the record is already missing here.
            if record.purpose == INLINE:
                await asyncio.to_thread(self._media.extend, record, None)
            else:
                await asyncio.to_thread(self._media.get, ref.tenant, ref.id)
        except MediaNotFound:
            await self._search.delete_media(ref.tenant, (ref.id,))
            raise
        return written

    async def _write(
        self, tenant: str, collection: str, document: str, rows: tuple[Row, ...]
    ) -> IndexedDocument:
        version = await self._search.add(tenant, collection, rows)
        return IndexedDocument(document, len(rows), version)

    async def _embed(self, tenant: str, texts: Sequence[str]) -> list[Vector]:
        return list((await self._perceiver.embed_texts(tenant, tuple(texts))).vectors) if texts else []


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The client's metadata: scalars under names that the platform does not set itself."""
    for name, value in metadata.items():
        if name in _RESERVED or name == "date_range":
            raise InvalidRequest(f"The metadata name '{name}' is reserved.", f"metadata.{name}")
        if value is not None and not isinstance(value, str | int | float | bool):
            raise InvalidRequest("Metadata values must be strings, numbers or booleans.", f"metadata.{name}")
    return {name: value for name, value in metadata.items() if value is not None}


def _facts(admitted: AdmittedMedia) -> dict[str, Any]:
    info = admitted.info
    facts: dict[str, Any] = {"uploaded_at": _iso(admitted.record.created_at_seconds)}
    if info.width and info.height:
        facts["resolution"] = f"{info.width}x{info.height}"
    if info.duration_seconds is not None:
        facts["duration"] = info.duration_seconds
    return facts


def _spoken(transcript: Transcript | None) -> list[TranscriptSegment]:
    segments = transcript.segments if transcript is not None else ()
    return [segment for segment in segments if segment.text.strip()]


def _label_text(labels: Sequence[ImageLabel]) -> str:
    return ", ".join(
        label.text for label in labels[:_MAX_LABELS] if label.probability >= _MIN_LABEL_PROBABILITY
    )


def _passages(text: str) -> Iterator[str]:
    """Passages of about ``_PASSAGE_WORDS`` words, cut at ends of sentences where there are any."""
    passage: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
        words = sentence.split()
        if passage and len(passage) + len(words) > _PASSAGE_WORDS:
            yield " ".join(passage)
            passage = []
        passage += words
        while len(passage) > _PASSAGE_WORDS:
            yield " ".join(passage[:_PASSAGE_WORDS])
            passage = passage[_PASSAGE_WORDS:]
    if passage:
        yield " ".join(passage)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
