"""Bytes are typed by what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.types import MediaKind
from serving.sniff import SNIFF_BYTES, sniff

IMAGE, AUDIO, VIDEO = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO


@pytest.mark.parametrize(
    ("head", "content_type", "kinds"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png", {IMAGE}),
        (b"\xff\xd8\xff\xe0", "image/jpeg", {IMAGE}),
        (b"GIF89a", "image/gif", {IMAGE}),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", {IMAGE}),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav", {AUDIO}),
        (b"\x00\x00\x00\x1cftypheic", "image/heic", {IMAGE}),
        (b"\x00\x00\x00\x1cftypavif", "image/avif", {IMAGE}),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4", {AUDIO, VIDEO}),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4", {AUDIO, VIDEO}),
        (b"\x1aE\xdf\xa3\x01\x00webm", "video/webm", {AUDIO, VIDEO}),
        (b"OggS\x00", "application/ogg", {AUDIO, VIDEO}),
        (b"fLaC\x00", "audio/flac", {AUDIO}),
        (b"ID3\x03", "audio/mpeg", {AUDIO}),
        (b"\xff\xfb\x90\x64", "audio/mpeg", {AUDIO}),
        (b"\xff\xf1\x50\x80", "audio/aac", {AUDIO}),
        (b"FORM\x00\x00\x00\x00AIFF", "audio/aiff", {AUDIO}),
        (b"", "application/x-empty", set()),
        (b"hello", "text/plain", set()),
        ("naïve ".encode() * 2000, "text/plain", set()),
        (b"#EXTM3U\n", "text/plain", set()),
        (b"%PDF-1.4", "application/pdf", set()),
        (b"PK\x03\x04", "application/zip", set()),
    ],
)
def test_types(head, content_type, kinds):
    found = sniff(head[:SNIFF_BYTES])
    assert found.content_type == content_type
    assert found.kinds == kinds


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(head):
    found = sniff(head)
    assert found.description
    if head:
        assert found.content_type


def test_utf16_text_is_not_sound():
    assert "audio" not in sniff("\ufeffhello".encode("utf-16-le")).content_type


def test_real_files(shared_data):
    for pattern, kind in (
        ("speech/**/*.mp3", AUDIO),
        ("speech/**/*.flac", AUDIO),
        ("photos/**/*.jpg", IMAGE),
    ):
        for path in sorted(shared_data.glob(pattern))[:20]:
            assert kind in sniff(path.read_bytes()[:SNIFF_BYTES]).kinds, path.name
    for path in sorted(shared_data.glob("video/**/*.mp4"))[:20]:
        assert VIDEO in sniff(path.read_bytes()[:SNIFF_BYTES]).kinds, path.name
