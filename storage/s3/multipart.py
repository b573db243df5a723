"""Large S3 objects: uploaded or copied in parts, a few at once, and completed at once or not at all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeAlias

from storage.errors import ObjectTooLarge, StorageError, StoreUnavailable
from storage.s3.conditional import create
from storage.s3.connection import Refusal, S3Connection
from storage.streams import read_full

__all__ = ["PART_BYTES", "abort", "upload_copy", "upload_stream"]

_LOG = logging.getLogger(__name__)
PART_BYTES = 8 << 20
_COPY_PART_BYTES = 128 << 20
_IN_FLIGHT = 3  # parts; one more is being read: 32 MiB in memory
_MAX_PARTS = 10_000  # S3's limit

_Upload: TypeAlias = Callable[[str, int], dict[str, Any]]
"""Uploads one part, given upload id and part number; returns what completing needs to know of it."""


def upload_stream(
    connection: S3Connection, key: str, first: bytes, stream: BinaryIO, nonce: str, conditional: bool
) -> bool:
    """Write ``first`` and the rest of ``stream`` to ``key``. ``False`` when ``conditional`` and it is taken.

    Errors of the stream pass through; the parts sent so far are given up then.
    """

    def parts() -> Iterator[_Upload]:
        data = first
        while data:
            yield _part_of(connection, key, data)
            data = read_full(stream, PART_BYTES)

    return _run(connection, key, parts(), PART_BYTES, nonce, conditional)


def upload_copy(
    connection: S3Connection, source: str, key: str, size_bytes: int, etag: str, nonce: str
) -> bool:
    """Copy a large object within the server unless ``key`` is taken."""

    def parts() -> Iterator[_Upload]:
        for start in range(0, size_bytes, _COPY_PART_BYTES):
            yield _copy_of(connection, source, key, start, min(start + _COPY_PART_BYTES, size_bytes), etag)

    return _run(connection, key, parts(), _COPY_PART_BYTES, nonce, conditional=True)


def _part_of(connection: S3Connection, key: str, data: bytes) -> _Upload:
    def upload(upload_id: str, number: int) -> dict[str, Any]:
        answer = connection.call(
            "upload_part",
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm="CRC32",
        )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    return upload


def _copy_of(connection: S3Connection, source: str, key: str, start: int, end: int, etag: str) -> _Upload:
    def upload(upload_id: str, number: int) -> dict[str, Any]:
        answer = connection.call(
            "upload_part_copy",
            moved_bytes=end - start,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": connection.config.bucket, "Key": source},
            CopySourceRange=f"bytes={start}-{end - 1}",
            CopySourceIfMatch=etag,
        )["CopyPartResult"]
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    return upload


def _run(
    connection: S3Connection,
    key: str,
    uploads: Iterator[_Upload],
    part_bytes: int,
    nonce: str,
    conditional: bool,
) -> bool:
    upload_id = connection.call(
        "create_multipart_upload", Key=key, Metadata={"writer": nonce}, ChecksumAlgorithm="CRC32"
    )["UploadId"]
    created = False
    try:
        parts = _send(uploads, upload_id)
        condition = {"IfNoneMatch": "*"} if conditional else {}
        created = create(
            connection,
            "complete_multipart_upload",
            key,
            nonce,
            moved_bytes=len(parts) * part_bytes,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
    except Refusal as refusal:
        raise StoreUnavailable("An upload to the object store was cut short. Try again.") from refusal
    finally:
        if not created:
            abort(connection, key, upload_id)
    return created


def _send(uploads: Iterator[_Upload], upload_id: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    running: deque[Future[dict[str, Any]]] = deque()
    with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
        try:
            for number, upload in enumerate(uploads, start=1):
                if number > _MAX_PARTS:
                    limit = _MAX_PARTS * PART_BYTES >> 30
                    raise ObjectTooLarge(f"An object may have at most {limit} GiB in this object store.")
                if len(running) == _IN_FLIGHT:
                    parts.append(running.popleft().result())
                running.append(pool.submit(upload, upload_id, number))
            parts += [future.result() for future in running]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return parts


def abort(connection: S3Connection, key: str, upload_id: str) -> None:
    """Give an upload up; if that fails it is logged."""
    try:
        connection.call("abort_multipart_upload", Key=key, UploadId=upload_id)
    except (StorageError, Refusal) as error:  # the lifecycle rule and apply_tiers collect what stays
        _LOG.warning("A cut-short upload could not be given up now: %r", error)
