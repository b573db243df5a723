"""What an answer must be like to count as good: how soon it begins and how fast it goes on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Slo"]


@dataclass(frozen=True, slots=True)
class Slo:
    """Service level objectives of answers.

    ``first_token_seconds`` holds for texts; media have times of their own, a mixed request the longest.
    ``token_seconds`` is how long one token after the first may take, on average over an answer. An answer in one
    piece has no first token: all of it must be there in the time that a streamed one would be allowed.
    """

    first_token_seconds: float = 0.5
    image_first_token_seconds: float = 2.0
    audio_first_token_seconds: float = 1.0
    video_first_token_seconds: float = 5.0
    token_seconds: float = 0.1

    def first_token(self, modality: str) -> float:
        """Seconds within which the first token must come, for a request that brings ``modality``."""
        return {
            "text": self.first_token_seconds,
            "image": self.image_first_token_seconds,
            "audio": self.audio_first_token_seconds,
        }.get(modality, self.video_first_token_seconds)

    def is_met(self, modality: str, first_seconds: float | None, seconds: float, tokens: int) -> bool:
        """Whether an answer of ``tokens`` was good: ``first_seconds`` to its first token (``None``: in one piece),
        ``seconds`` to its last.
        """
        first = self.first_token(modality)
        if first_seconds is None:
            return seconds <= first + self.token_seconds * max(0, tokens - 1)
        return first_seconds <= first and seconds - first_seconds <= self.token_seconds * max(1, tokens - 1)
