"""What is said in a medium, for routes that answer with it."""

from __future__ import annotations

from encoders.types import MediaKind, TranscribeOptions, Transcript
from fusion.types import PerceivedMedium
from serving.admission import AdmittedMedia
from serving.errors import InvalidRequest
from serving.perceiver import Perceived, Perceiver
from serving.refusals import naming

__all__ = ["check_sound", "hear"]


async def hear(
    perceiver: Perceiver, admitted: AdmittedMedia, param: str, options: TranscribeOptions
) -> tuple[Transcript, Perceived]:
    """The transcript of sound or of a video, and what to report of it; refusals name ``param``.

    Raises ``InvalidRequest`` for a video without sound.
    """
    check_sound(admitted, param)
    with naming(param):
        transcript, tier = await perceiver.transcribe(admitted.record.ref, options)
    heard = PerceivedMedium(admitted.record.ref.id, admitted.info, transcript=transcript)
    return transcript, Perceived(heard, {"transcript": tier})


def check_sound(admitted: AdmittedMedia, param: str) -> None:
    """Raise ``InvalidRequest`` for a video that has no sound."""
    if admitted.info.kind is MediaKind.VIDEO and not admitted.info.has_audio:
        raise InvalidRequest(f"The video in '{param}' has no sound to transcribe.", param, "no_audio")
