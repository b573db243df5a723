"""Media for decoders that look or listen themselves: decoded by perception, kept for the next question.

vLLM remembers what its processor made of a medium under the content id, but wants the pixels again whenever the
medium comes again. A bounded memory of pixels spares reading and decoding them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
from cachetools import LRUCache

from encoders.types import Film, MediaKind, Pixels, Sound
from serving.concurrency import all_of
from serving.errors import AttachmentRefused, PerceptionTimeout
from serving.services import NativeMedium, Perception
from storage.single_flight import SingleFlight

__all__ = ["NativeMedia"]

_SOUND_HERTZ = 16_000
_TICKS_PER_SECOND = 1_000  # of the rate in which vLLM is told the times of frames
_SAME_TIME_SECONDS = 0.0015

Decoded = Pixels | Film | Sound


class NativeMedia:
    """Gets media decoded, once for all who ask at the same time. Use from one event loop.

    Waits for one medium at most ``timeout_seconds``; keeps at most ``cache_bytes`` of pixels and sound.
    """

    def __init__(self, perception: Perception | None, cache_bytes: int, timeout_seconds: float) -> None:
        self._perception = perception
        self._timeout_seconds = timeout_seconds
        self._kept: LRUCache[str, Decoded] = LRUCache(cache_bytes, getsizeof=_size_bytes)
        self._decoding: SingleFlight[Decoded] = SingleFlight()

    async def decoded(self, media: tuple[NativeMedium, ...]) -> list[Any]:
        """Each medium in vLLM's own form, in order.

        Pictures are PIL images, videos ``(frames, metadata)`` with the times of the frames in the metadata, sound
        is ``(samples, hertz)``. Raises ``AttachmentRefused``, ``PerceptionTimeout`` and what perception raises.
        Whoever is cancelled leaves nothing running that nobody else waits for.
        """
        found = await all_of(self._one(medium) for medium in media)
        # Pictures and frames are copied: megabytes, for which the event loop does not wait.
        return await asyncio.to_thread(lambda: list(map(_form, media, found))) if media else []

    async def _one(self, medium: NativeMedium) -> Decoded:
        key = _key(medium)
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        try:
            async with asyncio.timeout(self._timeout_seconds):
                decoded = await self._decoding.run(key, lambda: self._decode(medium))
        except TimeoutError as error:
            raise PerceptionTimeout("The media could not be decoded in time. Please try again.") from error
        if _size_bytes(decoded) <= self._kept.maxsize:
            self._kept[key] = decoded
        return decoded

    async def _decode(self, medium: NativeMedium) -> Decoded:
        decoded = await self._asked(medium)
        return await asyncio.to_thread(_owned, decoded)

    async def _asked(self, medium: NativeMedium) -> Decoded:
        if self._perception is None:
            raise AttachmentRefused("The model's engine was started without access to media.")
        if medium.sampling is not None:
            return await self._perception.film(medium.media, medium.sampling)
        if medium.kind is MediaKind.IMAGE:
            return await self._perception.picture(medium.media, medium.max_side)
        if medium.kind is MediaKind.AUDIO:
            return await self._perception.sound(medium.media)
        raise AttachmentRefused(
            "A video came without saying which of its frames are shown; tell the operator."
        )


def _key(medium: NativeMedium) -> str:
    """Of the decoded form. Frames of one video share it: they come from one film."""
    media = medium.media
    what = repr(medium.sampling) if medium.sampling is not None else f"{medium.kind}/{medium.max_side}"
    return f"{media.tenant}/{media.sha256}/{what}"


def _owned(decoded: Decoded) -> Decoded:
    """With numbers of its own. What comes from another process looks into Ray's object store, and would hold its
    place there, which is short, for as long as it is kept here.
    """
    if isinstance(decoded, Film):
        return replace(decoded, frames=decoded.frames.copy())
    return decoded.copy()


def _size_bytes(decoded: Decoded) -> int:
    return int(decoded.frames.nbytes if isinstance(decoded, Film) else decoded.nbytes)


def _form(medium: NativeMedium, decoded: Decoded) -> Any:
    if isinstance(decoded, Film):
        shown = _shown(decoded, medium.times_seconds)
        if medium.kind is MediaKind.IMAGE:
            return _picture(decoded.frames[shown[0]])
        return _video(decoded, shown)
    return (decoded, _SOUND_HERTZ) if medium.kind is MediaKind.AUDIO else _picture(decoded)


def _picture(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _video(film: Film, shown: list[int]) -> tuple[Any, dict[str, Any]]:
    # Models that write times into the prompt divide a frame's index by the video's rate. Indices in milliseconds
    # keep the times of any sampling; the number of frames over their whole is then the rate of the sampling.
    frames = film.frames if len(shown) == len(film.frames) else film.frames[shown]
    return frames, {
        "total_num_frames": max(round(film.duration_seconds * _TICKS_PER_SECOND), len(shown)),
        "fps": float(_TICKS_PER_SECOND),
        "duration": film.duration_seconds,
        "video_backend": "manymodal",
        "frames_indices": [round(film.times_seconds[index] * _TICKS_PER_SECOND) for index in shown],
        "do_sample_frames": False,
    }


def _shown(film: Film, times_seconds: tuple[float, ...]) -> list[int]:
    """Which frames of the film are meant; all, if no times are named."""
    if not times_seconds:
        return list(range(len(film.frames)))
    times = np.asarray(film.times_seconds)
    shown = [int(np.abs(times - time).argmin()) for time in times_seconds]
    if any(
        abs(times[index] - time) > _SAME_TIME_SECONDS
        for index, time in zip(shown, times_seconds, strict=True)
    ):
        raise AttachmentRefused("A video has no frame at the time that was asked for; tell the operator.")
    return shown
