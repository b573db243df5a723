"""The object store on a server that speaks S3 and has conditional writes."""

from __future__ import annotations

import io
import logging
import secrets
import time
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from storage.config import S3Config
from storage.errors import InvalidKey, ObjectNotFound, StorageError, StoreUnavailable
from storage.keys import MAX_KEY_BYTES, check_object_key, check_object_prefix
from storage.objects import Body
from storage.s3.conditional import create
from storage.s3.connection import Refusal, S3Connection
from storage.s3.lifecycle import merged_rules
from storage.s3.multipart import PART_BYTES, upload_copy, upload_stream
from storage.s3.probe import probe_bucket
from storage.s3.reader import S3Reader
from storage.streams import EmptyStream, read_full
from storage.types import ObjectInfo, Tier, TierPolicy

__all__ = ["S3ObjectStore"]

_LOG = logging.getLogger(__name__)
# Of one CopyObject: S3 allows 5 GB, but some servers move the bytes and take long.
_COPY_LIMIT_BYTES = 512 << 20
_READ_BUFFER_BYTES = 256 << 10
_MAX_LINK_SECONDS = 7 * 24 * 3600  # S3's own limit
_LARGE_OBJECTS = ("blobs", "staging", "trash", "quarantine", "parts", "derived")
_DAY_SECONDS = 24 * 3600.0
_TIERS: dict[str, Tier] = {
    "STANDARD_IA": "warm",
    "ONEZONE_IA": "warm",
    "INTELLIGENT_TIERING": "warm",
    "GLACIER_IR": "cold",
    "GLACIER": "cold",
    "DEEP_ARCHIVE": "cold",
}


