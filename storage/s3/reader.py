"""A stored S3 object as a stream that goes on after a broken connection."""

from __future__ import annotations

import io
import logging
from typing import Any

from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from storage.errors import CorruptObject, ObjectNotFound, StoreUnavailable
from storage.s3.conditional import back_off
from storage.s3.connection import Refusal, S3Connection

__all__ = ["S3Reader"]

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 4  # to go on, without a byte in between


class S3Reader(io.RawIOBase):
    """Reads the body of ``answer`` (of ``get_object``), which begins at ``offset_bytes`` of the object.

    When the connection breaks it asks for the rest, of the same version only. Raises ``StoreUnavailable`` when that
    is gone or the server does not answer, ``CorruptObject`` when the bytes do not match the server's checksum.
    """

    def __init__(self, connection: S3Connection, key: str, answer: dict[str, Any], offset_bytes: int) -> None:
        self._connection = connection
        self._key = key
        self._etag: str = answer["ETag"]
        self._body = answer["Body"]
        self._position = offset_bytes
        self._end: int = offset_bytes + answer["ContentLength"]

    def readable(self) -> bool:
        return True

    # The type in typeshed is a buffer that mypy cannot slice.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._position)
        data = self._read(wanted) if wanted else b""
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while self._position < self._end:
            pieces.append(self._read(self._end - self._position))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        self._body.close()
        super().close()

    def _read(self, size_bytes: int) -> bytes:
        """Between 1 and ``size_bytes`` bytes, which are left to read."""
        for attempt in range(_ATTEMPTS):
            if attempt > 1:
                back_off(attempt)
            if attempt:
                self._reopen()
            try:
                data: bytes = self._body.read(size_bytes)
                if self._position + len(data) == self._end:
                    self._body.read()  # at its end the body compares its checksum
            except FlexibleChecksumError as error:
                _LOG.error("S3 get_object: %s", error)
                raise CorruptObject(
                    "The object's bytes do not match the store's checksum of them."
                ) from error
            except (BotoCoreError, HTTPError, OSError) as error:
                _LOG.warning("A read from the object store broke off: %r", error)
            else:
                if data:
                    self._position += len(data)
                    return data
        raise StoreUnavailable("The object store breaks off again and again. Try again later.")

    def _reopen(self) -> None:
        self._body.close()
        try:
            self._body = self._connection.call(
                "get_object",
                Key=self._key,
                Range=f"bytes={self._position}-{self._end - 1}",
                IfMatch=self._etag,
            )["Body"]
        except (Refusal, ObjectNotFound) as error:
            raise StoreUnavailable("The object was replaced while it was read. Try again.") from error
