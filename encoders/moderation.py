"""What moderation models find in pictures and texts: how probable each category is.

Category names follow OpenAI's moderation where the meaning is the same (``sexual``, ``harassment``,
``harassment/threatening``, ``hate``); what a model knows and OpenAI does not has the model's own name. A category
that a model cannot judge is absent, never 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from encoders.types import Pixels

__all__ = ["ImageModerator", "ModerationScores", "TextModerator"]


@dataclass(frozen=True, slots=True)
class ModerationScores:
    """``categories`` is a tuple of (name, probability in [0, 1]), sorted by name. They need not sum to 1."""

    categories: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, probabilities: Mapping[str, float]) -> ModerationScores:
        """From a mapping in any order."""
        return cls(tuple(sorted((name, float(value)) for name, value in probabilities.items())))

    @classmethod
    def highest(cls, several: Iterable[ModerationScores]) -> ModerationScores:
        """The highest probability of each category in ``several``, such as the frames of a video."""
        found: dict[str, float] = {}
        for scores in several:
            for name, value in scores.categories:
                found[name] = max(value, found.get(name, 0.0))
        return cls.of(found)

    def __getitem__(self, category: str) -> float:
        """The probability of one category. Raises ``KeyError`` when the model does not judge it."""
        return dict(self.categories)[category]


class ImageModerator(Protocol):
    """Judges pictures. It is also a ``BatchEncoder[Pixels, Any, ModerationScores]``."""

    def moderate(self, images: Sequence[Pixels]) -> tuple[ModerationScores, ...]:
        """One result per RGB picture ``(height, width, 3)`` of any size, order kept."""
        ...

    def prepare(self, items: Sequence[Pixels]) -> list[Any]:
        """See ``BatchEncoder``."""
        ...

    def bucket(self, prepared: Any) -> Hashable:
        """See ``BatchEncoder``."""
        ...

    def cost(self, prepared: Any) -> int:
        """See ``BatchEncoder``."""
        ...

    def run(self, batch: Sequence[Any]) -> list[ModerationScores]:
        """See ``BatchEncoder``."""
        ...


class TextModerator(Protocol):
    """Judges texts. It is also a ``BatchEncoder[str, Any, ModerationScores]``."""

    def moderate(self, texts: Sequence[str]) -> tuple[ModerationScores, ...]:
        """One result per text, order kept."""
        ...

    def prepare(self, items: Sequence[str]) -> list[Any]:
        """See ``BatchEncoder``."""
        ...

    def bucket(self, prepared: Any) -> Hashable:
        """See ``BatchEncoder``."""
        ...

    def cost(self, prepared: Any) -> int:
        """See ``BatchEncoder``."""
        ...

    def run(self, batch: Sequence[Any]) -> list[ModerationScores]:
        """See ``BatchEncoder``."""
        ...
