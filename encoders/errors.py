"""What can go wrong between media bytes and embeddings. Messages are written for the caller to read."""

from __future__ import annotations

__all__ = [
    "CorruptMedia",
    "DecodeTimeout",
    "EncoderError",
    "EncoderOverloaded",
    "MediaTooLarge",
    "ModelUnavailable",
    "UnsupportedMedia",
]


class EncoderError(Exception):
    """Base of the tree. ``message`` is a full sentence, safe to show: no paths, no decoder's own words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnsupportedMedia(EncoderError):
    """The bytes are of a type, or use a codec, that the platform does not read."""


class CorruptMedia(EncoderError):
    """The type is known but the bytes cannot be decoded (truncated, damaged, empty)."""


class MediaTooLarge(EncoderError):
    """A declared or measured size (pixels, seconds, frames, channels, bytes) is over its limit."""


class DecodeTimeout(EncoderError):
    """Decoding used more processor time than allowed."""


class EncoderOverloaded(EncoderError):
    """Too much work is queued; try again shortly."""


class ModelUnavailable(EncoderError):
    """A model's weights were not found or are damaged; the message says how to prepare them."""
