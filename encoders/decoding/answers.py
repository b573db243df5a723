"""What decoder processes answer, checked: they have seen hostile bytes, so nothing they say is believed.

One class per task. ``take`` gets the parts of a streamed answer as they come, ``finish`` its last message; both
run in the thread that reads from the process.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from encoders.config import DecodeLimits
from encoders.errors import CorruptMedia, DecodeTimeout
from encoders.types import FrameSampling, MediaInfo, MediaKind, Pixels, Sound, VideoSummary

__all__ = [
    "UNUSABLE",
    "Answer",
    "DecodedFrame",
    "DecodedImage",
    "FramesAnswer",
    "LookAnswer",
    "LookedAt",
    "PictureAnswer",
    "ProbeAnswer",
    "SoundAnswer",
]

Result = TypeVar("Result", covariant=True)
Told = TypeVar("Told")

_SAMPLE_RATE = 16_000
_SOUND_PART_BYTES = 1 << 20
_FRAMES_READY = 2
_MAX_REASON_LETTERS = 128
_MOST_TIMES = 10_000  # scenes last at least 0.6 seconds, and videos some minutes
_LONGEST_SIDE = (1 << 31) - 1
# Without a plus: an SVG is a program to a browser, and this becomes a header of the medium's own address.
_CONTENT_TYPE = re.compile(r"(image|audio|video)/[a-z0-9.-]{1,32}")
UNUSABLE = "The medium is damaged: its decoder gave no usable answer."
"""What the caller is told of a process that lies."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """RGB pixels ``(height, width, 3)``, perhaps shrunk, and the full upright size."""

    pixels: Pixels
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What a header says, and, of a picture, its pixels ``(height, width, 3)``, perhaps shrunk."""

    info: MediaInfo
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A sampled frame: seconds from the medium's beginning, why it was chosen, RGB pixels ``(h, w, 3)``."""

    time_seconds: float
    reason: str
    pixels: Pixels


class Answer(Protocol[Result]):
    """``max_body_bytes`` bounds one message. ``CorruptMedia`` from a method means that the process lies."""

    max_body_bytes: int

    def take(self, header: Mapping[str, Any], body: bytearray) -> bool:
        """A part of the answer; ``False`` when nobody wants more of them."""
        ...

    def finish(self, header: Mapping[str, Any], body: bytearray) -> Result:
        """The result, from the last message."""
        ...


class _Whole(Generic[Result]):
    """An answer in one message."""

    def __init__(self, max_body_bytes: int, read: Callable[[Mapping[str, Any], bytearray], Result]) -> None:
        self.max_body_bytes = max_body_bytes
        self._read = read

    def take(self, header: Mapping[str, Any], body: bytearray) -> bool:
        raise CorruptMedia(UNUSABLE)

    def finish(self, header: Mapping[str, Any], body: bytearray) -> Result:
        return _checked(lambda: self._read(header, body))


class ProbeAnswer(_Whole[MediaInfo]):
    """Facts from a header."""

    def __init__(self) -> None:
        super().__init__(0, lambda header, _: _info(header))


class LookAnswer(_Whole[LookedAt]):
    """Facts from a header and, of a picture, its pixels."""

    def __init__(self, limits: DecodeLimits, max_side: int) -> None:
        super().__init__(3 * min(limits.max_pixels, max_side * max_side), self._seen)
        self._max_side = max_side

    def _seen(self, header: Mapping[str, Any], body: bytearray) -> LookedAt:
        info = _info(header)
        is_picture = info.kind is MediaKind.IMAGE
        return LookedAt(info, _pixels(header["shape"], body, self._max_side) if is_picture else None)


class PictureAnswer(_Whole[DecodedImage]):
    """A still picture."""

    def __init__(self, limits: DecodeLimits, max_side: int | None) -> None:
        pixels = limits.max_pixels if max_side is None else min(limits.max_pixels, max_side * max_side)
        super().__init__(3 * pixels, self._picture)
        self._max_side = max_side

    def _picture(self, header: Mapping[str, Any], body: bytearray) -> DecodedImage:
        pixels = _pixels(header["shape"], body, self._max_side)
        return DecodedImage(pixels, _side(header["width"]), _side(header["height"]))


