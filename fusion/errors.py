"""What can go wrong while media and text become one prompt."""

from __future__ import annotations

__all__ = [
    "BridgeMismatch",
    "BridgeUnavailable",
    "FusionError",
    "ModalityNotBridged",
    "PromptTooLong",
    "TrainingRefused",
    "VectorsCancel",
]


class FusionError(Exception):
    """Base of the tree. ``message`` is a full sentence for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PromptTooLong(FusionError):
    """The prompt does not fit the decoder's context even with media shortened to their minimum."""


class BridgeUnavailable(FusionError):
    """A bridge's files were not found, are damaged, or do not fit what is served with them."""


class BridgeMismatch(FusionError):
    """Tokens that are not those of the encoder a bridge was made for, or soft tokens of another decoder."""


class ModalityNotBridged(FusionError):
    """The bridge has no branch for this kind of medium."""


class TrainingRefused(FusionError):
    """A bridge cannot be trained with what was given: pairs, settings, models, or a run begun with others."""


class VectorsCancel(FusionError):
    """The vectors of an item's parts cancel each other out, so that together they have no direction."""
