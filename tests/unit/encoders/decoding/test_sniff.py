"""Types are told from bytes; what is not listed never reaches a decoder."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.decoding.sniff import SNIFF_BYTES, sniff
from encoders.errors import CorruptMedia, UnsupportedMedia
from encoders.types import MediaKind

FTYP = b"\x00\x00\x00\x18ftyp"


@pytest.mark.parametrize(
    ("head", "format_", "subtype"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav", "wav"),
        (b"RIFF\0\0\0\0AVI LIST", "avi", "x-msvideo"),
        (FTYP + b"isom\0\0\0\0avc1mp41", "mp4", "mp4"),
        (FTYP + b"qt  \0\0\0\0qt  \0\0\0\0", "mp4", "quicktime"),
        (FTYP + b"avif\0\0\0\0mif1miaf", "AVIF", "avif"),
        (FTYP + b"mif1\0\0\0\0avifmiaf", "AVIF", "avif"),
        (FTYP + b"mif1\0\0\0\0heicmiaf", "HEIF", "heic"),
        (b"\x00\x00\x00\x08wide\0\0\0\0mdat", "mp4", "quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x82\x84webm", "matroska", "webm"),
        (b"\x1aE\xdf\xa3\x9fB\x82\x88matroska", "matroska", "x-matroska"),
        (b"\xff\xfb\x90\x64", "mp3", "mpeg"),
        (b"\xff\xf1\x50\x80", "aac", "aac"),
        (b"ID3\x04\0\0\0\0\0\x02\0\0fLaC", "flac", "flac"),
        (b"ID3\x04\0\0\0\0\0\x02\0\0\xff\xf1", "aac", "aac"),
        (b"FORM\0\0\0\0AIFFCOMM", "aiff", "aiff"),
    ],
)
def test_known_types(head: bytes, format_: str, subtype: str) -> None:
    found = sniff(head + bytes(32))
    assert (found.format, found.subtype) == (format_, subtype)


@pytest.mark.parametrize(
    "data",
    [
        b"just a text file\n",
        "UTF-16 text".encode("utf-16"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"BM is how this sentence begins",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"%!PS-Adobe-3.0 EPSF-3.0",
    ],
)
def test_everything_else_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="Images: JPEG"):
        sniff(data)


def test_no_bytes() -> None:
    with pytest.raises(CorruptMedia, match="empty"):
        sniff(b"")


@given(st.binary(min_size=1, max_size=64))
def test_any_bytes_are_told_or_refused(data: bytes) -> None:
    with contextlib.suppress(UnsupportedMedia):
        assert sniff(data).decoder in ("image", "stream")


IMAGE, AUDIO, VIDEO = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO


@pytest.mark.parametrize(
    ("head", "content_type", "kinds"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg", {IMAGE}),
        *((FTYP + brand, "image/heic", {IMAGE}) for brand in (b"heic", b"heim", b"heis", b"hevm", b"hevs")),
        (FTYP + b"avif", "image/avif", {IMAGE, VIDEO}),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", {AUDIO}),
        (b"fLaC", "audio/flac", {AUDIO}),
        (b"ID3\x03", "audio/mpeg", {AUDIO}),
        (b"\xff\xf1\x50\x80", "audio/aac", {AUDIO}),
        (b"FORM\0\0\0\0AIFF", "audio/aiff", {AUDIO}),
        (b"OggS\0", "audio/ogg", {AUDIO, VIDEO}),
        (FTYP + b"isom", "video/mp4", {AUDIO, VIDEO}),
        (b"\x1aE\xdf\xa3\x01\0webm", "video/webm", {AUDIO, VIDEO}),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo", {AUDIO, VIDEO}),
    ],
)
def test_what_the_gateway_makes_of_it(head: bytes, content_type: str, kinds: set[MediaKind]) -> None:
    found = sniff(head + bytes(32))
    assert (found.content_type, found.kinds) == (content_type, kinds)


def test_the_beginning_of_real_files_is_enough(shared_data: Path) -> None:
    checked = 0
    for pattern, kind in (
        ("speech/**/*.mp3", AUDIO),
        ("speech/**/*.flac", AUDIO),
        ("photos/**/*.jpg", IMAGE),
        ("video/**/*.mp4", VIDEO),
    ):
        for path in sorted(shared_data.glob(pattern))[:20]:
            data = path.read_bytes()
            assert kind in sniff(data[:SNIFF_BYTES]).kinds, path.name
            assert sniff(data[:SNIFF_BYTES]) == sniff(data), path.name
            checked += 1
    assert checked
