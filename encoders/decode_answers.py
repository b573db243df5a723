"""What decoder processes answer, checked: they have seen hostile bytes, so nothing they say is believed.

One class per task. ``take`` gets the parts of a streamed answer as they come, ``finish`` its last message; both
run in the thread that reads from the process.
"""

from __future__ import annotations

import asyncio
import math
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
    "Answer",
    "DecodedFrame",
    "DecodedImage",
    "FramesAnswer",
    "PictureAnswer",
    "ProbeAnswer",
    "SoundAnswer",
]

Result = TypeVar("Result", covariant=True)

_SAMPLE_RATE = 16_000
_SOUND_PART_BYTES = 1 << 20
_FRAMES_READY = 2
_MAX_REASON_LETTERS = 128
_UNUSABLE = "The medium is damaged: its decoder gave no usable answer."


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """RGB pixels ``(height, width, 3)``, perhaps shrunk, and the full upright size."""

    pixels: Pixels
    width: int
    height: int


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
        raise CorruptMedia(_UNUSABLE)

    def finish(self, header: Mapping[str, Any], body: bytearray) -> Result:
        return _checked(lambda: self._read(header, body))


class ProbeAnswer(_Whole[MediaInfo]):
    """Facts from a header."""

    def __init__(self) -> None:
        super().__init__(0, self._info)

    @staticmethod
    def _info(header: Mapping[str, Any], _: bytearray) -> MediaInfo:
        info = dict(header["info"])
        return MediaInfo(MediaKind(info.pop("kind")), **info)


class PictureAnswer(_Whole[DecodedImage]):
    """A still picture."""

    def __init__(self, limits: DecodeLimits, max_side: int | None) -> None:
        pixels = limits.max_pixels if max_side is None else min(limits.max_pixels, max_side * max_side)
        super().__init__(3 * pixels, self._picture)

    @staticmethod
    def _picture(header: Mapping[str, Any], body: bytearray) -> DecodedImage:
        return DecodedImage(_pixels(header["shape"], body), int(header["width"]), int(header["height"]))


class SoundAnswer:
    """16-bit samples in parts, kept as they are until the end: half the memory of float32."""

    max_body_bytes = _SOUND_PART_BYTES

    def __init__(self, limits: DecodeLimits) -> None:
        seconds = max(limits.max_audio_seconds, limits.max_video_seconds) + 60
        self._samples_left = int(seconds * _SAMPLE_RATE)
        self._parts: list[bytearray] = []

    def take(self, header: Mapping[str, Any], body: bytearray) -> bool:
        self._samples_left -= len(body) // 2
        if len(body) % 2 or self._samples_left < 0:
            raise CorruptMedia(_UNUSABLE)
        self._parts.append(body)
        return True

    def finish(self, header: Mapping[str, Any], body: bytearray) -> Sound:
        sound = np.empty(sum(len(part) for part in self._parts) // 2, dtype=np.float32)
        at = 0
        for part in self._parts:
            samples = np.frombuffer(part, dtype="<i2")
            np.divide(samples, np.float32(32768), out=sound[at : at + len(samples)], casting="unsafe")
            at += len(samples)
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
                _finite(header["time"]),
                str(header["reason"])[:_MAX_REASON_LETTERS],
                _pixels(header["shape"], body),
            )
        )
        self._frames_left -= 1
        if self._frames_left < 0:
            raise CorruptMedia(_UNUSABLE)
        began = time.monotonic()
        if not self._room.acquire(timeout=max(0.0, self._patience_seconds)):
            raise DecodeTimeout("The video's decoded frames were not taken in time; send the request again.")
        self._patience_seconds -= time.monotonic() - began
        return not self._closed and self._hand_over(frame)

    def finish(self, header: Mapping[str, Any], body: bytearray) -> VideoSummary:
        return _checked(
            lambda: VideoSummary(_finite(header["seconds"]), max(0, int(header["near_duplicates"])))
        )

    def _hand_over(self, item: DecodedFrame | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the consumer's event loop is closed
            return False
        return True


Checked = TypeVar("Checked")


def _checked(read: Callable[[], Checked]) -> Checked:
    try:
        return read()
    except (KeyError, TypeError, ValueError, OverflowError):
        raise CorruptMedia(_UNUSABLE) from None


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _pixels(shape: Any, body: bytearray) -> Pixels:
    height, width, channels = (int(side) for side in shape)
    if height < 1 or width < 1 or channels != 3:
        raise ValueError
    return np.frombuffer(body, dtype=np.uint8).reshape(height, width, channels)
