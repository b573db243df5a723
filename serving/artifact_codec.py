"""Perceived results as bytes, for the cache and the object store beside their medium.

MessagePack of the dataclasses of ``encoders.types``; a vector is its raw little-endian float32 bytes, so a
round trip is exact to the bit. Never pickle: stored bytes must not be able to run code.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from encoders.types import EncodedImage, EncodedVideo, MediaInfo, TextLine, Transcript

__all__ = ["Artifact", "decode_artifact", "encode_artifact"]

Artifact = MediaInfo | EncodedImage | EncodedVideo | Transcript | tuple[TextLine, ...]
"""What is stored."""

Kind = TypeVar("Kind")


def encode_artifact(artifact: Artifact) -> bytes:
    """One artifact as bytes."""
    return msgspec.msgpack.encode(artifact, enc_hook=_to_wire)


def decode_artifact(data: bytes, kind: type[Kind]) -> Kind:
    """Bytes as an artifact of ``kind``. Raises ``msgspec.MsgspecError`` when they are not one."""
    return msgspec.msgpack.decode(data, type=kind, dec_hook=_from_wire)


def _to_wire(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype="<f4").tobytes()
    raise NotImplementedError(f"cannot store a {type(value).__name__}")


def _from_wire(kind: Any, value: Any) -> Any:
    if not isinstance(value, bytes) or len(value) % 4:
        raise ValueError("a stored vector must be whole float32 numbers")
    return np.frombuffer(value, dtype="<f4").astype(np.float32)
