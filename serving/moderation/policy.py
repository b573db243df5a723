"""What a tenant wants kept out, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["CATEGORIES", "ModerationPolicy", "Place"]

Place = Literal["chat_input", "chat_output", "ingest", "search"]
"""Where content passes: prompts and their media, answers, what is stored and indexed, queries."""

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""OpenAI's. Which of them are told depends on the models that are served."""


@dataclass(frozen=True, slots=True)
class ModerationPolicy:
    """Content that scores at least a category's threshold is refused in ``places``. Empty: nothing is looked at.

    ``thresholds`` (0 to 1) by OpenAI's category names; categories that are not named have ``threshold``.
    """

    places: frozenset[Place] = frozenset()
    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def reaches(self, category: str, score: float) -> bool:
        """Whether content that scores so much is of this category."""
        return score >= self.thresholds.get(category, self.threshold)

    def category_of(self, scores: Mapping[str, float]) -> str | None:
        """Of OpenAI's categories whose threshold is reached, the one that scores most; names that OpenAI does not
        know do not count.
        """
        reached = [name for name in CATEGORIES if name in scores and self.reaches(name, scores[name])]
        return max(reached, key=scores.__getitem__, default=None)