class SoundAnswer:
    """16-bit samples in parts, kept as they are until the end: half the memory of float32."""

    max_body_bytes = _SOUND_PART_BYTES

    def __init__(self, limits: DecodeLimits) -> None:
        seconds = max(limits.max_audio_seconds, limits.max_video_seconds) + 60
        self._samples_left = int(seconds * _SAMPLE_RATE)
        self._samples = bytearray()  # one for all: parts may be of a sample each

    def take(self, header: Mapping[str, Any], body: bytearray) -> bool:
        self._samples_left -= len(body) // 2
        if len(body) % 2 or self._samples_left < 0:
            raise CorruptMedia(UNUSABLE)
        self._samples += body
        return True

    def finish(self, header: Mapping[str, Any], body: bytearray) -> Sound:
        samples = np.frombuffer(self._samples, dtype="<i2")
        sound: Sound = np.divide(samples, np.float32(32768), dtype=np.float32)
        return sound


class FramesAnswer:
    """Frames handed over to an event loop one by one. At most ``_FRAMES_READY`` wait there to be taken.

    While they wait, the decoder process fills its pipe and then waits too. All such pauses of one job together
    last at most ``patience_seconds``; then the job ends and the consumer is told so by ``DecodeTimeout``.
    """

    def __init__(
        self,
        limits: DecodeLimits,
        sampling: FrameSampling,
        patience_seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.max_body_bytes = 3 * min(limits.max_pixels, sampling.max_side * sampling.max_side)
        self._frames_left = sampling.max_frames
        self._max_side = sampling.max_side
        self._patience_seconds = patience_seconds
        self._loop = loop
        self._items: asyncio.Queue[DecodedFrame | None] = asyncio.Queue()
        self._room = threading.Semaphore(_FRAMES_READY)
        self._closed = False

    async def get(self) -> DecodedFrame | None:
        """The next frame; ``None`` when there are no more: the job's future then has its end."""
        item = await self._items.get()
        self._room.release()
        return item

    def close(self) -> None:
        """The consumer wants no more."""
        self._closed = True
        self._room.release()

    def end(self) -> None:
        """No more frames will come, for whatever reason. Called from any thread."""
        self._hand_over(None)

    def take(self, header: Mapping[str, Any], body: bytearray) -> bool:
        frame = _checked(
            lambda: DecodedFrame(
                _not_negative(header["time"]),
                str(header["reason"])[:_MAX_REASON_LETTERS],
                _pixels(header["shape"], body, self._max_side),
            )
        )
        self._frames_left -= 1
        if self._frames_left < 0:
            raise CorruptMedia(UNUSABLE)
        began = time.monotonic()
        if not self._room.acquire(timeout=max(0.0, self._patience_seconds)):
            raise DecodeTimeout("The video's decoded frames were not taken in time; send the request again.")
        self._patience_seconds -= time.monotonic() - began
        return not self._closed and self._hand_over(frame)

    def finish(self, header: Mapping[str, Any], body: bytearray) -> VideoSummary:
        return _checked(
            lambda: VideoSummary(
                _not_negative(header["seconds"]),
                max(0, int(header["near_duplicates"])),
                _times(header.get("repeats", ())),
                _times(header.get("scene_changes", ())),
            )
        )

    def _hand_over(self, item: DecodedFrame | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the consumer's event loop is closed
            return False
        return True


Checked = TypeVar("Checked")


def _info(header: Mapping[str, Any]) -> MediaInfo:
    info = header["info"]
    kind = MediaKind(info["kind"])
    content_type = str(info["content_type"])
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError

    def told(name: str, read: Callable[[Any], Told]) -> Told | None:
        return None if info.get(name) is None else read(info[name])

    return MediaInfo(
        kind,
        content_type,
        told("width", _side),
        told("height", _side),
        told("duration_seconds", _not_negative),
        told("frames_per_second", _not_negative),
        has_audio=info.get("has_audio") is True,
        animated=info.get("animated") is True,
    )


def _checked(read: Callable[[], Checked]) -> Checked:
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise CorruptMedia(UNUSABLE) from None


def _not_negative(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError
    return number


def _times(values: Any) -> tuple[float, ...]:
    """Seconds in order."""
    if len(values) > _MOST_TIMES:
        raise ValueError
    return tuple(sorted(_not_negative(value) for value in values))


def _side(value: Any) -> int:
    """Pixels along a side of any picture there is."""
    side = int(value)
    if not 1 <= side <= _LONGEST_SIDE:
        raise ValueError
    return side


def _pixels(shape: Any, body: bytearray, max_side: int | None) -> Pixels:
    height, width, channels = shape
    height, width = _side(height), _side(width)
    if channels != 3 or (max_side is not None and max(height, width) > max_side):
        raise ValueError
    return np.frombuffer(body, dtype=np.uint8).reshape(height, width, channels)
