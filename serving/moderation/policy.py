"""What a tenant wants kept out, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["ModerationPolicy", "Place"]

Place = Literal["chat_input", "chat_output", "ingest", "search"]
"""Where content passes: prompts and their media, answers, what is stored and indexed, queries."""


@dataclass(frozen=True, slots=True)
class ModerationPolicy:
    """Content that scores at least a category's threshold is refused in ``places``. Empty: nothing is looked at.

    ``thresholds`` (0 to 1) by OpenAI's category names; categories that are not named have ``threshold``.
    """

    places: frozenset[Place] = frozenset()
    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
