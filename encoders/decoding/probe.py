"""Facts about a medium from its header, held against the limits."""

from __future__ import annotations

from encoders.config import DecodeLimits
from encoders.decoding.image import image_size
from encoders.decoding.sniff import sniff
from encoders.decoding.stream import check_seconds, media_kind, open_container, seconds_of, track
from encoders.decoding.video import displayed_size
from encoders.types import MediaInfo, MediaKind

__all__ = ["probe"]


def probe(data: bytes, limits: DecodeLimits) -> MediaInfo:
    """What the bytes are. A video's first frame is decoded too, as only frames tell how it is turned."""
    sniffed = sniff(data)
    if sniffed.decoder == "image":
        width, height = image_size(data, sniffed, limits)
        return MediaInfo(MediaKind.IMAGE, f"image/{sniffed.subtype}", width, height)
    with open_container(data, sniffed) as container:
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
