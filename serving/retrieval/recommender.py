"""Recommendations: what is like the examples, and like what a user has, and unlike the counter-examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cachetools import TTLCache

from encoders.types import MediaKind
from search.errors import DocumentNotFound
from search.filters import AllOf, Condition, Equals, Not
from search.recommendation import profile_vector
from search.types import DEFAULT_SPACE, CollectionInfo, Example, StoredDocument, Vector
from serving.concurrency import all_of
from serving.errors import InvalidRequest
from serving.perceiver import Perceived
from serving.protocol.search import ExampleItem, RecommendRequest
from serving.retrieval.query_items import QueryItems, document_vector, part_vectors
from serving.retrieval.terms import Found, SearchTerms
from serving.services import SearchIndex

__all__ = ["Recommender"]

_POSITIVE_WEIGHT = 1.0
_NEGATIVE_WEIGHT = 0.5
_HALF_LIFE_SECONDS = 30 * 24 * 3600.0
_MAX_HISTORY = 100
_PAGE = 200
_MAX_PAGES = 10
_MAX_PROFILES = 4096
_PROFILE_SECONDS = 300.0
_ANY_KIND = frozenset(MediaKind)


class Recommender:
    """Makes a profile vector and searches by it. One per gateway.

    What a user has is read once per version of the collection and kept for five minutes, as its profile vector.
    """

    def __init__(self, search: SearchIndex, items: QueryItems, terms: SearchTerms) -> None:
        self._search = search
        self._items = items
        self._terms = terms
        self._profiles: TTLCache[tuple[object, ...], Vector | None] = TTLCache(
            _MAX_PROFILES, _PROFILE_SECONDS
        )

    async def run(self, tenant: str, request: RecommendRequest) -> Found:
        """Raises ``InvalidRequest`` when there is nothing to recommend by, ``DocumentNotFound`` and
        ``MediaNotFound`` for examples that there are not.
        """
        terms = self._terms.read(tenant, request)
        if not (request.positive or request.negative or request.user_id is not None):
            raise InvalidRequest("Give 'positive' or 'negative' examples, or a 'user_id'.", "positive")
        space = request.space or DEFAULT_SPACE
        examples, media = await self._examples(tenant, request, space)
        where = terms.query.where
        if request.user_id is not None:
            profile = await self._profile(tenant, request.collection, request.user_id, space)
            if profile is not None:
                examples.append(Example(profile))
            elif not examples:
                raise InvalidRequest(
                    "This user has nothing in the collection to recommend by; give 'positive' examples.",
                    "user_id",
                    "nothing_to_recommend_by",
                )
            own = Not(Equals("user_id", request.user_id))
            where = own if where is None else AllOf((own, where))
        ids = [item.id for item in _items(request.positive) + _items(request.negative)]
        query = replace(
            terms.query,
            vector=profile_vector(examples),
            space=space,
            where=where,
            excluded_documents=tuple(dict.fromkeys(ids)),
        )
        answer = await self._search.search(tenant, request.collection, query)
        return self._terms.page(tenant, request, terms, answer, media)

    async def _examples(
        self, tenant: str, request: RecommendRequest, space: str
    ) -> tuple[list[Example], tuple[Perceived, ...]]:
        named = [
            (item, f"{name}[{index}]", sign)
            for name, given, sign in (("positive", request.positive, 1), ("negative", request.negative, -1))
            for index, item in enumerate(_items(given))
        ]
        ids = tuple(dict.fromkeys(item.id for item, _, _ in named))
        stored = await self._search.documents(tenant, request.collection, ids) if ids else ()
        documents = {document.document_id: document for document in stored}
        files = [item.id for item, _, _ in named if item.id not in documents and item.id.startswith("file-")]
        if files and space != DEFAULT_SPACE:
            raise InvalidRequest("Files have their place in the space 'default' only.", "space")

        async def one(item: ExampleItem, param: str) -> tuple[Vector, Perceived | None]:
            if item.id in documents:
                return document_vector(documents[item.id], space, param), None
            if item.id.startswith("file-"):
                return await self._items.medium(tenant, item.id, _ANY_KIND, param)
            raise DocumentNotFound("The collection has no document of this id.")

        made = await all_of(one(item, param) for item, param, _ in named)
        weights = [
            (_POSITIVE_WEIGHT if sign > 0 else -_NEGATIVE_WEIGHT)
            if item.weight is None
            else sign * item.weight
            for item, _, sign in named
        ]
        examples = [Example(vector, float(weight)) for (vector, _), weight in zip(made, weights, strict=True)]
        return examples, tuple(medium for _, medium in made if medium is not None)

    async def _profile(self, tenant: str, collection: str, user_id: str, space: str) -> Vector | None:
        """The vector of what a user has, from the cache if the collection has not changed since."""
        info = await self._search.describe(tenant, collection)
        key = (*_state(tenant, info), user_id, space)
        if key not in self._profiles:
            history = await self._history(tenant, collection, Equals("user_id", user_id))
            self._profiles[key] = _by_recency(history, space)
        return self._profiles.get(key)

    async def _history(self, tenant: str, collection: str, where: Condition) -> list[StoredDocument]:
        """The newest documents that satisfy ``where``, of at most ``_PAGE * _MAX_PAGES`` that are looked at."""
        newest: list[StoredDocument] = []
        after: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._search.scroll(tenant, collection, after, _PAGE, where)
            newest = sorted([*newest, *page], key=lambda one: -one.created_at_seconds)[:_MAX_HISTORY]
            if len(page) < _PAGE:
                break
            after = page[-1].document_id
        return newest


def _by_recency(history: Sequence[StoredDocument], space: str) -> Vector | None:
    """The profile of a history, newest first; every thirty days a document counts half as much."""
    usable = [document for document in history if part_vectors(document, space) is not None]
    if not usable:
        return None
    newest = usable[0].created_at_seconds
    return profile_vector(
        [
            Example(
                document_vector(document, space, "user_id"),
                0.5 ** ((newest - document.created_at_seconds) / _HALF_LIFE_SECONDS),
            )
            for document in usable
        ]
    )


def _state(tenant: str, info: CollectionInfo) -> tuple[object, ...]:
    """What a collection holds; another one of the same name is not the same."""
    return tenant, info.name, info.created_at_seconds, info.version


def _items(given: Sequence[str | ExampleItem]) -> list[ExampleItem]:
    return [ExampleItem(id=item) if isinstance(item, str) else item for item in given]
