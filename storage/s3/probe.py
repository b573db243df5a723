"""Whether an S3 server has the conditional writes that the platform builds on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from storage.errors import ObjectNotFound, StorageError, StoreUnavailable
from storage.s3.connection import Refusal, S3Connection
from storage.s3.multipart import abort

__all__ = ["probe_bucket"]

_LOG = logging.getLogger(__name__)


def probe_bucket(connection: S3Connection, key: str) -> None:
    """Write ``key`` and try each kind of conditional write on it, which must be refused; then remove it.

    Raises ``StoreUnavailable`` saying what is missing.
    """
    try:
        connection.call("head_bucket")  # some servers make a missing bucket at the first write
    except ObjectNotFound as error:
        raise StoreUnavailable(
            "The object store's bucket does not exist. Create it, or correct its name."
        ) from error
    try:
        connection.call("put_object", Key=key, Body=b"first", ChecksumAlgorithm="CRC32", IfNoneMatch="*")
    except Refusal as refusal:
        raise StoreUnavailable("The object store refused to write a new object.") from refusal
    try:
        _check(connection, key, "put", lambda: _put(connection, key))
        _check(connection, key, "completed multipart upload", lambda: _upload(connection, key))
        _check(connection, key, "copy", lambda: _copy(connection, key))
    finally:
        for used in (key, f"{key}-copied"):
            try:
                connection.call("delete_object", Key=used)
            except StorageError as error:
                _LOG.warning("An object of the probe could not be removed: %s", error)


def _check(connection: S3Connection, key: str, what: str, write: Callable[[], Any]) -> None:
    try:
        write()
    except Refusal as refusal:
        if refusal.kind != "taken":
            raise StoreUnavailable(f"The object store answers a conditional {what} unclearly.") from refusal
    else:
        raise StoreUnavailable(
            f"The object store ignores the condition of a {what} (If-None-Match) and would replace existing "
            "objects. Use an S3 server with conditional writes, for instance Amazon's or SeaweedFS 4."
        )


def _put(connection: S3Connection, key: str) -> None:
    connection.call("put_object", Key=key, Body=b"second", IfNoneMatch="*")


def _upload(connection: S3Connection, key: str) -> None:
    upload_id = connection.call("create_multipart_upload", Key=key)["UploadId"]
    try:
        part = connection.call("upload_part", Key=key, UploadId=upload_id, PartNumber=1, Body=b"third")
        connection.call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
            IfNoneMatch="*",
        )
    except (Refusal, StorageError):
        abort(connection, key, upload_id)
        raise


def _copy(connection: S3Connection, key: str) -> None:
    source = f"{key}-copied"
    connection.call("put_object", Key=source, Body=b"fourth")
    connection.call(
        "copy_object",
        Key=key,
        CopySource={"Bucket": connection.config.bucket, "Key": source},
        IfNoneMatch="*",
    )
