"""Sound to mono 16 kHz 16-bit samples, from audio files and from videos' sound tracks, piece by piece.

Channels are mixed by FFmpeg's resampler with the standard coefficients (ITU-R BS.775: centre and surrounds
at -3 dB, no subwoofer), scaled so that nothing clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from encoders.config import DecodeLimits
from encoders.decoding.sniff import Sniffed
from encoders.decoding.stream import (
    check_seconds,
    late_seconds,
    media_kind,
    open_container,
    seconds_of,
    track,
)
from encoders.errors import CorruptMedia
from encoders.types import MediaKind

__all__ = ["SAMPLE_RATE", "decode_audio"]

SAMPLE_RATE = 16_000

_PIECE_SAMPLES = 4 * SAMPLE_RATE

# A sound track may last a little longer than its pictures, and a file a little longer than its header says.
_SLACK_SECONDS = 1.0

# Their times of frames can be believed; other formats have none, or FFmpeg counts them itself.
_TIMED_FORMATS = frozenset({"mp4", "matroska"})
_LEAST_GAP_SECONDS = 0.1


def decode_audio(file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> Iterator[NDArray[np.int16]]:
    """The samples in pieces ``(n,)`` of some seconds; time 0 is the medium's beginning, also when a video's
    sound sets in later. Where a recording pauses there is silence, so that what follows has its right time.

    Damaged packets are left out; ``CorruptMedia`` only when nothing can be decoded. ``MediaTooLarge`` may come
    after some pieces, when a header was silent or lied about the length.
    """
    with open_container(file, sniffed) as container:
        kind = media_kind(container)
        stream = track(container, MediaKind.AUDIO, limits)
        seconds = seconds_of(container, stream)
        limit_seconds = limits.max_video_seconds if kind is MediaKind.VIDEO else limits.max_audio_seconds
        if kind is MediaKind.AUDIO or (seconds or 0.0) > limit_seconds + _SLACK_SECONDS:
            check_seconds(kind, seconds, limits)
        mono = _Mono(kind, limits, int((limit_seconds + _SLACK_SECONDS) * SAMPLE_RATE))
        late = late_seconds(container, stream)
        if late < limit_seconds:
            yield from mono.silence(late)
        gaps = _Gaps(seconds or limit_seconds) if sniffed.format in _TIMED_FORMATS else None
        heard = False
        for frame in _frames(container, stream):
            if gaps is not None:
                yield from mono.silence(gaps.before(frame))
            yield from mono.add(frame)
            heard = True
        if not heard:
            raise CorruptMedia("The medium's sound is damaged: nothing of it can be decoded.")
        yield from mono.finish()


def _frames(container: Any, stream: Any) -> Iterator[AudioFrame]:
    """Frames that decode; a damaged packet costs its own stretch and no more."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # the container breaks off here
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


class _Gaps:
    """Pauses between frames: recorders send nothing while nobody speaks, and packets get lost."""

    def __init__(self, most_seconds: float) -> None:
        """``most_seconds``: how long the sound is. A time beyond is damage, no pause."""
        self._most = most_seconds + _SLACK_SECONDS
        self._first = self._next = 0.0
        self._any = False

    def before(self, frame: AudioFrame) -> float:
        """Seconds of the pause that ends with this frame."""
        length = frame.samples / frame.sample_rate if frame.sample_rate else 0.0
        time = frame.time
        if time is None:
            self._next += length
            return 0.0
        if not self._any:
            self._first = self._next = time
            self._any = True
        gap = time - self._next
        if not (gap > _LEAST_GAP_SECONDS and time + length - self._first <= self._most):
            gap = 0.0
        self._next += gap + length
        return gap


class _Mono:
    """Resamples frames as they come and gives full pieces."""

    def __init__(self, kind: MediaKind, limits: DecodeLimits, max_samples: int) -> None:
        self._kind, self._limits, self._max_samples = kind, limits, max_samples
        self._resampler: AudioResampler | None = None
        self._setup: tuple[object, ...] = ()
        self._waiting = bytearray()
        self._given = 0

    def silence(self, seconds: float) -> Iterator[NDArray[np.int16]]:
        count = round(seconds * SAMPLE_RATE)
        while count > 0:
            part = min(count, _PIECE_SAMPLES)
            self._waiting += bytes(2 * part)
            count -= part
            yield from self._pieces()

    def add(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if setup != self._setup:  # chained Ogg and broken streams change in the middle
            self._take(None)
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            self._setup = setup
        frame.pts = None  # sample counting is more trustworthy than the stamps of damaged files
        self._take(frame)
        yield from self._pieces()

    def finish(self) -> Iterator[NDArray[np.int16]]:
        self._take(None)
        yield from self._pieces(least=1)

    def _take(self, frame: AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame) if self._resampler is not None else ():
            self._waiting += bytes(resampled.planes[0])[: 2 * resampled.samples]

    def _pieces(self, least: int = _PIECE_SAMPLES) -> Iterator[NDArray[np.int16]]:
        while len(self._waiting) >= 2 * least:
            piece = np.frombuffer(bytes(self._waiting[: 2 * _PIECE_SAMPLES]), dtype="<i2")
            del self._waiting[: 2 * _PIECE_SAMPLES]
            self._given += len(piece)
            if self._given > self._max_samples:
                check_seconds(self._kind, self._given / SAMPLE_RATE, self._limits)
            yield piece
