"""What bytes are, from the bytes alone. Names and declared types are never believed.

Only what is listed here is ever handed to a decoder, under the one format named here: a library left to
guess for itself may decide on a playlist or a script that opens other files.

The gateway imports this too, so nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from encoders.errors import CorruptMedia, UnsupportedMedia
from encoders.types import MediaKind

__all__ = ["SNIFF_BYTES", "Sniffed", "sniff", "sniff_file"]

SNIFF_BYTES = 8192
"""How many leading bytes tell the type. Only sound behind a longer ID3 tag needs more: it passes for MP3."""

_ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
_SOUND_ONLY = frozenset({"wav", "flac", "mp3", "aac", "aiff"})


@dataclass(frozen=True, slots=True)
class Sniffed:
    """``decoder`` is ``image`` or ``stream``, ``format`` Pillow's or FFmpeg's name, ``subtype`` MIME's.

    For streams the MIME type's first half (audio or video) is known only after a look at the tracks.
    """

    decoder: str
    format: str
    subtype: str

    @property
    def kinds(self) -> frozenset[MediaKind]:
        """What the bytes may turn out to be once probed: containers hold sound alone or pictures too, and an
        animated picture can be looked at as a video.
        """
        if self.decoder == "image":
            may_move = self.format in _ANIMATED
            return frozenset({MediaKind.IMAGE, MediaKind.VIDEO} if may_move else {MediaKind.IMAGE})
        if self.format in _SOUND_ONLY:
            return frozenset({MediaKind.AUDIO})
        return frozenset({MediaKind.AUDIO, MediaKind.VIDEO})

    @property
    def content_type(self) -> str:
        """The MIME type, of a container that may hold sound or pictures the likelier one."""
        if self.decoder == "image":
            return f"image/{self.subtype}"
        return f"{'audio' if self.format in _SOUND_ONLY | {'ogg'} else 'video'}/{self.subtype}"


_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_MOV_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

# (offset, magic bytes, what it is)
_SIGNATURES: tuple[tuple[int, bytes, Sniffed], ...] = (
    (0, b"\xff\xd8\xff", Sniffed("image", "JPEG", "jpeg")),
    (0, b"\x89PNG\r\n\x1a\n", Sniffed("image", "PNG", "png")),
    (0, b"GIF87a", Sniffed("image", "GIF", "gif")),
    (0, b"GIF89a", Sniffed("image", "GIF", "gif")),
    (0, b"II*\x00", Sniffed("image", "TIFF", "tiff")),
    (0, b"MM\x00*", Sniffed("image", "TIFF", "tiff")),
    (0, b"II+\x00", Sniffed("image", "TIFF", "tiff")),
    (0, b"MM\x00+", Sniffed("image", "TIFF", "tiff")),
    (0, b"fLaC", Sniffed("stream", "flac", "flac")),
    (0, b"OggS", Sniffed("stream", "ogg", "ogg")),
)
_RIFF = {
    b"WEBP": Sniffed("image", "WEBP", "webp"),
    b"WAVE": Sniffed("stream", "wav", "wav"),
    b"AVI ": Sniffed("stream", "avi", "x-msvideo"),
}


def sniff(data: bytes) -> Sniffed:
    """Tell the type. Raises ``CorruptMedia`` for no bytes, ``UnsupportedMedia`` for anything not listed."""
    if not data:
        raise CorruptMedia("The medium is empty: it has 0 bytes.")
    for offset, magic, found in _SIGNATURES:
        if data[offset : offset + len(magic)] == magic:
            return found
    behind = _id3_bytes(data)
    if behind is not None:  # before all that lies further in: what a tag holds is no other type
        return _behind_id3(data[behind : behind + 4])
    found_here = (
        _riff_or_form(data) or _isobmff(data) or _matroska(data) or _bitmap(data) or _mpeg_audio(data)
    )
    if found_here is None:
        raise UnsupportedMedia(
            "The bytes are not of a type that is read here. "
            "Images: JPEG, PNG, WebP, GIF, AVIF, HEIC, TIFF, BMP. "
            "Sound: FLAC, MP3, M4A, AAC, OGG, Opus, WAV, AIFF, WebM. Video: MP4, MOV, WebM, MKV, AVI."
        )
    return found_here


def sniff_file(file: BinaryIO) -> Sniffed:
    """``sniff`` of a seekable file, also of sound behind an ID3 tag of any length. Moves its position."""
    file.seek(0)
    head = file.read(SNIFF_BYTES)
    behind = _id3_bytes(head)
    if behind is None or behind + 4 <= len(head):
        return sniff(head)
    file.seek(behind)
    return _behind_id3(file.read(4))


def _riff_or_form(data: bytes) -> Sniffed | None:
    if data[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(data[8:12])
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("stream", "aiff", "aiff")
    return None


def _isobmff(data: bytes) -> Sniffed | None:
    """MP4, MOV, HEIC, AVIF: one box structure, told apart by brands."""
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 512)
        major = data[8:12]
        brands = {major} | {data[at : at + 4] for at in range(16, size, 4)}
        if major in _AVIF_BRANDS or (major in (b"mif1", b"msf1") and brands & _AVIF_BRANDS):
            return Sniffed("image", "AVIF", "avif")
        if major in _HEIF_BRANDS or major in (b"mif1", b"msf1"):
            return Sniffed("image", "HEIF", "heic")
        return Sniffed("stream", "mp4", "quicktime" if major == b"qt  " else "mp4")
    # QuickTime files older than ftyp begin with one of these.
    return Sniffed("stream", "mp4", "quicktime") if data[4:8] in _MOV_ATOMS else None


def _matroska(data: bytes) -> Sniffed | None:
    if data[:4] != b"\x1aE\xdf\xa3":
        return None
    return Sniffed("stream", "matroska", "webm" if b"webm" in data[:64] else "x-matroska")


def _bitmap(data: bytes) -> Sniffed | None:
    """BMP's two letters alone are too little; its header size must be one of the known ones too."""
    known = int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)
    return Sniffed("image", "BMP", "bmp") if data[:2] == b"BM" and known else None


def _mpeg_audio(data: bytes) -> Sniffed | None:
    """MP3 and AAC have no magic, only a sync word whose reserved bit patterns must not occur."""
    if _is_adts(data[:2]):
        return Sniffed("stream", "aac", "aac")
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    # Layer I is left out: its sync word is the byte-order mark of UTF-16 text.
    good = version != 1 and layer in (1, 2) and data[2] >> 4 not in (0, 15) and data[2] >> 2 & 3 != 3
    return Sniffed("stream", "mp3", "mpeg") if good else None


def _id3_bytes(data: bytes) -> int | None:
    """Length of the ID3 tag that the bytes begin with, ``None`` without one."""
    if data[:3] != b"ID3" or len(data) <= 10:
        return None
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))


def _behind_id3(start: bytes) -> Sniffed:
    if start == b"fLaC":
        return Sniffed("stream", "flac", "flac")
    return Sniffed("stream", "aac", "aac") if _is_adts(start[:2]) else Sniffed("stream", "mp3", "mpeg")


def _is_adts(head: bytes) -> bool:
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
