"""Which pictures are worth reading: those whose labels are of things that bear writing."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.types import ImageLabel

__all__ = ["looks_written"]

_MIN_PROBABILITY = 0.1
# Classes of ImageNet, and what zero-shot models call such pictures.
_WRITTEN = frozenset(
    {
        "web site", "website", "menu", "book jacket", "comic book", "crossword puzzle", "envelope", "packet",
        "street sign", "scoreboard", "poster", "document", "receipt", "screenshot", "slide", "text", "page",
        "newspaper", "letter", "form",
    }
)  # fmt: skip


def looks_written(labels: Sequence[ImageLabel]) -> bool:
    """Whether one of a picture's likely labels is of a thing that bears writing."""
    return any(
        label.probability >= _MIN_PROBABILITY
        and any(name.strip().lower() in _WRITTEN for name in label.text.split(","))
        for label in labels
    )
