"""Sound written as files of OpenAI's formats while it is being made, by FFmpeg's encoders (PyAV)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from encoders.types import Vector

__all__ = ["FORMS", "SoundForm", "SoundWriter", "sound_writer"]


@dataclass(frozen=True, slots=True)
class SoundForm:
    """A format: its content type, and FFmpeg's names for container and codec (none for bare samples)."""

    content_type: str
    container: str | None = None
    codec: str | None = None
    bits_per_second: int | None = None
    options: tuple[tuple[str, str], ...] = ()


FORMS = {
    # Without the frame that says how long the file is: that is not known before the end.
    "mp3": SoundForm(
        "audio/mpeg", "mp3", "libmp3lame", 96_000, (("write_xing", "0"), ("id3v2_version", "0"))
    ),
    "opus": SoundForm("audio/opus", "ogg", "libopus", 48_000, (("page_duration", "200000"),)),
    "aac": SoundForm("audio/aac", "adts", "aac", 96_000),
    "flac": SoundForm("audio/flac", "flac", "flac"),
    "wav": SoundForm("audio/wav"),
    "pcm": SoundForm("audio/pcm"),  # 16 bits, little-endian, mono, without a header
}
"""The formats by OpenAI's names."""

_UNKNOWN_LENGTH = 0xFFFFFFFF  # what OpenAI writes, too: players read to the end


class SoundWriter(Protocol):
    """Mono float32 samples in, bytes of a file out. Call it from one thread at a time."""

    def write(self, samples: Vector) -> bytes:
        """The bytes that are ready by now; may be empty."""
        ...

    def end(self) -> bytes:
        """The last bytes. Nothing can be written any more."""
        ...

    def close(self) -> None:
        """Let everything go. May be called more than once, and instead of ``end``."""
        ...


def sound_writer(form: str, sample_rate: int) -> SoundWriter:
    """A writer of one of ``FORMS``."""
    wanted = FORMS[form]
    if wanted.codec is None:
        return _BareWriter(_wave_header(sample_rate) if form == "wav" else b"")
    return _EncodingWriter(wanted, sample_rate)


class _BareWriter:
    def __init__(self, header: bytes) -> None:
        self._header = header

    def write(self, samples: Vector) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(_sixteen_bits(samples).data)

    def end(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def close(self) -> None:
        """There is nothing to let go."""


class _Sink:
    """What FFmpeg writes to: it cannot seek, as a connection cannot."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        written, self._written = bytes(self._written), bytearray()
        return written


class _EncodingWriter:
    def __init__(self, form: SoundForm, sample_rate: int) -> None:
        import av

        self._sink = _Sink()
        self._container: Any = av.open(
            self._sink, "w", format=form.container, container_options=dict(form.options)
        )
        self._stream: Any = self._container.add_stream(form.codec, rate=sample_rate, layout="mono")
        if form.bits_per_second is not None:
            self._stream.bit_rate = form.bits_per_second
        self._frame = av.AudioFrame.from_ndarray
        self._sample_rate = sample_rate
        self._written = 0

    def write(self, samples: Vector) -> bytes:
        if len(samples):
            frame = self._frame(_sixteen_bits(samples)[None], format="s16", layout="mono")
            frame.sample_rate = self._sample_rate
            frame.pts = self._written
            self._written += len(samples)
            self._container.mux(self._stream.encode(frame))
        return self._sink.taken()

    def end(self) -> bytes:
        if self._written:
            self._container.mux(self._stream.encode(None))
        self.close()
        return self._sink.taken()

    def close(self) -> None:
        self._container.close()


def _sixteen_bits(samples: Vector) -> Any:
    return (np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2")


def _wave_header(sample_rate: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", _UNKNOWN_LENGTH, b"WAVE",
        b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16,
        b"data", _UNKNOWN_LENGTH,
    )  # fmt: skip
