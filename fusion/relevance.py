"""Which lines of a long medium a question is about, by the words they share: no model, any language with words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["relevance"]

# Words are compared by their beginnings, so that "tickets" finds "ticket" and "opens" finds "opened".
_STEM_LETTERS = 4
_SHORTEST_WORD = 3


def relevance(question: str, lines: Sequence[str]) -> list[float]:
    """For each line how much of the question it shares; 0 for nothing.

    The sum over the question's words of their inverse document frequency (Sparck Jones, 1972): a word of most lines
    says nothing about which are meant. Numbers count as words of any length.
    """
    asked = _stems(question)
    # Only what a line shares is counted: a question may be as long as a book, and lines as many as a day has.
    shared = [_stems(line) & asked for line in lines]
    frequencies = Counter(stem for stems in shared for stem in stems)
    weights = {
        stem: math.log(len(lines) / frequency)
        for stem, frequency in frequencies.items()
        if frequency <= len(lines) / 2
    }
    return [math.fsum(weights.get(stem, 0.0) for stem in stems) for stems in shared]


def _stems(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {
        word[:_STEM_LETTERS] if word.isalpha() else word
        for word in words
        if len(word) >= _SHORTEST_WORD or not word.isalpha()
    }
