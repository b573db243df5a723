"""Perceived results as bytes, for the cache and the object store beside their medium.

MessagePack of the dataclasses of ``encoders.types`` and ``fusion.types``; an array is its dtype, shape and raw
little-endian bytes, so a round trip is exact to the bit. Never pickle: stored bytes must not be able to run code.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from encoders.moderation import ModerationScores
from encoders.types import EncodedImage, EncodedVideo, MediaInfo, TextLine, Transcript
from fusion.types import SoftTokens
from storage.vectors import PackedArray

__all__ = ["Artifact", "decode_artifact", "encode_artifact"]

Artifact = (
    MediaInfo
    | EncodedImage
    | EncodedVideo
    | ModerationScores
    | Transcript
    | SoftTokens
    | tuple[TextLine, ...]
    | str
    | bytes
)
"""What is stored; a perceptual hash is a string, a thumbnail bytes."""

Kind = TypeVar("Kind")


def encode_artifact(artifact: Artifact) -> bytes:
    """One artifact as bytes."""
    return msgspec.msgpack.encode(artifact, enc_hook=_to_wire)


def decode_artifact(data: bytes, kind: type[Kind]) -> Kind:
    """Bytes as an artifact of ``kind``. Raises ``msgspec.MsgspecError`` when they are not one."""
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_from_wire)
    except UnicodeDecodeError as error:  # msgspec lets it through
        raise msgspec.DecodeError("a text is not UTF-8") from error


def _to_wire(value: Any) -> PackedArray:
    if isinstance(value, np.ndarray):
        return PackedArray.of(value)
    raise NotImplementedError(f"cannot store a {type(value).__name__}")


def _from_wire(kind: Any, value: Any) -> Any:
    # The only kind that msgspec does not know by itself is an array.
    return msgspec.convert(value, PackedArray).unpacked().copy()
