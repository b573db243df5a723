"""Text to speech: what every voice offers, and how text is cut for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from encoders.types import Vector

__all__ = ["Utterance", "Voice", "pieces_of"]

_MAX_PIECE_CHARACTERS = 240
_MAX_WORD_CHARACTERS = 30
_LONG_NUMBER = re.compile(r"\d{16,}")
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s")


@dataclass(frozen=True, slots=True)
class Utterance:
    """A piece of what was said: mono float32 in [-1, 1], the tokens that were read, the frames that were made."""

    samples: Vector
    input_tokens: int
    output_tokens: int


class Voice(Protocol):
    """A loaded voice. Call it from one thread at a time."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        ...

    def speak(self, text: str, pace: float = 1.0) -> Iterator[Utterance]:
        """The text piece by piece, ``pace`` times as fast as the voice speaks by itself (0.25 to 1).

        What the voice cannot read is left out; the same text gives the same sound. Raises ``UnsupportedMedia`` for
        text that it fails at.
        """
        ...


def pieces_of(sentences: Iterable[str]) -> Iterator[str]:
    """Sentences in pieces of at most 240 characters, cut between clauses if possible, else between words.

    Words of more than 30 characters are cut, and numbers of more than 15 digits become digits: what reads a text
    takes time that grows with the square of such lengths, or worse. Characters that are not printed become spaces.
    """
    for sentence in sentences:
        plain = "".join(character if character.isprintable() else " " for character in sentence)
        spelled = _LONG_NUMBER.sub(lambda number: " ".join(number[0]), plain)
        piece = ""
        for clause in _CLAUSE_END.split(spelled):
            words = " ".join(_words(clause))
            if piece and len(piece) + 1 + len(words) > _MAX_PIECE_CHARACTERS:
                yield piece
                piece = ""
            if len(words) <= _MAX_PIECE_CHARACTERS:
                piece = f"{piece} {words}" if piece and words else piece or words
                continue
            *full, piece = _filled(words)
            yield from full
        if piece:
            yield piece


def _words(text: str) -> Iterator[str]:
    for word in text.split():
        for start in range(0, len(word), _MAX_WORD_CHARACTERS):
            yield word[start : start + _MAX_WORD_CHARACTERS]


def _filled(text: str) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > _MAX_PIECE_CHARACTERS:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
