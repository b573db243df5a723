"""The parts of an upload: their ids, and reading them as the one file they make up.

A part's id carries a checksum of its bytes, keyed with random digits of the same id: equal parts have different
ids, and a part that changed in the store is noticed before anything is made of it.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from collections.abc import Sequence
from typing import BinaryIO, cast

from storage.errors import CorruptObject, ObjectNotFound, ObjectTooLarge, UploadClosed, UploadMismatch
from storage.objects import ObjectStore

__all__ = ["PART_ID", "new_part_id", "open_parts"]

PART_ID = re.compile(r"part_[0-9a-f]{48}")
_NONCE_HEX = 16
_DIGEST_BYTES = 16
_CHUNK_BYTES = 1 << 20


def new_part_id(stream: BinaryIO, max_bytes: int) -> tuple[str, int]:
    """An id for what ``stream`` holds from here to its end, and how many bytes that is. Goes back to here.

    Raises ``ObjectTooLarge`` beyond ``max_bytes`` and ``UploadMismatch`` for no bytes at all.
    """
    start = stream.tell()
    nonce = secrets.token_hex(_NONCE_HEX // 2)
    digest, size_bytes = _checksum(nonce), 0
    while chunk := stream.read(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise ObjectTooLarge(
                f"The part is larger than {max_bytes} bytes (max_part_bytes). Send smaller parts."
            )
        digest.update(chunk)
    if not size_bytes:
        raise UploadMismatch("The part is empty. Send at least one byte.")
    stream.seek(start)
    return f"part_{nonce}{digest.hexdigest()}", size_bytes


def open_parts(store: ObjectStore, keys: Sequence[str], md5: str | None) -> BinaryIO:
    """The objects under ``keys``, whose names end in part ids, one after the other as one stream; close it.

    Bytes are given before it is known that they are right, so believe nothing before the end: it raises
    ``CorruptObject`` when a part is not what was sent, ``UploadMismatch`` when the whole has another MD5 than
    ``md5`` (hex). Parts deleted meanwhile raise ``UploadClosed``.
    """
    return cast(BinaryIO, io.BufferedReader(_Parts(store, keys, md5), _CHUNK_BYTES))


class _Parts(io.RawIOBase):
    def __init__(self, store: ObjectStore, keys: Sequence[str], md5: str | None) -> None:
        self._store = store
        self._keys = list(reversed(keys))
        self._part: BinaryIO | None = None
        self._md5 = md5
        self._whole = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._next(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._close_part()
        super().close()

    def _next(self, limit_bytes: int) -> bytes:
        """Up to ``limit_bytes`` more; none exactly at the end of the last part."""
        while self._keys:
            part = self._part or self._open_part()
            if chunk := part.read(limit_bytes):
                self._digest.update(chunk)
                if self._md5 is not None:
                    self._whole.update(chunk)
                return chunk
            if self._digest.hexdigest() != self._expected:
                raise CorruptObject("A part of this upload was damaged in the store. Upload the part again.")
            self._close_part()
            self._keys.pop()
        if self._md5 is not None and self._whole.hexdigest() != self._md5:
            raise UploadMismatch(
                "The parts in this order do not have the MD5 checksum that 'md5' says. "
                "Check the order of 'part_ids', or upload the file again."
            )
        return b""

    def _open_part(self) -> BinaryIO:
        key = self._keys[-1]
        try:
            self._part = self._store.open(key)
        except ObjectNotFound:
            raise UploadClosed("The parts of this upload are gone: it was closed meanwhile.") from None
        checked = key.rpartition("part_")[2]
        self._digest, self._expected = _checksum(checked[:_NONCE_HEX]), checked[_NONCE_HEX:]
        return self._part

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None


def _checksum(nonce: str) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES, key=bytes.fromhex(nonce))
