"""Making media and texts searchable: what was perceived becomes rows of a collection."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from encoders.types import EncodedImage
from fusion.types import PerceivedMedium
from fusion.vector_gate import VectorGate
from search.types import DEFAULT_SPACE, Row, Vector
from serving.admission import Admission, AdmittedMedia
from serving.concurrency import to_the_end
from serving.document_rows import (
    FRAMES_KEY,
    media_rows,
    mixed_row,
    own_metadata,
    passages,
    spoken,
    text_rows,
)
from serving.errors import InvalidRequest
from serving.limits.collection_limit import CollectionLimit
from serving.media_vectors import mixed_vector
from serving.moderation.gate import ModerationGate
from serving.perceive_options import PerceiveOptions
from serving.perceiver import Perceiver
from serving.services import Services
from storage.errors import MediaNotFound
from storage.media import MediaStore
from storage.types import INLINE, MediaRecord

__all__ = ["FRAMES_KEY", "IndexedDocument", "Indexer"]

_NO_VECTORS: Mapping[str, Vector] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What was written: the document's id, how many parts, and the table version that holds them.

    ``weights`` say how much each modality counts in the vector of a medium with a text, ``missing`` what could not
    be perceived of it because a part of the platform is down.
    """

    id: str
    parts: int
    version: int
    weights: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Indexer:
    """Perceives documents and writes their rows. One per gateway."""

    def __init__(
        self,
        services: Services,
        media: MediaStore,
        admission: Admission,
        perceiver: Perceiver,
        gate: VectorGate,
        moderation: ModerationGate,
        collection_limit: CollectionLimit,
    ) -> None:
        self._search = services.search
        self._media = media
        self._admission = admission
        self._perceiver = perceiver
        self._gate = gate
        self._moderation = moderation
        self._collection_limit = collection_limit

    async def add_text(
        self,
        tenant: str,
        collection: str,
        text: str,
        document_id: str | None,
        metadata: Mapping[str, Any],
        vectors: Mapping[str, Vector] = _NO_VECTORS,
    ) -> IndexedDocument:
        """Index a text: one part per passage, so that nothing is cut by the encoder's length.

        ``vectors``, by space, are its caller's own: one for the default space makes it one part, those for others
        lie with its first part.
        """
        document = document_id or f"doc-{secrets.token_hex(16)}"
        parts = await asyncio.to_thread(lambda: list(passages(text)))  # long ones take a while
        if not parts:
            raise InvalidRequest("The text to index holds no words.", "text")
        own_metadata(metadata)  # refused before anything is computed
        if (guard := await self._moderation.guard(tenant, "ingest")) is not None:
            await guard.texts((text,), "text")
        if DEFAULT_SPACE in vectors:
            rows = text_rows(document, text, [text], [vectors[DEFAULT_SPACE]], metadata)
        else:
            rows = text_rows(document, text, parts, await self._embed(tenant, parts), metadata)
        return await self._write(tenant, collection, document, _with(rows, vectors))

    async def add_vectors(
        self,
        tenant: str,
        collection: str,
        modality: str,
        document_id: str | None,
        metadata: Mapping[str, Any],
        vectors: Mapping[str, Vector],
    ) -> IndexedDocument:
        """Index vectors alone, by space, one for the default space among them."""
        document = document_id or f"doc-{secrets.token_hex(16)}"
        (row,) = text_rows(document, "", [""], [vectors[DEFAULT_SPACE]], metadata)
        # Nothing is known of what it is of, so it has no content that another one could have as well.
        rows = (replace(row, modality=modality, content_hash=None),)
        return await self._write(tenant, collection, document, _with(rows, vectors))

    async def add_media(
        self,
        tenant: str,
        collection: str,
        media_id: str,
        document_id: str | None,
        metadata: Mapping[str, Any],
        vectors: Mapping[str, Vector] = _NO_VECTORS,
    ) -> IndexedDocument:
        """Index a stored medium: an image is one part, a video its frames and speech, audio its speech.

        ``vectors`` as in ``add_text``; with one for the default space nothing is perceived.
        """
        admitted = await self._admission.from_id(tenant, media_id, param="media_id")
        own_metadata(metadata)
        missing: tuple[str, ...] = ()
        if DEFAULT_SPACE in vectors:
            whole = EncodedImage((), vectors[DEFAULT_SPACE], 0, 0)
            perceived = PerceivedMedium(media_id, admitted.info, image=whole)
        else:
            perceived, missing = await self._perceived(admitted)
        await self._let_in(admitted, perceived)
        document = document_id or media_id
        speech = await self._embed(tenant, [segment.text.strip() for segment in spoken(perceived)])
        record = admitted.record
        rows = media_rows(document, record.ref, record.created_at_seconds, perceived, speech, metadata)
        rows = _lacking(_with(rows, vectors), missing)
        # To the end: whoever gives up must not keep rows from being held against the record.
        written = await to_the_end(self._write_of(admitted.record, collection, document, rows))
        return replace(written, missing=missing)

    async def add_mixed(
        self,
        tenant: str,
        collection: str,
        media_id: str,
        text: str,
        document_id: str | None,
        metadata: Mapping[str, Any],
        vectors: Mapping[str, Vector] = _NO_VECTORS,
    ) -> IndexedDocument:
        """Index a stored medium and a text as one part, with one vector of both. ``vectors`` as in ``add_text``."""
        admitted = await self._admission.from_id(tenant, media_id, param="media_id")
        own_metadata(metadata)
        if not text.strip():
            raise InvalidRequest("The text to index holds no words.", "text")
        if (guard := await self._moderation.guard(tenant, "ingest")) is not None:
            await guard.texts((text,), "text")
        weights: Mapping[str, float] = {}
        missing: tuple[str, ...] = ()
        if DEFAULT_SPACE in vectors:
            perceived, vector = PerceivedMedium(media_id, admitted.info), vectors[DEFAULT_SPACE]
        else:
            perceived, missing = await self._perceived(admitted)
            fused = await mixed_vector(self._perceiver, self._gate, tenant, admitted, text)
            vector, weights = fused.vector, fused.weights
        await self._let_in(admitted, perceived)
        document = document_id or media_id
        record = admitted.record
        row = mixed_row(document, record.ref, record.created_at_seconds, perceived, text, vector, metadata)
        rows = _lacking(_with((row,), vectors), missing)
        written = await to_the_end(self._write_of(record, collection, document, rows))
        return replace(written, weights=weights, missing=missing)

    async def _perceived(self, admitted: AdmittedMedia) -> tuple[PerceivedMedium, tuple[str, ...]]:
        """What is known of a medium, and what of it is lacking, where no policy wants to see all of it."""
        ref = admitted.record.ref
        guarded = await self._moderation.guard(ref.tenant, "ingest") is not None
        found = await self._perceiver.perceive(ref, admitted.info, PerceiveOptions(whole=guarded))
        return found.medium, found.missing

    async def _let_in(self, admitted: AdmittedMedia, perceived: PerceivedMedium) -> None:
        """Hold a medium, with what was found in it, against the tenant's policy."""
        ref = admitted.record.ref
        guard = await self._moderation.guard(ref.tenant, "ingest")
        if guard is not None:
            found = perceived.text_lines, perceived.transcript
            await guard.perceived(ref, admitted.info, *found, "media_id")

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
        await self._collection_limit.check(tenant, collection)
        version = await self._search.add(tenant, collection, rows)
        return IndexedDocument(document, len(rows), version)

    async def _embed(self, tenant: str, texts: Sequence[str]) -> list[Vector]:
        return list((await self._perceiver.embed_texts(tenant, tuple(texts))).vectors) if texts else []


def _with(rows: tuple[Row, ...], vectors: Mapping[str, Vector]) -> tuple[Row, ...]:
    """``rows`` with the vectors of further spaces at the first."""
    further = {space: vector for space, vector in vectors.items() if space != DEFAULT_SPACE}
    return (replace(rows[0], vectors=further), *rows[1:]) if further else rows


def _lacking(rows: tuple[Row, ...], missing: Sequence[str]) -> tuple[Row, ...]:
    """``rows`` of a medium of which something is lacking: nobody is told that its content is indexed already."""
    return tuple(replace(row, content_hash=None) for row in rows) if missing else rows
