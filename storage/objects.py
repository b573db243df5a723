"""The object store as the platform sees it.

Synchronous on purpose: file systems and boto3 block, so async callers use threads (``asyncio.to_thread``).
Backends: ``storage.local`` (a directory) and ``storage.s3``. The same contract suite
(tests/contract/test_object_store.py) runs on every backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol, TypeAlias

from storage.errors import ObjectNotFound
from storage.types import ObjectInfo, TierPolicy

__all__ = ["Body", "ObjectStore", "any_under", "exists"]

Body: TypeAlias = bytes | BinaryIO
"""What may be written: bytes, or a binary stream read from its current position to its end."""


class ObjectStore(Protocol):
    """Whole objects under string keys; an object appears at once or not at all, and is durable once
    acknowledged.

    Keys must satisfy ``storage.keys.check_object_key`` (else ``InvalidKey``), and no key may be a folder of
    another (``a`` and ``a/b``). Every method raises ``StoreUnavailable`` when the store does not answer or
    is full; reading raises ``CorruptObject`` when a store that keeps checksums of its own finds them wrong.
    Errors raised by a stream that is being read pass through unchanged, and nothing is stored then.
    """

    def probe(self) -> None:
        """Check once at start that objects can be written and that conditional put works.

        Raises ``StoreUnavailable`` saying what is missing.
        """
        ...

    def get(self, key: str) -> bytes:
        """All bytes of an object. Raises ``ObjectNotFound``."""
        ...

    def open(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> BinaryIO:
        """The object, or a range of it, as a stream to read and close.

        It never mixes two versions: bytes after the object was replaced or deleted are the old ones, or
        reading raises ``StoreUnavailable``. A range that goes past the end is cut; one that begins there is
        empty. Raises ``ObjectNotFound``.
        """
        ...

    def put(self, key: str, data: Body) -> None:
        """Write an object, replacing what was there. Readers see the old bytes or the new ones, never a
        mix.
        """
        ...

    def put_if_absent(self, key: str, data: Body) -> bool:
        """Write an object unless the key is taken; of several racing writers exactly one gets ``True`` (for
        large bodies and copies see ``copy_if_absent``).

        Either answer means that an object durably lies under the key.
        """
        ...

    def copy_if_absent(self, source: str, target: str) -> bool:
        """Give an object's bytes a second key unless that is taken, without moving them through this process.

        Answers and durability are those of ``put_if_absent``; of several racing copies exactly one gets
        ``True``. Raises ``ObjectNotFound`` for a missing source.

        Writers and copiers that may race for one key must all bring the same bytes, as those of a blob do: an
        S3 server may hold one lock for puts and another for copies (SeaweedFS 4.48 does, and none for
        completing an upload in parts, which a body of 8 MiB and more is), and two of them then get ``True``.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size, time of change and tier. Raises ``ObjectNotFound``."""
        ...

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix`` (a string prefix, ``""`` for all) and comes after
        ``after``.

        Objects of one folder come in order of their names; the order of folders is the backend's own, so
        ``after`` is for prefixes that end in one folder without folders in it. Objects written or deleted
        meanwhile may or may not appear.
        """
        ...

    def delete(self, key: str) -> bool:
        """Remove an object. A missing one is no error.

        ``False`` when an earlier try got no answer and may yet come into effect, on whatever was written under
        the key meanwhile.
        """
        ...

    def download_url(self, key: str, expires_seconds: int, content_type: str, filename: str) -> str | None:
        """A link by which anyone may download the object, as an attachment, for a while. ``None`` when this
        store has no server of its own that outsiders reach (a local directory).
        """
        ...

    def apply_tiers(self, policy: TierPolicy) -> None:
        """See that blobs move to cheaper storage as ``policy`` says; called now and then, at least daily.

        S3: a lifecycle rule of the bucket, set when it is not. Local: old blobs move to the cold folder now.
        Raises ``StoreUnavailable`` with a clear sentence when the store cannot do it.
        """
        ...


def exists(store: ObjectStore, key: str) -> bool:
    """Whether an object lies under the key."""
    try:
        store.head(key)
    except ObjectNotFound:
        return False
    return True


def any_under(store: ObjectStore, prefix: str) -> bool:
    """Whether any key starts with ``prefix``."""
    return next(store.list(prefix), None) is not None
