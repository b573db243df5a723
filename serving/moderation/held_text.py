"""One choice of an answer while it is written: what of it was judged, and what may be shown."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HeldText"]

_HELD_WORDS = 3
_LONGEST_WORD = 40  # characters; languages without spaces are judged in pieces of so many
_CONTEXT_CHARACTERS = 240  # about the 30 words that the model judges together
_MOST_WORDS = 6


@dataclass(slots=True)
class HeldText:
    """Text is shown when it has been judged together with the three words after it, and with the thirty before.

    So whatever is shown was let through, the beginning of what is refused is not shown either, and no word is
    judged by its half. Pieces grow with the text, from one word to six, so that the first words are there soon and
    long answers ask seldom. Positions count characters from the beginning.
    """

    text: str = ""
    complete: bool = False
    judged: int = 0
    _base: int = 0
    _shown: int = 0
    _words: int = 0

    @property
    def length(self) -> int:
        """Characters that have come."""
        return self._base + len(self.text)

    def shows(self, end: int) -> bool:
        """Whether the text may be shown up to ``end``, which may lie behind what has come."""
        return self.settled or self._shown >= end

    @property
    def settled(self) -> bool:
        """Whether all is judged that will come."""
        return self.complete and self.judged == self.length

    def question(self) -> tuple[str, int] | None:
        """The text to judge next, with what stands before it, and where it ends; ``None`` while too little has
        come.
        """
        end = self.length if self.complete else self._last_word_end()
        if end <= self.judged:
            return None
        judged = self.judged - self._base
        new = self.text[judged : end - self._base]
        if not self.complete and len(new.split()) < self._wanted() and len(new) < _LONGEST_WORD:
            return None
        begin = max(0, judged - _CONTEXT_CHARACTERS)
        if begin or self._base:  # not amid a word, which might be another one then
            begin = max(begin, self.text.find(" ", begin, judged) + 1)
        return self.text[begin : end - self._base], end

    def clear(self, end: int) -> None:
        """What was asked about up to ``end`` may pass."""
        self._words += len(self.text[self.judged - self._base : end - self._base].split())
        self.judged = end
        self._shown = max(self._shown, self._before_held())
        unneeded = min(self._shown, self.judged - _CONTEXT_CHARACTERS) - self._base
        if unneeded > _CONTEXT_CHARACTERS:
            self.text = self.text[unneeded:]
            self._base += unneeded

    def _wanted(self) -> int:
        return min(_MOST_WORDS, 1 + self._words // 8)

    def _last_word_end(self) -> int:
        new = self.text[self.judged - self._base :]
        words = new.split()
        if not words:  # endless space is no word that could still go on
            return self.length if len(new) > _LONGEST_WORD else self.judged
        unfinished = 0 if new[-1].isspace() else len(words[-1])
        if unfinished > _LONGEST_WORD:
            return self.length
        return self.judged + len(new[: len(new) - unfinished].rstrip())

    def _before_held(self) -> int:
        """Where the last three judged words begin; not more than their usual lengths back."""
        position = self.judged - self._base
        lowest = max(0, position - _LONGEST_WORD)
        for _ in range(_HELD_WORDS):
            before = self.text[lowest:position].rstrip()
            words = before.split()
            position = lowest + len(before) - len(words[-1]) if words else lowest
        return self._base + position
