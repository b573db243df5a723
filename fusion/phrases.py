"""Words that a question quotes: "what is on screen when he says 'look at that'?"."""

from __future__ import annotations

import re

__all__ = ["phrases_of"]

_MOST_PHRASES = 4
_SHORTEST_LETTERS, _LONGEST_LETTERS = 3, 200

# Bounded, for a question may be long and full of marks that nothing closes.
_QUOTED = re.compile(
    r"[\"\u201c\u201d\u201e\u00ab\u00bb]([^\"\u201c\u201d\u201e\u00ab\u00bb]*)[\"\u201c\u201d\u00ab\u00bb]"
    r"|(?<!\w)['\u2018]([^\u2018]{1,200}?)['\u2019](?!\w)"
)
_AFTER_SAYS = re.compile(
    r"\bsa(?:y|ys|id|ying)\s+(?:that\s+|the words?\s+)?([^?!.,;:\"'\u201c\u2018]+)", re.IGNORECASE
)


def phrases_of(question: str) -> tuple[str, ...]:
    """What is quoted in a question, or, where nothing is, what follows "says" up to the next mark; at most four."""
    found = [double or single for double, single in _QUOTED.findall(question)]
    found = found or _AFTER_SAYS.findall(question)
    stripped = (phrase.strip()[:_LONGEST_LETTERS] for phrase in found)
    return tuple(dict.fromkeys(phrase for phrase in stripped if len(phrase) >= _SHORTEST_LETTERS))[
        :_MOST_PHRASES
    ]
