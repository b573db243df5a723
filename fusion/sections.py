"""Lists inside a prompt block (moments, passages of speech, lines of text), each shortened to a budget."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from fusion.relevance import relevance

__all__ = [
    "Item",
    "Keep",
    "Section",
    "ShortSection",
    "TokenCounter",
    "choose",
    "cut_words",
    "share_budget",
    "shorten",
]

TokenCounter = Callable[[str], int]
"""Counts the decoder's tokens in a text."""

_NOTE_TOKENS = 16
_LINE_BREAK_TOKENS = 1
_LEAST_WORTHWHILE_TOKENS = 8


class Keep(StrEnum):
    """Which items survive when not all fit."""

    FIRST = "first"
    ENDS = "ends"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a section. ``alone`` is what it says where the line before it is left out, if that is more."""

    text: str
    alone: str = ""

    @property
    def longest(self) -> str:
        """The line with all that it may say."""
        return self.alone or self.text


@dataclass(frozen=True, slots=True)
class Section:
    """A headline and items below it. ``noun`` names the items (plural) in the note about what was cut.

    ``quoted`` items are a stranger's words as they are: one pair of quotation marks is put around all of them.
    """

    headline: str
    items: tuple[Item, ...]
    noun: str
    keep: Keep
    quoted: bool = False

    def full(self) -> str:
        """The section with all its items, one a line."""
        return "\n".join((self.headline, *self.lines(range(len(self.items)))))

    def lines(self, kept: Sequence[int]) -> list[str]:
        """The lines of the items ``kept``, given in order."""
        held = set(kept)
        lines = [
            self.items[index].text if index == 0 or index - 1 in held else self.items[index].longest
            for index in kept
        ]
        return self.marked(lines)

    def marked(self, lines: list[str]) -> list[str]:
        """The lines, with quotation marks around all of them where the section is ``quoted``."""
        if not self.quoted or not lines:
            return lines
        return ['"' + lines[0], *lines[1:-1], lines[-1] + '"'] if len(lines) > 1 else [f'"{lines[0]}"']


@dataclass(frozen=True, slots=True)
class ShortSection:
    """A section cut to a budget, and in words what was cut (``None`` when nothing was)."""

    text: str
    cut: str | None


def share_budget(needs: list[int], budget: int) -> list[int]:
    """Share ``budget`` tokens by max-min fairness: small needs are met, large ones cut alike."""
    shares = [0] * len(needs)
    left = budget
    by_need = sorted(range(len(needs)), key=needs.__getitem__)
    for position, index in enumerate(by_need):
        shares[index] = max(0, min(needs[index], left // (len(needs) - position)))
        left -= shares[index]
    return shares


def cut_words(text: str, budget: int, count: TokenCounter) -> str:
    """The longest run of leading words, with an ellipsis, within ``budget`` tokens; or nothing."""
    words = text.split(" ")
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count(" ".join(words[:middle]) + " ...") <= budget:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low]) + " ..." if low else ""


def shorten(section: Section, budget: int, count: TokenCounter, question: str = "") -> ShortSection:
    """Cut a section to about ``budget`` tokens (item counts are summed, so the caller checks the whole).

    Items that share words with ``question`` are kept first.
    """
    if count(section.full()) <= budget:
        return ShortSection(section.full(), None)
    costs = [count(item.longest) + _LINE_BREAK_TOKENS for item in section.items]
    room = budget - count(section.headline) - _NOTE_TOKENS
    kept = choose(section.keep, costs, room, relevance(question, [item.longest for item in section.items]))
    cut = f"{len(costs) - len(kept)} of {len(costs)} {section.noun}"
    lines = section.lines(kept)
    if not kept:
        partial = cut_words(section.items[0].text, room, count) if room >= _LEAST_WORTHWHILE_TOKENS else ""
        if partial:
            cut = (
                f"the end of the {section.noun}"
                if len(costs) == 1
                else f"all but the start of {len(costs)} {section.noun}"
            )
            lines = section.marked([partial])
    note = f"({cut} left out to save space)"
    if section.keep is Keep.ENDS and kept:
        lines.insert(_widest_gap(kept), note)
    else:
        lines.append(note)
    return ShortSection("\n".join((section.headline, *lines)), cut)


def choose(keep: Keep, costs: Sequence[int], room: int, wanted: Sequence[float] = ()) -> list[int]:
    """Indexes of the items kept within ``room`` tokens, of which each costs so many; ascending.

    Items ``wanted`` more than 0 come first, the most wanted before others, and take at most half of the room, so
    that the rest still shows what they stand in.
    """
    kept: set[int] = set()
    half = room // 2
    for index in sorted(range(len(wanted)), key=lambda index: -wanted[index]):
        if wanted[index] > 0 and costs[index] <= half:
            half -= costs[index]
            room -= costs[index]
            kept.add(index)
    others = [index for index in range(len(costs)) if index not in kept]
    return sorted(
        kept.union(others[place] for place in _choose(keep, [costs[index] for index in others], room))
    )


def _choose(keep: Keep, costs: list[int], room: int) -> list[int]:
    if keep is Keep.SPREAD:
        # As many as fit if they were the cheapest; trying all the others as well takes seconds for a long talk.
        cheapest = bisect_right(list(accumulate(sorted(costs))), room)
        for most in range(cheapest, 0, -1):
            step = len(costs) / most
            kept = [int((place + 0.5) * step) for place in range(most)]
            if sum(costs[index] for index in kept) <= room:
                return kept
        return []
    if keep is Keep.FIRST:
        order = list(range(len(costs)))
    else:
        # Speech says its subject at the start and its conclusion at the end: take from both by turns.
        order = [place // 2 if place % 2 == 0 else len(costs) - 1 - place // 2 for place in range(len(costs))]
    kept = []
    for index in order:
        if costs[index] > room:
            break
        room -= costs[index]
        kept.append(index)
    return kept


def _widest_gap(kept: Sequence[int]) -> int:
    """The place among the kept items at which the most are missing; the end when none are missing between."""
    gaps = [after - before for before, after in pairwise(kept)]
    widest = max(gaps, default=1)
    return gaps.index(widest) + 1 if widest > 1 else len(kept)
