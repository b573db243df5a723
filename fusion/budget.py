"""How many views of each picture, and frames of each video, a prompt has room for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fusion.errors import PromptTooLong
from fusion.sections import share_budget

__all__ = ["Need", "Share", "share_out", "spread", "standing"]

_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)


@dataclass(frozen=True, slots=True)
class Need:
    """What one medium would take of a prompt.

    ``fixed_tokens`` always stand. ``pieces`` are views, frames or stretches of sound of ``piece_tokens`` each, of
    which at least one stands. ``text_tokens`` is what was written or said. The ``views`` of a picture are it as a
    whole and tiles of it, which only show all of it together: all of them stand, or the first alone.
    """

    fixed_tokens: int
    pieces: int = 0
    piece_tokens: int = 0
    text_tokens: int = 0
    views: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """What a medium gets: the pieces that stand, ascending, and so many tokens for its text."""

    pieces: tuple[int, ...]
    text_tokens: int


def share_out(needs: Sequence[Need], budget_tokens: int, text_budget_tokens: int) -> tuple[Share, ...]:
    """Share a prompt by max-min fairness: what needs little gets it, the others get alike.

    All texts together take at most ``text_budget_tokens``. Frames are thinned evenly, and in steps: a question with
    some words more then finds the same frames, and what the engine has kept of them. Raises ``PromptTooLong`` when
    not even one piece of every medium fits.
    """
    least = [need.fixed_tokens + (need.piece_tokens if need.pieces else 0) for need in needs]
    left = budget_tokens - sum(least)
    if left < 0:
        raise PromptTooLong(
            "The prompt is too long for the model's context: there is no room left for the media. "
            "Send fewer media or less text."
        )
    texts = share_budget([need.text_tokens for need in needs], text_budget_tokens)
    more = [max(0, need.pieces - 1) * need.piece_tokens for need in needs]
    shares = share_budget([*more, *texts], left)
    return tuple(
        Share(_stand(need, pieces), text)
        for need, pieces, text in zip(needs, shares[: len(needs)], shares[len(needs) :], strict=True)
    )


def _stand(need: Need, share: int) -> tuple[int, ...]:
    """The pieces that stand: the first, and what ``share`` tokens hold besides it."""
    if need.pieces < 2 or share >= (need.pieces - 1) * need.piece_tokens:
        return tuple(range(need.pieces))
    if need.views:
        return (0,)
    room = 1 + share // need.piece_tokens
    return spread(need.pieces, max(step for step in _STEPS if step <= room))


def spread(items: int, wanted: int) -> tuple[int, ...]:
    """Indexes of ``wanted`` of so many items, evenly spread."""
    return tuple(int((place + 0.5) * items / wanted) for place in range(wanted))


def standing(pieces: tuple[int, ...], asked_for: Collection[int]) -> tuple[int, ...]:
    """As many pieces as ``pieces``, with those of ``asked_for`` among them: each takes the place of the nearest."""
    stand = set(pieces)
    for piece in sorted(set(asked_for) - stand):
        others = stand - set(asked_for)
        if not others:
            break
        stand.remove(min(others, key=lambda other: (abs(other - piece), other)))
        stand.add(piece)
    return tuple(sorted(stand))
