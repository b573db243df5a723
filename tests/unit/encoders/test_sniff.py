"""Types are told from bytes; what is not listed never reaches a decoder."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.decoding.sniff import sniff
from encoders.errors import CorruptMedia, UnsupportedMedia

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
