"""One vector for a whole medium, in the space that texts and pictures share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from encoders.types import MediaKind
from fusion.errors import VectorsCancel
from fusion.types import PerceivedMedium
from fusion.vector_gate import FusedVector, VectorGate
from search.types import Vector
from serving.admission import AdmittedMedia
from serving.config import GatewayConfig
from serving.errors import InvalidRequest
from serving.passages import passages_of
from serving.perceiver import Perceived, Perceiver

__all__ = ["fused_vector", "gate_of", "media_vector", "mixed_vector", "text_vector", "unit_vector"]

_SHORTEST = 1e-4


async def media_vector(
    perceiver: Perceiver, tenant: str, admitted: AdmittedMedia, param: str
) -> tuple[Vector, Perceived]:
    """A medium's unit vector, float32, and what was perceived for it.

    A picture's own; of a video the mean of its frames; of sound that of what is said. Raises ``InvalidRequest``
    for sound without speech and for frames that cancel each other out.
    """
    ref, info = admitted.record.ref, admitted.info
    if info.kind is MediaKind.IMAGE:
        image, tier = await perceiver.encode_image(ref)
        return image.embedding, Perceived(PerceivedMedium(ref.id, info, image), {"labels": tier})
    if info.kind is MediaKind.VIDEO:
        video, tier = await perceiver.encode_video(ref)
        mean = np.mean([frame.embedding for frame in video.frames], axis=0)
        unit = unit_vector(
            mean, "The frames of this video cancel each other out, so it has no place among texts.", param
        )
        return unit, Perceived(PerceivedMedium(ref.id, info, video=video), {"frames": tier})
    heard, tier = await perceiver.transcribe(ref)
    if not heard.text:
        raise InvalidRequest("No speech was found in this audio, so it has no place among texts.", param)
    vector: Vector = (await perceiver.embed_texts(tenant, (heard.text,))).vectors[0]
    return vector, Perceived(PerceivedMedium(ref.id, info, transcript=heard), {"transcript": tier})


async def text_vector(perceiver: Perceiver, tenant: str, text: str, param: str) -> Vector:
    """One unit vector for a text of any length: the mean of its passages'. Raises ``InvalidRequest`` for a text
    without words.
    """
    passages = await asyncio.to_thread(lambda: tuple(passage.text for passage in passages_of(text)))
    if not passages:
        raise InvalidRequest(f"The text in '{param}' holds no words.", param)
    vectors = (await perceiver.embed_texts(tenant, passages)).vectors
    return unit_vector(vectors.mean(axis=0), "The passages of this text cancel each other out.", param)


def fused_vector(gate: VectorGate, parts: Sequence[tuple[str, Vector]], param: str) -> FusedVector:
    """One vector for parts of different modalities (see ``VectorGate.fuse``). Raises ``InvalidRequest`` when hardly
    anything is left.
    """
    try:
        return gate.fuse(parts)
    except VectorsCancel as error:
        raise InvalidRequest(error.message, param) from error


async def mixed_vector(
    perceiver: Perceiver, gate: VectorGate, tenant: str, admitted: AdmittedMedia, text: str
) -> FusedVector:
    """One vector of a document's medium and its text. Raises ``InvalidRequest`` as ``media_vector`` and
    ``text_vector`` do.
    """
    written = await text_vector(perceiver, tenant, text, "text")
    vector, _ = await media_vector(perceiver, tenant, admitted, "media_id")
    return fused_vector(gate, [("text", written), (admitted.info.kind.value, vector)], "text")


def gate_of(config: GatewayConfig) -> VectorGate:
    """What weighs the parts of mixed items. Raises ``FusionError`` for a file that does not fit the text model."""
    dimensions = config.text_model.dimensions or 0
    return (
        VectorGate(dimensions) if config.gate_file is None else VectorGate.load(config.gate_file, dimensions)
    )


def unit_vector(vector: Any, refusal: str, param: str) -> Vector:
    """``vector`` as float32 of length 1. Raises ``InvalidRequest`` with ``refusal`` when hardly anything is left of
    it.
    """
    length = float(np.linalg.norm(vector))
    if length < _SHORTEST:
        raise InvalidRequest(refusal, param)
    unit: Vector = (np.asarray(vector) / length).astype(np.float32)
    return unit
