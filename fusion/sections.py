"""Lists inside a prompt block (frames, passages of speech, lines of text) and how each is shortened to a
budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
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
class Section:
    """A headline and items below it. ``noun`` names the items (plural) in the note about what was cut."""

    headline: str
    items: tuple[str, ...]
    noun: str
    keep: Keep

    def full(self) -> str:
        """The section with all its items, one a line."""
        return "\n".join((self.headline, *self.items))


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


def shorten(section: Section, budget: int, count: TokenCounter) -> ShortSection:
    """Cut a section to about ``budget`` tokens (item counts are summed, so the caller checks the whole)."""
    costs = [count(item) + _LINE_BREAK_TOKENS for item in section.items]
    room = budget - count(section.headline)
    if sum(costs) <= room:
        return ShortSection(section.full(), None)
    room -= _NOTE_TOKENS
    kept = choose(section.keep, costs, room)
    cut = f"{len(costs) - len(kept)} of {len(costs)} {section.noun}"
    lines = [section.items[index] for index in kept]
    if not kept:
        partial = cut_words(section.items[0], room, count) if room >= _LEAST_WORTHWHILE_TOKENS else ""
        if partial:
            cut = (
                f"the end of the {section.noun}"
                if len(costs) == 1
                else f"all but the start of {len(costs)} {section.noun}"
            )
            lines = [partial]
    note = f"({cut} left out to save space)"
    gap = next((place for place in range(1, len(kept)) if kept[place] != kept[place - 1] + 1), len(lines))
    if section.keep is Keep.ENDS:
        lines.insert(gap, note)
    else:
        lines.append(note)
    return ShortSection("\n".join((section.headline, *lines)), cut)


def choose(keep: Keep, costs: list[int], room: int) -> list[int]:
    """Indexes of the items kept within ``room`` tokens, of which each costs so many; ascending."""
    if keep is Keep.SPREAD:
        for wanted in range(len(costs) - 1, 0, -1):
            step = len(costs) / wanted
            kept = [int((place + 0.5) * step) for place in range(wanted)]
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
    return sorted(kept)
