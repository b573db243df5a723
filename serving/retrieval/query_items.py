"""What a query's items stand for: one vector each, whatever they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from encoders.types import MediaKind
from fusion.vector_gate import VectorGate
from search.errors import DocumentNotFound
from search.types import DEFAULT_SPACE, StoredDocument, Vector
from serving.admission import Admission, AdmittedMedia
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.errors import InvalidRequest, LimitExceeded
from serving.media_vectors import fused_vector, media_vector, unit_vector
from serving.moderation.gate import ModerationGate
from serving.perceiver import Perceived, Perceiver
from serving.protocol.search import MixedPart, QueryItem
from serving.services import SearchIndex

__all__ = ["QueryItems", "Understood", "document_vector", "part_vectors", "raw_vector", "texts_of"]


@dataclass(frozen=True, slots=True)
class Understood:
    """The items' vectors, float32 ``(dimensions,)`` of norm 1, in their order and in one ``space``; the documents
    among them that the answer leaves out; what was perceived of their media; by the places of mixed items, how much
    each modality counts in them.
    """

    vectors: tuple[Vector, ...]
    space: str
    excluded: tuple[str, ...]
    media: tuple[Perceived, ...]
    weights: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Made:
    """An item's vector, what was perceived of its media, and of a mixed one how much each modality counts."""

    vector: Vector
    media: tuple[Perceived, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


class QueryItems:
    """Makes vectors of query items. One per gateway."""

    def __init__(
        self,
        search: SearchIndex,
        admission: Admission,
        perceiver: Perceiver,
        gate: VectorGate,
        limits: RequestLimits,
        moderation: ModerationGate,
    ) -> None:
        self._search = search
        self._admission = admission
        self._perceiver = perceiver
        self._gate = gate
        self._limits = limits
        self._moderation = moderation

    async def let_in(self, tenant: str, items: Sequence[QueryItem], params: Sequence[str]) -> None:
        """Hold the texts of a query against the tenant's policy. Raises ``ContentRefused``."""
        guard = await self._moderation.guard(tenant, "search")
        if guard is None:
            return
        for item, param in zip(items, params, strict=True):
            texts = texts_of(item)
            for text in texts:
                self._check_length(text, f"{param}.content")
            await guard.texts(texts, f"{param}.content")

    async def understand(
        self, tenant: str, collection: str, items: Sequence[QueryItem], params: Sequence[str]
    ) -> Understood:
        """``params`` name the items in refusals: ``InvalidRequest``, ``DocumentNotFound``."""
        for item, param in zip(items, params, strict=True):
            _check(item, param)
        self._check_media(items)
        space = _common_space(items, params)
        ids = tuple(dict.fromkeys(str(item.content) for item in items if item.type == "document"))
        stored = await self._search.documents(tenant, collection, ids) if ids else ()
        documents = {document.document_id: document for document in stored}

        async def one(item: QueryItem, param: str) -> _Made:
            content = f"{param}.content"
            if item.type == "document":
                if item.content not in documents:
                    raise DocumentNotFound("The collection has no document of this id.")
                return _Made(document_vector(documents[str(item.content)], space, content))
            if isinstance(item.content, str):
                return await self._part(tenant, item.type, item.content, content)
            if parts := _mixed(item):
                return await self._fused(tenant, parts, content)
            return _Made(raw_vector(_numbers(item), content))

        made = await all_of(map(one, items, params))
        excluded = dict.fromkeys(
            str(item.content) for item in items if item.type == "document" and not item.include_itself
        )
        return Understood(
            tuple(one.vector for one in made),
            space,
            tuple(excluded),
            tuple(medium for one in made for medium in one.media),
            {index: one.weights for index, one in enumerate(made) if one.weights},
        )

    def _check_media(self, items: Sequence[QueryItem]) -> None:
        types = [item.type for item in items] + [part.type for item in items for part in _mixed(item)]
        count = sum(one in tuple(MediaKind) for one in types)
        if count > self._limits.max_media_per_request:
            raise LimitExceeded(
                f"The query brings {count} media; at most {self._limits.max_media_per_request} "
                "(max_media_per_request) are allowed.",
                "query",
            )

    async def _part(self, tenant: str, modality: str, content: str, param: str) -> _Made:
        """A text, or a medium by reference."""
        if modality == "text":
            return _Made(await self._embedded(tenant, content, param))
        vector, medium = await self.medium(tenant, content, frozenset({MediaKind(modality)}), param)
        return _Made(vector, (medium,))

    async def _fused(self, tenant: str, parts: Sequence[MixedPart], param: str) -> _Made:
        """Several parts as one."""
        made = await all_of(
            self._part(tenant, part.type, part.content, f"{param}[{index}].content")
            for index, part in enumerate(parts)
        )
        vectors = [(part.type, one.vector) for part, one in zip(parts, made, strict=True)]
        fused = fused_vector(self._gate, vectors, param)
        return _Made(fused.vector, tuple(medium for one in made for medium in one.media), fused.weights)

    async def medium(
        self, tenant: str, reference: str, kinds: frozenset[MediaKind], param: str
    ) -> tuple[Vector, Perceived]:
        """The vector of a medium by reference, and what was perceived of it."""
        guard = await self._moderation.guard(tenant, "search")

        async def made(admitted: AdmittedMedia) -> tuple[Vector, Perceived]:
            vector, seen = await media_vector(self._perceiver, tenant, admitted, param)
            if guard is not None:
                found = seen.medium.text_lines, seen.medium.transcript
                await guard.perceived(admitted.record.ref, admitted.info, *found, param)
            return vector, seen

        return await self._admission.use(
            lambda anew: self._admission.from_reference(tenant, reference, kinds, param, anew=anew), made
        )

    def _check_length(self, text: str, param: str) -> None:
        if len(text) > self._limits.max_text_characters:
            raise LimitExceeded(
                f"The query is longer than {self._limits.max_text_characters} characters "
                "(max_text_characters).",
                param,
            )

    async def _embedded(self, tenant: str, text: str, param: str) -> Vector:
        self._check_length(text, param)
        vector: Vector = (await self._perceiver.embed_texts(tenant, (text,))).vectors[0]
        return vector


def raw_vector(numbers: Sequence[float], param: str) -> Vector:
    """Numbers that a client sent, as float32 of norm 1."""
    try:
        vector = np.array(numbers, dtype=np.float64)
    except OverflowError:
        vector = np.full(1, np.inf)
    largest = float(np.abs(vector).max(initial=0.0))
    if not np.isfinite(largest) or largest == 0.0:
        raise InvalidRequest("A vector needs finite numbers that are not all 0.", param)
    vector = vector / largest  # else the squares of very large and very small ones have no room
    unit: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def part_vectors(document: StoredDocument, space: str) -> Any:
    """The vectors of a document's parts in a space, float32 ``(n, dimensions)``; ``None`` when there are none."""
    found = [row.vector if space == DEFAULT_SPACE else row.vectors.get(space) for row in document.rows]
    vectors = [vector for vector in found if vector is not None]
    return np.stack(vectors) if vectors else None


def document_vector(document: StoredDocument, space: str, param: str) -> Vector:
    """The mean of a document's parts in a space, of norm 1."""
    vectors = part_vectors(document, space)
    if vectors is None:
        raise InvalidRequest("The document has no vector in this space.", param)
    return unit_vector(vectors.mean(axis=0), "The parts of this document cancel each other out.", param)


def texts_of(item: QueryItem) -> list[str]:
    """The texts that an item consists of or holds."""
    if item.type == "text":
        return [str(item.content)]
    return [part.content for part in _mixed(item) if part.type == "text"]


def _check(item: QueryItem, param: str) -> None:
    """What of an item goes with its type."""
    if item.type == "vector":
        fits, expected = bool(_numbers(item)), "a list of numbers"
    elif item.type == "mixed":
        fits, expected = bool(_mixed(item)), "a list of parts, each with its 'type' and 'content'"
    else:
        fits, expected = isinstance(item.content, str), "a string"
    if not fits:
        raise InvalidRequest(
            f"The content of a query of type '{item.type}' is {expected}.", f"{param}.content", "invalid_type"
        )
    if item.space is not None and item.type not in ("document", "vector"):
        raise InvalidRequest(
            "Texts and media have their place in the space 'default'; 'space' is for documents and vectors.",
            f"{param}.space",
        )
    if item.include_itself and item.type != "document":
        raise InvalidRequest("'include_itself' is for documents.", f"{param}.include_itself")


def _mixed(item: QueryItem) -> list[MixedPart]:
    """The parts of a mixed item's content; none of another's."""
    return [part for part in item.content if isinstance(part, MixedPart)] if item.type == "mixed" else []


def _numbers(item: QueryItem) -> list[float]:
    """The numbers of a vector's content; none of another's."""
    content = item.content if isinstance(item.content, list) else []
    return [number for number in content if isinstance(number, int | float)]


def _common_space(items: Sequence[QueryItem], params: Sequence[str]) -> str:
    spaces = [item.space or DEFAULT_SPACE for item in items]
    for space, param in zip(spaces, params, strict=True):
        if space != spaces[0]:
            raise InvalidRequest("All items of a query must lie in one space.", f"{param}.space")
    return spaces[0]
