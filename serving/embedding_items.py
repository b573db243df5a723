"""Vectors of what ``/v1/embeddings`` is given: texts, media, and items of several parts, in one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fusion.vector_gate import VectorGate
from search.types import Vector
from serving.admission import Admission
from serving.catalogue import ServedModel
from serving.concurrency import all_of
from serving.errors import InvalidRequest
from serving.media_parts import admit_part
from serving.media_vectors import fused_vector, media_vector
from serving.perceiver import Perceived, Perceiver
from serving.protocol.chat import MediaPart

__all__ = ["EmbeddedItems", "Item", "embed_items", "parts_of"]

Item: TypeAlias = str | MediaPart | list[str | MediaPart]
"""A text, a medium, or several of them that get one vector together."""


@dataclass(frozen=True, slots=True)
class EmbeddedItems:
    """The items' vectors (float32, ``(n, dimensions)``) in order, the tokens of their texts, and what was perceived
    of their media.

    By the item's index: of texts too long for the encoder, in how many pieces they were read, and of items of
    several parts, how much each modality counts. ``modalities`` are all that there were.
    """

    vectors: Vector
    token_count: int
    media: list[Perceived]
    pieces: dict[int, int]
    weights: dict[int, Mapping[str, float]]
    modalities: frozenset[str]


def parts_of(item: Item) -> list[str | MediaPart]:
    """The parts of an item; one has itself alone."""
    return item if isinstance(item, list) else [item]


async def embed_items(
    admission: Admission,
    perceiver: Perceiver,
    gate: VectorGate,
    tenant: str,
    items: Sequence[Item],
    variant: ServedModel | None = None,
) -> EmbeddedItems:
    """Vectors of ``items``. Texts are embedded in one call, media side by side; refusals name the part. A
    ``variant`` of the text model takes texts only.
    """
    if variant is not None:
        _check_texts(items, variant)

    async def of_medium(part: MediaPart, param: str) -> tuple[Vector, Perceived]:
        return await admission.use(
            lambda anew: admit_part(admission, tenant, part, param, anew=anew),
            lambda admitted: media_vector(perceiver, tenant, admitted, param),
        )

    placed = [(index, part, param) for index, item in enumerate(items) for part, param in _named(item, index)]
    looked_at = await all_of(of_medium(part, param) for _, part, param in placed if not isinstance(part, str))
    texts = tuple(part for _, part, _ in placed if isinstance(part, str))
    embedded = await perceiver.embed_texts(tenant, texts, variant) if texts else None
    of_texts = iter(zip(embedded.vectors, embedded.chunk_counts, strict=True) if embedded is not None else ())
    of_media = iter(looked_at)
    parts: list[list[tuple[str, Vector]]] = [[] for _ in items]
    pieces: dict[int, int] = {}
    for index, part, _ in placed:
        if isinstance(part, str):
            vector, count = next(of_texts)
            parts[index].append(("text", vector))
            if count > 1:
                pieces[index] = pieces.get(index, 0) + count
        else:
            vector, seen = next(of_media)
            parts[index].append((seen.medium.info.kind.value, vector))
    vectors: list[Vector] = []
    weights: dict[int, Mapping[str, float]] = {}
    for index, (item, made) in enumerate(zip(items, parts, strict=True)):
        if isinstance(item, list):
            fused = fused_vector(gate, made, f"input[{index}]")
            vectors.append(fused.vector)
            weights[index] = fused.weights
        else:
            vectors.append(made[0][1])
    return EmbeddedItems(
        np.stack(vectors),
        embedded.token_count if embedded is not None else 0,
        [seen for _, seen in looked_at],
        pieces,
        weights,
        frozenset(modality for made in parts for modality, _ in made),
    )


def _check_texts(items: Sequence[Item], variant: ServedModel) -> None:
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidRequest(
                f"The model '{variant.name}' embeds texts, one vector each, and nothing else.",
                f"input[{index}]",
            )


def _named(item: Item, index: int) -> list[tuple[str | MediaPart, str]]:
    """The parts of an item, each with its place in the request."""
    if not isinstance(item, list):
        return [(item, f"input[{index}]")]
    return [(part, f"input[{index}][{place}]") for place, part in enumerate(item)]
