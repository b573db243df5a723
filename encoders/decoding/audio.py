"""Sound to mono 16 kHz float32 samples, from audio files and from videos' sound tracks."""

from __future__ import annotations

from typing import Any

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
    media_kind,
    open_container,
    seconds_of,
    start_seconds,
    track,
)
from encoders.errors import CorruptMedia
from encoders.types import MediaKind

__all__ = ["SAMPLE_RATE", "decode_audio"]

SAMPLE_RATE = 16_000


def decode_audio(data: bytes, sniffed: Sniffed, limits: DecodeLimits) -> NDArray[np.float32]:
    """Samples ``(n,)`` in [-1, 1]; time 0 is the medium's beginning, also when a video's sound sets in later.

    Damaged packets are left out; ``CorruptMedia`` only when nothing can be decoded.
    """
    with open_container(data, sniffed) as container:
        kind = media_kind(container)
        stream = track(container, MediaKind.AUDIO, limits)
        check_seconds(kind, seconds_of(container, stream), limits)
        limit_seconds = limits.max_video_seconds if kind is MediaKind.VIDEO else limits.max_audio_seconds
        collected = _Collector(kind, limits, int((limit_seconds + 1) * SAMPLE_RATE))
        if kind is MediaKind.VIDEO and stream.start_time is not None:
            late = float(stream.start_time * stream.time_base) - start_seconds(container, stream)
            if 0.02 < late < limit_seconds:
                collected.silence(round(late * SAMPLE_RATE))
        heard = False
        for frame in _frames(container, stream):
            collected.add(frame)
            heard = True
        if not heard:
            raise CorruptMedia("The medium's sound is damaged: nothing of it can be decoded.")
        return collected.finish()


def _frames(container: Any, stream: Any) -> Any:
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


class _Collector:
    """Resamples frames as they come and keeps 16-bit samples: half the memory of float32 while it grows."""

    def __init__(self, kind: MediaKind, limits: DecodeLimits, max_samples: int) -> None:
        self._kind, self._limits, self._max_samples = kind, limits, max_samples
        self._resampler: AudioResampler | None = None
        self._setup: tuple[object, ...] = ()
        self._samples = bytearray()

    def silence(self, count: int) -> None:
        self._samples += bytes(2 * count)

    def add(self, frame: AudioFrame) -> None:
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if setup != self._setup:  # chained Ogg and broken streams change in the middle
            self._flush()
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            self._setup = setup
        frame.pts = None  # sample counting is more trustworthy than the stamps of damaged files
        self._take(frame)

    def finish(self) -> NDArray[np.float32]:
        self._flush()
        samples = np.frombuffer(self._samples, dtype="<i2").astype(np.float32)
        samples /= 32768.0
        return samples

    def _flush(self) -> None:
        self._take(None)

    def _take(self, frame: AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame) if self._resampler is not None else ():
            self._samples += bytes(resampled.planes[0])[: 2 * resampled.samples]
        if len(self._samples) > 2 * self._max_samples:
            check_seconds(self._kind, len(self._samples) / 2 / SAMPLE_RATE, self._limits)
