"""What a query's items stand for: one vector each, whatever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.types import MediaKind
from search.errors import DocumentNotFound
from search.types import DEFAULT_SPACE, StoredDocument, Vector
from serving.admission import Admission
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.errors import InvalidRequest, LimitExceeded
from serving.media_vectors import media_vector, unit_vector
from serving.perceiver import Perceived, Perceiver
from serving.protocol.search import QueryItem
from serving.services import SearchIndex

__all__ = ["QueryItems", "Understood", "document_vector", "part_vectors", "raw_vector"]


@dataclass(frozen=True, slots=True)
class Understood:
    """The items' vectors, float32 ``(dimensions,)`` of norm 1, in their order and in one ``space``; the documents
    among them that the answer leaves out; what was perceived of their media.
    """

    vectors: tuple[Vector, ...]
    space: str
    excluded: tuple[str, ...]
    media: tuple[Perceived, ...]


class QueryItems:
    """Makes vectors of query items. One per gateway."""

    def __init__(
        self,
        search: SearchIndex,
        admission: Admission,
        perceiver: Perceiver,
        limits: RequestLimits,
    ) -> None:
        self._search = search
        self._admission = admission
        self._perceiver = perceiver
        self._limits = limits

    async def understand(
        self, tenant: str, collection: str, items: Sequence[QueryItem], params: Sequence[str]
    ) -> Understood:
        """``params`` name the items in refusals: ``InvalidRequest``, ``DocumentNotFound``."""
        for item, param in zip(items, params, strict=True):
            _check(item, param)
        space = _common_space(items, params)
        ids = tuple(dict.fromkeys(str(item.content) for item in items if item.type == "document"))
        stored = await self._search.documents(tenant, collection, ids) if ids else ()
        documents = {document.document_id: document for document in stored}

        async def one(item: QueryItem, param: str) -> tuple[Vector, Perceived | None]:
            content = f"{param}.content"
            if isinstance(item.content, list):
                return raw_vector(item.content, content), None
            if item.type == "text":
                return await self._embedded(tenant, item.content, content), None
            if item.type == "document":
                if item.content not in documents:
                    raise DocumentNotFound("The collection has no document of this id.")
                return document_vector(documents[item.content], space, content), None
            return await self.medium(tenant, item.content, frozenset({MediaKind(item.type)}), content)

        made = await all_of(map(one, items, params))
        excluded = dict.fromkeys(
            str(item.content) for item in items if item.type == "document" and not item.include_itself
        )
        media = tuple(medium for _, medium in made if medium is not None)
        return Understood(tuple(vector for vector, _ in made), space, tuple(excluded), media)

    async def medium(
        self, tenant: str, reference: str, kinds: frozenset[MediaKind], param: str
    ) -> tuple[Vector, Perceived]:
        """The vector of a medium by reference, and what was perceived of it."""
        return await self._admission.use(
            lambda anew: self._admission.from_reference(tenant, reference, kinds, param, anew=anew),
            lambda admitted: media_vector(self._perceiver, tenant, admitted, param),
        )

    async def _embedded(self, tenant: str, text: str, param: str) -> Vector:
        if len(text) > self._limits.max_text_characters:
            raise LimitExceeded(
                f"The query is longer than {self._limits.max_text_characters} characters "
                "(max_text_characters).",
                param,
            )
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


def _check(item: QueryItem, param: str) -> None:
    """What of an item goes with its type."""
    if isinstance(item.content, list) != (item.type == "vector"):
        expected = "a list of numbers" if item.type == "vector" else "a string"
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


def _common_space(items: Sequence[QueryItem], params: Sequence[str]) -> str:
    spaces = [item.space or DEFAULT_SPACE for item in items]
    for space, param in zip(spaces, params, strict=True):
        if space != spaces[0]:
            raise InvalidRequest("All items of a query must lie in one space.", f"{param}.space")
    return spaces[0]
