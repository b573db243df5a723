"""Embeddings as bytes: MessagePack of dtype, shape, raw little-endian numbers, and the tokens they took.

Never pickle: cached bytes must not be able to run code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedArray", "StoredVector", "pack_vector", "unpack_vector"]

_DTYPES = frozenset({"<f2", "<f4", "<f8", "|i1", "|u1"})


class PackedArray(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """An array on its way into MessagePack: NumPy's name of its dtype, its shape, its numbers in C order.

    Floats of 16 to 64 bits, little-endian, and bytes (quantised vectors).
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> PackedArray:
        """``array`` to be packed. Raises ``ValueError`` for a dtype that is not one of those above."""
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype.str not in _DTYPES:
            raise ValueError(f"an array of {array.dtype} cannot be stored")
        return cls(little.dtype.str, array.shape, little.tobytes())

    def unpacked(self) -> NDArray[Any]:
        """The array, exact to the bit and read-only. Raises ``ValueError`` when the fields do not fit together."""
        if self.dtype not in _DTYPES or any(length < 0 for length in self.shape):
            raise ValueError("a stored array's dtype or shape is none that we write")
        dtype = np.dtype(self.dtype)
        if math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise ValueError("a stored array has another size than its shape says")
        return np.frombuffer(self.data, dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class StoredVector:
    """An embedding, usually of shape ``(dimensions,)``, how many tokens the model read to make it, and in how many
    pieces.

    Treat the vector as read-only: several callers may hold the same one.
    """

    vector: NDArray[Any]
    tokens: int
    pieces: int = 1


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    vector: PackedArray
    tokens: int
    pieces: int = 1


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Packed)


def pack_vector(stored: StoredVector) -> bytes:
    """``stored`` as bytes. Raises ``ValueError`` for a dtype that ``PackedArray`` does not take."""
    return _ENCODER.encode(_Packed(PackedArray.of(stored.vector), stored.tokens, stored.pieces))


def unpack_vector(packed: bytes) -> StoredVector | None:
    """What was packed, or ``None`` if these bytes are anything else."""
    try:
        fields = _DECODER.decode(packed)
        if fields.tokens < 0 or fields.pieces < 1:
            return None
        return StoredVector(fields.vector.unpacked(), fields.tokens, fields.pieces)
    except (msgspec.MsgspecError, ValueError):
        return None
