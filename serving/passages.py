"""Passages of a long text, short enough for an encoder, with where they lie in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

__all__ = ["Passage", "passages_of"]

_PASSAGE_WORDS = 150
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_WORD = re.compile(r"\S+")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Words with single spaces between them, and the characters of the whole text they stand at."""

    start: int
    end: int
    text: str


def passages_of(text: str) -> Iterator[Passage]:
    """Passages of at most ``_PASSAGE_WORDS`` words, cut at ends of sentences where there are any.

    Takes the memory of one passage, however long the text is.
    """
    passage: list[Span] = []
    for start, end in _sentences(text):
        words = (word.span() for word in _WORD.finditer(text, start, end))
        room = _PASSAGE_WORDS - len(passage)
        head = list(islice(words, room + 1))
        if passage and len(head) > room:
            yield _passage(text, passage)
            passage = []
        passage += head
        if len(passage) > _PASSAGE_WORDS:
            yield _passage(text, passage[:_PASSAGE_WORDS])
            passage = passage[_PASSAGE_WORDS:]
        for word in words:
            if len(passage) == _PASSAGE_WORDS:
                yield _passage(text, passage)
                passage = []
            passage.append(word)
    if passage:
        yield _passage(text, passage)


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    for gap in _SENTENCE_END.finditer(text):
        yield start, gap.start()
        start = gap.end()
    yield start, len(text)


def _passage(text: str, words: list[Span]) -> Passage:
    return Passage(words[0][0], words[-1][1], " ".join(text[start:end] for start, end in words))