class S3ObjectStore:
    """``storage.objects.ObjectStore`` in a bucket. Threads may share it; it travels to other processes as its
    settings.

    Every object carries a random nonce of its writer in its metadata: when the answer to a conditional write was
    lost and the next try finds the key taken, the nonce tells whether by ourselves. Call ``probe`` once before
    trusting the store. ``recovery_seconds``: see ``S3Connection``.
    """

    def __init__(self, config: S3Config, recovery_seconds: float = 5.0) -> None:
        self._config = config
        self._recovery_seconds = recovery_seconds
        self._prefix = f"{folder}/" if (folder := config.prefix.strip("/")) else ""
        self._connection = S3Connection(config, recovery_seconds)

    def __reduce__(self) -> tuple[type[S3ObjectStore], tuple[S3Config, float]]:
        return S3ObjectStore, (self._config, self._recovery_seconds)

    def close(self) -> None:
        """Close the idle connections. The store can be used again after it."""
        self._connection.close()

    def probe(self) -> None:
        """See ``ObjectStore.probe``."""
        probe_bucket(self._connection, self._key(f"probe/{secrets.token_hex(16)}"))

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        with self._raw(key, 0, None) as stream:
            return stream.readall()

    def open(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> BinaryIO:
        """See ``ObjectStore.open``. A broken connection goes on where it broke, in the same version only."""
        if offset_bytes < 0 or (length_bytes is not None and length_bytes < 0):
            raise ValueError("A range of an object has no negative numbers.")
        return io.BufferedReader(self._raw(key, offset_bytes, length_bytes), _READ_BUFFER_BYTES)

    def put(self, key: str, data: Body) -> None:
        """See ``ObjectStore.put``."""
        self._write(self._key(key), data, conditional=False)

    def put_if_absent(self, key: str, data: Body) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        return self._write(self._key(key), data, conditional=True)

    def copy_if_absent(self, source: str, target: str) -> bool:
        """See ``ObjectStore.copy_if_absent``."""
        full_source, full_target, nonce = self._key(source), self._key(target), secrets.token_hex(16)
        found = self._connection.call("head_object", Key=full_source)
        size_bytes, etag = found["ContentLength"], found["ETag"]
        if size_bytes > _COPY_LIMIT_BYTES:
            return upload_copy(self._connection, full_source, full_target, size_bytes, etag, nonce)
        return create(
            self._connection,
            "copy_object",
            full_target,
            nonce,
            moved_bytes=size_bytes,
            CopySource={"Bucket": self._config.bucket, "Key": full_source},
            Metadata={"writer": nonce},
            MetadataDirective="REPLACE",
            IfNoneMatch="*",
        )

    def head(self, key: str) -> ObjectInfo:
        """See ``ObjectStore.head``."""
        found = self._connection.call("head_object", Key=self._key(key))
        modified = found["LastModified"].timestamp()
        return ObjectInfo(key, found["ContentLength"], modified, _tier(found.get("StorageClass")))

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.list``."""
        full_prefix = self._prefix + check_object_prefix(prefix)
        return self._pages(full_prefix, {} if after is None else {"StartAfter": self._prefix + after})

    def delete(self, key: str) -> bool:
        """See ``ObjectStore.delete``."""
        try:
            answer = self._connection.call("delete_object", Key=self._key(key))
        except ObjectNotFound:
            return False  # perhaps of an earlier try's making
        return not answer["ResponseMetadata"].get("RetryAttempts")

    def download_url(self, key: str, expires_seconds: int, content_type: str, filename: str) -> str | None:
        """See ``ObjectStore.download_url``. S3 lets no link live longer than seven days."""
        return self._connection.presigned(
            "get_object",
            min(expires_seconds, _MAX_LINK_SECONDS),
            Key=self._key(key),
            ResponseContentType=content_type,
            ResponseContentDisposition=_attachment(filename),
        )

    def apply_tiers(self, policy: TierPolicy) -> None:
        """See ``ObjectStore.apply_tiers``. Warm is ``STANDARD_IA``, cold ``GLACIER_IR``: both readable at once.

        Other people's rules stay as they are. The same rules expire forgotten staging objects; parts of uploads
        that were cut short are removed here as well, for servers without lifecycle rules.
        """
        try:
            self._abort_stale_uploads()
            existing = self._connection.lifecycle_rules()
            rules = merged_rules(existing, self._prefix, policy)
            if rules is not None:
                self._connection.call(
                    "put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules}
                )
        except StoreUnavailable as error:
            if policy == TierPolicy():  # nothing was asked for that the garbage collector does not do as well
                _LOG.info("Broken-off uploads and lifecycle rules of the bucket were left alone: %s", error)
                return
            raise StoreUnavailable(
                "The object store did not take the lifecycle rules for warm and cold blobs. "
                f"{error.message} Without lifecycle rules leave the days of both tiers empty; "
                "Amazon's S3 takes 30 days or more for warm, and more for cold than for warm."
            ) from error

    def _key(self, key: str) -> str:
        full = self._prefix + check_object_key(key)
        if len(full) > MAX_KEY_BYTES:
            raise InvalidKey(f"An object key and the store's prefix have at most {MAX_KEY_BYTES} characters.")
        return full

    def _raw(self, key: str, offset_bytes: int, length_bytes: int | None) -> io.RawIOBase:
        full = self._key(key)
        if length_bytes == 0:
            self._connection.call("head_object", Key=full)
            return EmptyStream()
        span: dict[str, Any] = {}
        if offset_bytes or length_bytes is not None:
            last = "" if length_bytes is None else offset_bytes + length_bytes - 1
            span["Range"] = f"bytes={offset_bytes}-{last}"
        try:
            answer = self._connection.call("get_object", Key=full, **span)
        except Refusal as refusal:
            if refusal.kind != "range":
                raise StoreUnavailable("The object store refused to read an object. Try again.") from refusal
            return EmptyStream()
        return S3Reader(self._connection, full, answer, offset_bytes)

    def _write(self, key: str, data: Body, conditional: bool) -> bool:
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        first, nonce = read_full(stream, PART_BYTES), secrets.token_hex(16)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
        if len(first) < PART_BYTES:
            return create(
                self._connection,
                "put_object",
                key,
                nonce,
                Body=first,
                ChecksumAlgorithm="CRC32",
                Metadata={"writer": nonce},
                **condition,
            )
        # Looking first spares sending a large body; completing decides all the same.
        if conditional and self._is_taken(key):
            return False
        return upload_stream(self._connection, key, first, stream, nonce, conditional)

    def _is_taken(self, key: str) -> bool:
        try:
            self._connection.call("head_object", Key=key)
        except ObjectNotFound:
            return False
        return True

    def _pages(self, full_prefix: str, start: dict[str, Any]) -> Iterator[ObjectInfo]:
        while True:
            page = self._connection.call("list_objects_v2", Prefix=full_prefix, **start)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                if not key.endswith("/"):  # a folder that some tool has made
                    modified = found["LastModified"].timestamp()
                    yield ObjectInfo(key, found["Size"], modified, _tier(found.get("StorageClass")))
            if not page.get("IsTruncated"):
                return
            start = {"ContinuationToken": page["NextContinuationToken"]}

    def _abort_stale_uploads(self) -> None:
        for folder in _LARGE_OBJECTS:  # not the whole bucket, which may be shared with other programs
            self._abort_stale_uploads_of(f"{self._prefix}{folder}/")

    def _abort_stale_uploads_of(self, prefix: str) -> None:
        limit = time.time() - _DAY_SECONDS
        uploads = self._connection.call("list_multipart_uploads", Prefix=prefix).get("Uploads", ())
        for upload in uploads:  # at most a thousand at a time: the next call goes on
            if upload["Initiated"].timestamp() < limit:
                try:
                    self._connection.call(
                        "abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                except (Refusal, StorageError) as error:
                    _LOG.warning("A stale upload could not be removed: %r", error)


def _tier(storage_class: str | None) -> Tier:
    return _TIERS.get(storage_class or "", "hot")


def _attachment(filename: str) -> str:
    """RFC 6266: a plain name for old clients, the exact one in UTF-8 (RFC 5987) for all others."""
    name = "".join(character for character in filename if character.isprintable())
    plain = "".join(
        character if character.isascii() and character not in '"\\%' else "_" for character in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
