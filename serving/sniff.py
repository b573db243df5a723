"""What media bytes are, told from their first bytes; names and declared types are never believed."""

from __future__ import annotations

from dataclasses import dataclass

import filetype

from encoders.types import MediaKind

__all__ = ["SNIFF_BYTES", "SniffedType", "sniff"]

SNIFF_BYTES = 8192
"""How many leading bytes ``sniff`` wants to see."""

# Containers that hold sound alone or sound and pictures: only the decoder's probe can tell which kind they
# are.
_SOUND_OR_VIDEO = frozenset(
    {
        "video/mp4",
        "video/webm",
        "video/x-matroska",
        "video/quicktime",
        "audio/mp4",
        "audio/x-m4a",
        "audio/ogg",
    }
    | {"application/ogg", "video/x-m4v", "video/mpeg", "video/x-ms-asf", "video/3gpp", "video/ogg"}
)


@dataclass(frozen=True, slots=True)
class SniffedType:
    """A content type and the kinds it may turn out to be once probed; no kinds means that it is no medium."""

    content_type: str
    kinds: frozenset[MediaKind]
    description: str


def sniff(head: bytes) -> SniffedType:
    """Tell the type of bytes from their beginning (up to ``SNIFF_BYTES``)."""
    if not head:
        return SniffedType("application/x-empty", frozenset(), "an empty file")
    content_type = _ours(head)
    if content_type is None:
        guess = filetype.guess(head)
        content_type = guess.mime if guess is not None else None
    if content_type is None:
        if _looks_like_text(head):
            return SniffedType("text/plain", frozenset(), "a text file")
        # The decoder knows more formats than we do; it has the last word.
        return SniffedType("application/octet-stream", frozenset(MediaKind), "of no known type")
    family = content_type.split("/", 1)[0]
    if content_type in _SOUND_OR_VIDEO:
        kinds = frozenset({MediaKind.AUDIO, MediaKind.VIDEO})
    elif family in ("image", "audio", "video"):
        kinds = frozenset({MediaKind(family)})
    else:
        kinds = frozenset()
    return SniffedType(content_type, kinds, f"of type {content_type}")


def _ours(head: bytes) -> str | None:
    """Types that the ``filetype`` library misses or names too narrowly."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:4] == b"OggS":
        return "application/ogg"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"hevx"):
            return "image/heic"
        if brand in (b"qt  ",):
            return "video/quicktime"
        return "audio/mp4" if brand in (b"M4A ", b"M4B ") else "video/mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if head[:4] == b"fLaC":
        return "audio/flac"
    if head[:3] == b"ID3":
        return "audio/mpeg"
    # ADTS (layer 0) and MPEG audio frames (layers II and III) begin with set bits. Layer I is left out: its
    # first bytes are those of UTF-16 text.
    if len(head) > 1 and head[0] == 0xFF:
        if head[1] & 0xF6 == 0xF0:
            return "audio/aac"
        if head[1] & 0xE6 in (0xE2, 0xE4):
            return "audio/mpeg"
    return None


def _looks_like_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return True
