"""Facts about a medium from its header, held against the limits."""

from __future__ import annotations

from typing import BinaryIO

from encoders.config import DecodeLimits
from encoders.decoding.frame_times import frame_seconds
from encoders.decoding.image import image_size
from encoders.decoding.sniff import Sniffed, sniff_file
from encoders.decoding.stream import check_seconds, media_kind, open_container, seconds_of, track
from encoders.decoding.video import displayed_size
from encoders.types import MediaInfo, MediaKind

__all__ = ["probe"]


def probe(file: BinaryIO, limits: DecodeLimits) -> MediaInfo:
    """What the medium is. A video's first frame is decoded too, as only frames tell how it is turned.

    An animation's length is given, but not held against a limit: as a picture it has its first frame.
    """
    sniffed = sniff_file(file)
    if sniffed.decoder == "image":
        return _image(file, sniffed, limits)
    with open_container(file, sniffed) as container:
        kind = media_kind(container)
        stream = track(container, kind, limits)
        seconds = seconds_of(container, stream)
        check_seconds(kind, seconds, limits)
        if kind is MediaKind.AUDIO:
            return MediaInfo(kind, f"audio/{sniffed.subtype}", duration_seconds=seconds, has_audio=True)
        width, height = displayed_size(container, stream)
        rate = stream.average_rate
        return MediaInfo(
            kind,
            f"video/{sniffed.subtype}",
            width,
            height,
            seconds,
            float(rate) if rate else None,
            has_audio=bool(container.streams.audio),
        )


def _image(file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> MediaInfo:
    width, height = image_size(file, sniffed, limits)
    content_type = f"image/{sniffed.subtype}"
    lengths = frame_seconds(file, sniffed)
    if len(lengths) < 2:
        return MediaInfo(MediaKind.IMAGE, content_type, width, height)
    seconds = sum(lengths)
    return MediaInfo(
        MediaKind.IMAGE,
        content_type,
        width,
        height,
        seconds,
        len(lengths) / seconds,
        animated=True,
    )
