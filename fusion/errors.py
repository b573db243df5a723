"""What can go wrong while media and text become one prompt."""

from __future__ import annotations

__all__ = ["FusionError", "PromptTooLong"]


class FusionError(Exception):
    """Base of the tree. ``message`` is a full sentence for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PromptTooLong(FusionError):
    """The prompt does not fit the decoder's context even with media shortened to their minimum."""
