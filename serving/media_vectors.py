"""One vector for a whole medium, in the space that texts and pictures share."""

from __future__ import annotations

import numpy as np

from encoders.types import MediaKind
from fusion.types import PerceivedMedium
from search.types import Vector
from serving.admission import AdmittedMedia
from serving.errors import InvalidRequest
from serving.perceiver import Perceived, Perceiver

__all__ = ["media_vector"]


async def media_vector(
    perceiver: Perceiver, tenant: str, admitted: AdmittedMedia, param: str
) -> tuple[Vector, Perceived]:
    """A medium's unit vector, float32, and what was perceived for it.

    A picture's own; of a video the mean of its frames; of sound that of what is said. Raises ``InvalidRequest``
    for sound without speech.
    """
    ref, info = admitted.record.ref, admitted.info
    if info.kind is MediaKind.IMAGE:
        image, tier = await perceiver.encode_image(ref)
        return image.embedding, Perceived(PerceivedMedium(ref.id, info, image), {"labels": tier})
    if info.kind is MediaKind.VIDEO:
        video, tier = await perceiver.encode_video(ref)
        mean = np.mean([frame.embedding for frame in video.frames], axis=0)
        unit: Vector = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
        return unit, Perceived(PerceivedMedium(ref.id, info, video=video), {"frames": tier})
    heard, tier = await perceiver.transcribe(ref)
    if not heard.text:
        raise InvalidRequest("No speech was found in this audio, so it has no place among texts.", param)
    vector: Vector = (await perceiver.embed_texts(tenant, (heard.text,))).vectors[0]
    return vector, Perceived(PerceivedMedium(ref.id, info, transcript=heard), {"transcript": tier})
