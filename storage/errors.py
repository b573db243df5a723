"""What can go wrong in storage."""

from __future__ import annotations

__all__ = [
    "CorruptObject",
    "InvalidKey",
    "LinkNotFound",
    "MediaNotFound",
    "ObjectNotFound",
    "ObjectTooLarge",
    "StorageError",
    "StoreUnavailable",
    "UploadClosed",
    "UploadMismatch",
    "UploadNotFound",
]


class StorageError(Exception):
    """Base of the tree. ``message`` is a full sentence without paths or addresses."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidKey(StorageError):
    """An object key or tenant name has a form, a length or characters that the store does not take."""


class ObjectTooLarge(StorageError):
    """The bytes brought are more than the caller's limit allows."""


class ObjectNotFound(StorageError):
    """No object lies under that key."""


class MediaNotFound(StorageError):
    """No medium with that id belongs to this tenant. Another tenant's id answers exactly like this."""


class CorruptObject(StorageError):
    """Stored bytes do not match their checksum. They are never served."""


class StoreUnavailable(StorageError):
    """The store does not answer, is full, or lacks what we need of it (conditional put)."""


class LinkNotFound(StorageError):
    """A download link was never given out, has expired, or its file is gone; alike for all three."""


class UploadNotFound(StorageError):
    """No upload with that id belongs to this tenant. Another tenant's id answers exactly like this."""


class UploadClosed(StorageError):
    """An upload was completed, cancelled or has expired, and takes nothing more."""


class UploadMismatch(StorageError):
    """An upload's parts are not those that were named, or not the bytes that were announced."""
