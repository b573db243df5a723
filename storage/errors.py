"""What can go wrong in storage."""

from __future__ import annotations

__all__ = [
    "CorruptObject",
    "InvalidKey",
    "MediaNotFound",
    "ObjectNotFound",
    "ObjectTooLarge",
    "StorageError",
    "StoreUnavailable",
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
