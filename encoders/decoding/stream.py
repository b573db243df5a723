"""Containers with tracks of sound and pictures: opened through PyAV from bytes, held against the limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import av.error
import av.logging
from av.stream import Disposition

from encoders.config import DecodeLimits
from encoders.decoding.sniff import Sniffed
from encoders.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia
from encoders.types import MediaKind

__all__ = [
    "check_seconds",
    "late_seconds",
    "media_kind",
    "open_container",
    "seconds_of",
    "start_seconds",
    "track",
]

av.logging.set_level(None)

# fmt: off
_VIDEO_CODECS = frozenset({
    "h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mpeg1video", "mpeg2video",
    "mpeg4", "mjpeg", "png", "prores", "theora", "h263", "msmpeg4v3", "dvvideo", "ffv1", "rawvideo",
})
_AUDIO_CODECS = frozenset({
    "aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "libvorbis", "flac", "alac",
    "ac3", "eac3", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "gsm", "gsm_ms",
})
# fmt: on

# Each holds a frame or two of memory.
_MAX_THREADS = 4

_ENCODER_DELAY_SECONDS = 0.02

# No track may name a file to open (the closed sandbox would refuse it too).
_OPTIONS = {"enable_drefs": "0", "use_absolute_path": "0", "protocol_whitelist": ""}


@contextmanager
def open_container(file: BinaryIO, sniffed: Sniffed) -> Iterator[Any]:
    """The container in a seekable binary file, read from its beginning. The file stays open afterwards.

    FFmpeg's errors inside the block become ``CorruptMedia``.
    """
    file.seek(0)
    try:
        with av.open(
            file,
            mode="r",
            format=sniffed.format,
            container_options=_OPTIONS,
            metadata_errors="replace",
        ) as container:
            yield container
    except av.error.DecoderNotFoundError:
        raise _unsupported_codec("?") from None
    except (av.error.FFmpegError, EOFError):
        raise CorruptMedia(
            f"The {sniffed.subtype.removeprefix('x-').upper()} file is damaged or incomplete "
            "and cannot be decoded."
        ) from None


def _unsupported_codec(name: str) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"The medium uses a codec ({name}) that is not read here; convert it, for example to H.264 with AAC."
    )


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def media_kind(container: Any) -> MediaKind:
    """Video when a track shows moving pictures; sound with cover art is audio."""
    if any(not _is_cover(stream) for stream in container.streams.video):
        return MediaKind.VIDEO
    if container.streams.audio:
        return MediaKind.AUDIO
    raise CorruptMedia("The medium has no track of pictures or sound.")


def track(container: Any, kind: MediaKind, limits: DecodeLimits) -> Any:
    """The first track of that kind, its codec, channels and size held against lists and limits."""
    if kind is MediaKind.VIDEO:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    else:
        streams = list(container.streams.audio)
    if not streams:
        missing = "pictures" if kind is MediaKind.VIDEO else "sound"
        raise UnsupportedMedia(f"The medium has no {missing}, so there is nothing to decode.")
    stream = streams[0]
    context = stream.codec_context
    name = context.name if context is not None else "?"
    allowed = (
        name in _VIDEO_CODECS if kind is MediaKind.VIDEO else name in _AUDIO_CODECS or name[:4] == "pcm_"
    )
    if not allowed:
        raise _unsupported_codec(name[:32])
    if kind is MediaKind.VIDEO:
        pixels = context.width * context.height
        if pixels > limits.max_pixels:
            raise MediaTooLarge(
                f"The video is {context.width}x{context.height} = {pixels / 1e6:.1f} megapixels a frame; "
                f"at most {limits.max_pixels / 1e6:.1f} megapixels are accepted."
            )
        context.options = {"max_pixels": str(limits.max_pixels)}
        context.thread_type = "AUTO"  # by frames too; PyAV's default, slices alone, rarely helps
        context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
    elif context.channels > limits.max_audio_channels:
        raise MediaTooLarge(
            f"The sound has {context.channels} channels; at most {limits.max_audio_channels} are accepted."
        )
    return stream


def start_seconds(container: Any, stream: Any) -> float:
    """Presentation time of the medium's beginning; all times given out count from here."""
    if container.start_time is not None:
        return float(container.start_time / av.time_base)
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0


def late_seconds(container: Any, stream: Any) -> float:
    """How long after the medium's beginning a track sets in; 0 when at once, or but for an encoder's delay."""
    if stream.start_time is None:
        return 0.0
    late = float(stream.start_time * stream.time_base) - start_seconds(container, stream)
    return late if late > _ENCODER_DELAY_SECONDS else 0.0


def seconds_of(container: Any, stream: Any) -> float | None:
    """Declared time from the medium's beginning to the track's end, ``None`` when the header has none."""
    if stream.duration is not None and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base) + late_seconds(container, stream)
    if container.duration is not None and container.duration > 0:
        return float(container.duration / av.time_base)
    return None


def check_seconds(kind: MediaKind, seconds: float | None, limits: DecodeLimits) -> None:
    """Raise ``MediaTooLarge`` when a length is over the limit of its kind."""
    limit = limits.max_video_seconds if kind is MediaKind.VIDEO else limits.max_audio_seconds
    if seconds is not None and seconds > limit:
        raise MediaTooLarge(
            f"The {kind.value} is {seconds:.1f} seconds long; at most {limit:.0f} seconds are accepted. "
            "Cut it into shorter parts."
        )
