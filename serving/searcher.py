"""From a search request to hits: every query item becomes a vector, weights and filters are applied."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from encoders.types import MediaKind
from search.types import Hit, Query, Vector
from serving.admission import Admission
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.errors import InvalidRequest, LimitExceeded
from serving.media_vectors import media_vector, unit_vector
from serving.perceiver import Perceived, Perceiver
from serving.protocol.search import DateRange, QueryItem, SearchRequest
from serving.services import Services

__all__ = ["Found", "Searcher", "date_bounds"]

_RULE = re.compile(r"last_([1-9][0-9]{0,4})_(minute|hour|day|week|month|year)s?")
_UNIT_HOURS = {"minute": 1 / 60, "hour": 1, "day": 24, "week": 168, "month": 730.5, "year": 8766}


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, best first, and what was perceived of the query's media, in the query's order."""

    hits: tuple[Hit, ...]
    media: tuple[Perceived, ...]


class Searcher:
    """Builds queries and runs them. One per gateway."""

    def __init__(
        self, services: Services, admission: Admission, perceiver: Perceiver, limits: RequestLimits
    ) -> None:
        self._search = services.search
        self._admission = admission
        self._perceiver = perceiver
        self._limits = limits

    async def run(self, tenant: str, request: SearchRequest) -> Found:
        """Search by the items' vectors, summed by weight and normalised again, with filters and bounds."""
        if request.top_k > self._limits.max_top_k:
            raise LimitExceeded(
                f"'top_k' is {request.top_k}; at most {self._limits.max_top_k} (max_top_k).", "top_k"
            )
        after, before = date_bounds(request.filters.date_range, datetime.now(UTC))
        many = isinstance(request.query, list)
        items = request.query if isinstance(request.query, list) else [request.query]
        named = [
            (item, f"query[{index}].content" if many else "query.content") for index, item in enumerate(items)
        ]
        understood = await all_of(self._understand(tenant, item, param) for item, param in named)
        vectors = [vector for vector, _ in understood]
        total = np.sum(
            [np.float32(item.weight) * vector for item, vector in zip(items, vectors, strict=True)], axis=0
        )
        query = Query(
            vector=unit_vector(
                total, "The weighted queries cancel each other out; nothing is left to search by.", "query"
            ),
            top_k=request.top_k,
            modalities=tuple(dict.fromkeys(request.search_modalities)),
            filters=dict(request.filters.model_extra or {}),
            created_after_seconds=after,
            created_before_seconds=before,
            score_threshold=request.score_threshold,
            min_version=request.min_version,
        )
        hits = await self._search.search(tenant, request.collection, query)
        return Found(hits, tuple(medium for _, medium in understood if medium is not None))

    async def _understand(self, tenant: str, item: QueryItem, param: str) -> tuple[Vector, Perceived | None]:
        """A query item's vector, and what was perceived of it if it is a medium."""
        if item.type == "text":
            return await self._embed(tenant, item.content, param), None
        kinds = frozenset({MediaKind(item.type)})
        return await self._admission.use(
            lambda anew: self._admission.from_reference(tenant, item.content, kinds, param, anew=anew),
            lambda admitted: media_vector(self._perceiver, tenant, admitted, param),
        )

    async def _embed(self, tenant: str, text: str, param: str) -> Vector:
        if len(text) > self._limits.max_text_characters:
            raise LimitExceeded(
                f"The query is longer than {self._limits.max_text_characters} characters "
                "(max_text_characters).",
                param,
            )
        vector: Vector = (await self._perceiver.embed_texts(tenant, (text,))).vectors[0]
        return vector


def date_bounds(wanted: str | DateRange | None, now: datetime) -> tuple[float | None, float | None]:
    """Bounds in seconds since the epoch of ``last_<n>_<unit>`` or explicit ISO bounds; a bare end date is
    inclusive.
    """
    if wanted is None:
        return None, None
    if isinstance(wanted, str):
        rule = _RULE.fullmatch(wanted)
        if rule is None:
            raise InvalidRequest(
                "'date_range' must be like 'last_30_days' (minutes, hours, days, weeks, months, years) or an "
                "object with 'from' and 'to'.",
                "filters.date_range",
            )
        return now.timestamp() - int(rule[1]) * _UNIT_HOURS[rule[2]] * 3600, None
    after = _moment(wanted.from_, "from") if wanted.from_ else None
    before = _moment(wanted.to, "to") if wanted.to else None
    if before is not None and wanted.to and len(wanted.to) == len("2026-01-31"):
        before += timedelta(days=1)
    return after.timestamp() if after else None, before.timestamp() if before else None


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            "Dates must be ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00Z.",
            f"filters.date_range.{name}",
        ) from error
