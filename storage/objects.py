"""The object store as the platform sees it.

Synchronous on purpose: file systems and boto3 block, so async callers use threads (``asyncio.to_thread``).
Backends: ``storage.local`` (a directory). The same contract suite (tests/contract/test_object_store.py)
runs on every backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol, TypeAlias

from storage.types import ObjectInfo

__all__ = ["Body", "ObjectStore"]

Body: TypeAlias = bytes | BinaryIO
"""What may be written: bytes, or a binary stream read from its current position to its end."""


class ObjectStore(Protocol):
    """Whole objects under string keys; an object appears at once or not at all, and is durable once
    acknowledged.

    Keys must satisfy ``storage.keys.check_object_key`` (else ``InvalidKey``), and no key may be a folder of
    another (``a`` and ``a/b``). Every method raises ``StoreUnavailable`` when the store does not answer or
    is full. Errors raised by a stream that is being read pass through unchanged, and nothing is stored
    then.
    """

    def probe(self) -> None:
        """Check once at start that objects can be written and that conditional put works.

        Raises ``StoreUnavailable`` saying what is missing.
        """
        ...

    def get(self, key: str) -> bytes:
        """All bytes of an object. Raises ``ObjectNotFound``."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The object as a stream to read and close. It stays whole while open, even if replaced or deleted.

        Raises ``ObjectNotFound``.
        """
        ...

    def put(self, key: str, data: Body) -> None:
        """Write an object, replacing what was there. Readers see the old bytes or the new ones, never a
        mix.
        """
        ...

    def put_if_absent(self, key: str, data: Body) -> bool:
        """Write an object unless the key is taken; of several racing writers exactly one gets ``True``.

        Either answer means that an object durably lies under the key.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and time of change. Raises ``ObjectNotFound``."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix`` (a string prefix, ``""`` for all), in order of key.

        Objects written or deleted meanwhile may or may not appear.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object. A missing one is no error."""
        ...
