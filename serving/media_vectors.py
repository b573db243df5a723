"""One vector for a whole medium, in the space that texts and pictures share."""

from __future__ import annotations

from typing import Any

import numpy as np

from encoders.types import MediaKind
from fusion.types import PerceivedMedium
from search.types import Vector
from serving.admission import AdmittedMedia
from serving.errors import InvalidRequest
from serving.perceiver import Perceived, Perceiver

__all__ = ["media_vector", "unit_vector"]

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


def unit_vector(vector: Any, refusal: str, param: str) -> Vector:
    """``vector`` as float32 of length 1. Raises ``InvalidRequest`` with ``refusal`` when hardly anything is left of
    it.
    """
    length = float(np.linalg.norm(vector))
    if length < _SHORTEST:
        raise InvalidRequest(refusal, param)
    unit: Vector = (np.asarray(vector) / length).astype(np.float32)
    return unit
