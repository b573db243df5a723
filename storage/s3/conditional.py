"""Writes that create an S3 object or lose to another writer: tried until it is known which."""

from __future__ import annotations

import random
import time

from storage.errors import ObjectNotFound, StoreUnavailable
from storage.s3.connection import Refusal, S3Connection

__all__ = ["back_off", "create"]

_ATTEMPTS = 6  # when others write the same key at the same time


def create(
    connection: S3Connection,
    operation: str,
    key: str,
    nonce: str,
    *,
    moved_bytes: int = 0,
    **parameters: object,
) -> bool:
    """One writing call, conditional or not; whether the object under ``key`` is of its making.

    ``nonce`` is what the object written has as its ``writer``: when the answer to a try was lost and the next one
    finds the key taken, it tells by whom.
    """
    unheard = False  # whether an earlier try may have had its effect
    for attempt in range(_ATTEMPTS):
        try:
            connection.call(operation, moved_bytes=moved_bytes, Key=key, **parameters)
            return True
        except Refusal as refusal:
            unheard = unheard or refusal.retried
            if refusal.kind == "taken":
                if not unheard:
                    return False
                try:
                    return _writer(connection, key) == nonce
                except ObjectNotFound:
                    continue  # deleted between the two looks: the key is free again, or the upload is gone
            if refusal.kind == "upload gone" and unheard:
                return True  # completed by the earlier try: nobody else knows the upload
            if refusal.kind != "conflict":
                raise StoreUnavailable("The object store refused a write. Try again.") from refusal
            back_off(attempt)
    raise StoreUnavailable("Others wrote the same object again and again meanwhile. Try again later.")


def back_off(attempt: int) -> None:
    """Sleep before trying again: exponential, with full jitter."""
    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  (no secret)


def _writer(connection: S3Connection, key: str) -> str | None:
    writer: str | None = connection.call("head_object", Key=key)["Metadata"].get("writer")
    return writer
