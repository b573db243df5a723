"""What is told of media: their first bytes, what their decoder answers, what was stored of them, subtitles."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable

import msgspec
import numpy as np

from encoders.config import DecodeLimits
from encoders.decoding.answers import LookAnswer, PictureAnswer, ProbeAnswer, SoundAnswer
from encoders.decoding.sniff import SNIFF_BYTES, Sniffed, sniff, sniff_file
from encoders.decoding.wire import ProtocolError, read_message
from encoders.errors import CorruptMedia, UnsupportedMedia
from encoders.moderation import ModerationScores
from encoders.types import (
    EncodedImage,
    EncodedVideo,
    MediaInfo,
    MediaKind,
    TextLine,
    Transcript,
    TranscriptSegment,
)
from fusion.types import SoftTokens
from fuzz.target import Target
from serving.artifact_codec import decode_artifact, encode_artifact
from serving.subtitles import srt, vtt
from storage.checked_json import from_checked_json, to_checked_json
from storage.framing import seal, unseal
from storage.vectors import StoredVector, pack_vector, unpack_vector

__all__ = ["MEDIA_TARGETS"]

_LIMITS = DecodeLimits(max_pixels=10_000)
_SIDE = 32
_ARTIFACTS = (
    *(MediaInfo, EncodedImage, EncodedVideo, ModerationScores, Transcript, SoftTokens, tuple[TextLine, ...]),
    *(str, bytes),
)


def sniffing(data: bytes) -> None:
    """Bytes have a type or none; a file and its bytes have the same."""
    told = _type_of(lambda: sniff(data))
    if isinstance(told, Sniffed):
        assert told.decoder in ("image", "stream")
        assert told.kinds
        assert told.content_type.count("/") == 1
    if len(data) <= SNIFF_BYTES:
        assert _type_of(lambda: sniff_file(io.BytesIO(data))) == told


def _type_of(read: Callable[[], Sniffed]) -> Sniffed | type[Exception]:
    try:
        return read()
    except (UnsupportedMedia, CorruptMedia) as error:
        return type(error)


def decoder_answers(data: bytes) -> None:
    """Whatever a decoder process that was taken over writes, it is a sound answer or refused."""
    which, pipe = data[:1], io.BytesIO(data[1:])
    answers = (ProbeAnswer, lambda: LookAnswer(_LIMITS, _SIDE), lambda: PictureAnswer(_LIMITS, _SIDE))
    answer = (*answers, lambda: SoundAnswer(_LIMITS))[(which or b"\0")[0] % 4]()
    try:
        while True:
            header, body = read_message(pipe, answer.max_body_bytes)
            assert len(body) <= answer.max_body_bytes
            if not header.get("more"):
                break
            answer.take(header, body)
        result = answer.finish(header, body)
    except (ProtocolError, EOFError, CorruptMedia):
        return
    if isinstance(result, MediaInfo):
        _sound_facts(result)
    elif hasattr(result, "info"):
        _sound_facts(result.info)
    elif hasattr(result, "pixels"):
        height, width, channels = result.pixels.shape
        assert 0 < height <= _SIDE
        assert 0 < width <= _SIDE
        assert channels == 3


def _sound_facts(info: MediaInfo) -> None:
    assert isinstance(info.kind, MediaKind)
    assert "+" not in info.content_type
    for number in (info.width, info.height, info.duration_seconds, info.frames_per_second):
        assert number is None or (np.isfinite(number) and number >= 0)


def stored_artifacts(data: bytes) -> None:
    """What lies in a store is an artifact, whole, or is none: nothing else is built from it."""
    kind = _ARTIFACTS[(data[:1] or b"\0")[0] % len(_ARTIFACTS)]
    try:
        artifact = decode_artifact(data[1:], kind)
    except msgspec.MsgspecError:
        return
    try:
        again = encode_artifact(artifact)
    except UnicodeEncodeError:
        return
    assert encode_artifact(decode_artifact(again, kind)) == again


def stored_frames(data: bytes) -> None:
    """Sealed values, records and vectors: damaged ones are nothing."""
    assert unseal("key", data) is None or unseal("other", data) is None
    assert from_checked_json("key", data) is None or from_checked_json("other", data) is None
    assert unseal("key", seal("key", data)) == data
    vector = unpack_vector(data)
    assert vector is None or (vector.tokens >= 0 and vector.pieces >= 1)


def subtitles(data: bytes) -> None:
    """Whatever a recording says, a cue stays one cue: as many blank lines and arrows as there are cues."""
    texts = [text for text in data.decode("utf-8", "replace").split("\0") if text]
    segments = tuple(
        TranscriptSegment(n, n + 1, text, 0.0, 0.0, 1.0, 0.0, (), ()) for n, text in enumerate(texts)
    )
    transcript = Transcript("en", float(len(texts)), segments)
    spoken = sum(bool(text.strip()) for text in texts)
    for written in (srt(transcript), vtt(transcript).removeprefix("WEBVTT\n\n")):
        assert written.count("-->") == spoken
        assert len([cue for cue in written.split("\n\n") if cue]) == spoken
        assert "\r" not in written


def _message(header: object, body: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<IQ", len(encoded), len(body)) + encoded + body


_INFO = {"info": {"kind": "image", "content_type": "image/png", "width": 2, "height": 2}}
_HEADS = (
    *(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"BM",
        b"II*\0",
    ),
    *(
        b"RIFF\0\0\0\0WAVEfmt ",
        b"fLaC\0\0\0\x22",
        b"ID3\x04\0\0\0\0\0\x7f\xff\xfb",
        b"OggS\0\x02",
        b"\x1aE\xdf\xa3",
    ),
    *(
        b"\0\0\0\x18ftypheic\0\0\0\0mif1",
        b"\0\0\0\x20ftypisom",
        b"\0\0\0\x1cftypavif",
        b"FORM\0\0\0\0AIFF",
        b"#EXTM3U\n",
    ),
    *(
        b"<svg>",
        b"FLV\x01",
        b"G" + bytes(187) + b"G",
        b"\xff\xf1\x50\x80",
        b"\0\0\x01\xba",
        b"8BPS",
        b"\0\0\x01\0",
    ),
)
_VECTOR = pack_vector(StoredVector(np.ones(3, np.float32), 1))
_TEXTS = encode_artifact(Transcript("en", 1.0, (TranscriptSegment(0, 1, " Hi", 0, 0, 1, 0, (1,), ()),)))

MEDIA_TARGETS = (
    Target("sniffing", sniffing, tuple(head + bytes(64) for head in _HEADS)),
    Target(
        "decoder_answers",
        decoder_answers,
        (
            b"\0" + _message(_INFO),
            b"\1" + _message(_INFO | {"shape": [2, 2, 3]}, bytes(12)),
            b"\2" + _message({"shape": [2, 2, 3], "width": 2, "height": 2}, bytes(12)),
            b"\3" + _message({"more": True}, bytes(320)) + _message({}),
        ),
    ),
    Target(
        "stored_artifacts",
        stored_artifacts,
        (
            b"\4" + _TEXTS,
            b"\0" + encode_artifact(MediaInfo(MediaKind.IMAGE, "image/png", 2, 2, None, None)),
            b"\7\xa1a",
        ),
    ),
    Target("stored_frames", stored_frames, (seal("key", b"v"), to_checked_json("key", {"a": 1}), _VECTOR)),
    Target(
        "subtitles", subtitles, (b" One.\0 Two --> three\0\r\n\r\n4\0&<b>", "\u2028\u0085 a\n\nb".encode())
    ),
)
