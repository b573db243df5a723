"""What is said in a medium, for routes that answer with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from encoders.types import MediaKind, TranscribeOptions, Transcript, TranscriptSegment
from fusion.types import PerceivedMedium
from serving.admission import AdmittedMedia
from serving.errors import InvalidRequest
from serving.live_transcripts import Followed
from serving.perceiver import Perceived, Perceiver
from serving.refusals import naming

__all__ = ["check_sound", "hear", "hear_along"]


async def hear(
    perceiver: Perceiver, admitted: AdmittedMedia, param: str, options: TranscribeOptions
) -> tuple[Transcript, Perceived]:
    """The transcript of sound or of a video, and what to report of it; refusals name ``param``.

    Raises ``InvalidRequest`` for a video without sound.
    """
    check_sound(admitted, param)
    with naming(param):
        transcript, tier = await perceiver.transcribe(admitted.record.ref, options)
    return transcript, _heard(admitted, transcript, tier)


def hear_along(
    perceiver: Perceiver, admitted: AdmittedMedia, param: str, options: TranscribeOptions
) -> tuple[AsyncGenerator[TranscriptSegment | Followed, None], Callable[[Followed], Perceived]]:
    """The same while it is being heard, see ``LiveTranscripts.follow``; and what to report of its end."""
    check_sound(admitted, param)

    async def parts() -> AsyncGenerator[TranscriptSegment | Followed, None]:
        with naming(param):
            async with aclosing(perceiver.live.follow(admitted.record.ref, options)) as followed:
                async for part in followed:
                    yield part

    return parts(), lambda end: _heard(admitted, end.transcript, end.tier)


def check_sound(admitted: AdmittedMedia, param: str) -> None:
    """Raise ``InvalidRequest`` for a video that has no sound."""
    if admitted.info.kind is MediaKind.VIDEO and not admitted.info.has_audio:
        raise InvalidRequest(f"The video in '{param}' has no sound to transcribe.", param, "no_audio")


def _heard(admitted: AdmittedMedia, transcript: Transcript, tier: str) -> Perceived:
    heard = PerceivedMedium(admitted.record.ref.id, admitted.info, transcript=transcript)
    return Perceived(heard, {"transcript": tier})
