"""Media that stand in the prompt as they are, among words: soft tokens, or pixels for a decoder that looks itself.

A picture stands where it came. Frames of a video stand on a timeline, each behind its time (``t=3.0s``), and behind
each what is said while it is on screen. Sound is what is said with times, and soft tokens where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from encoders.types import MediaKind
from fusion.budget import Need, Share, share_out, standing
from fusion.errors import PromptTooLong
from fusion.phrases import phrases_of
from fusion.relevance import relevance
from fusion.sections import Keep, TokenCounter, choose
from fusion.timeline import Passage, Timeline, align
from fusion.types import PerceivedMedium
from fusion.wording import names as names_of
from fusion.wording import opening, quotable

__all__ = ["Look", "MixedBlock", "PromptComposer", "Slot", "question_last"]

Block = TypeVar("Block")

_JOINT_TOKENS = 1  # decoders' templates put a line break between what stands side by side
_NOTE_TOKENS = 16
_FIT_TRIES = 6


@dataclass(frozen=True, slots=True)
class Look:
    """What of a medium may stand in the prompt as it is: ``pieces`` views, frames or stretches of sound, of
    ``piece_tokens`` tokens each.

    ``times_seconds`` says when each piece is; views have none. ``joined`` pieces stand at one place: a decoder that
    takes films gives the frames their times itself. ``rest_tokens`` is what these take besides, however many they
    are. ``of_pieces`` is how many there were, where not all of them may stand.
    """

    medium: PerceivedMedium
    pieces: int = 0
    piece_tokens: int = 0
    times_seconds: tuple[float, ...] = ()
    joined: bool = False
    rest_tokens: int = 0
    of_pieces: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the prompt for some pieces of a medium, and how many tokens they are."""

    pieces: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class MixedBlock:
    """What one medium became in the prompt: words and slots in order, how many tokens that is, and what was cut.

    ``pieces`` are those that stand in it.
    """

    parts: tuple[str | Slot, ...]
    tokens: int
    pieces: tuple[int, ...] = ()
    cut: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of text, how many tokens it is, and the piece it belongs to on the timeline, if to any."""

    text: str
    tokens: int
    piece: int = -1


@dataclass(slots=True)
class _Draft:
    """A medium before its share is known: words that always stand, its pieces, and lines that may be cut."""

    look: Look
    opening: str = ""
    headline: str = ""
    lines: tuple[_Line, ...] = ()
    noun: str = ""
    keep: Keep = Keep.FIRST
    labels: tuple[str, ...] = field(default=())
    asked_for: frozenset[int] = frozenset()


class PromptComposer:
    """Composes prompts of looks. ``count_tokens`` counts as the decoder's tokenizer does; all that is written or
    said in media takes at most ``text_budget_tokens``.
    """

    def __init__(self, count_tokens: TokenCounter, text_budget_tokens: int) -> None:
        self._count = count_tokens
        self._text_budget = text_budget_tokens

    def compose(
        self, looks: Sequence[Look], budget_tokens: int, question: str = ""
    ) -> tuple[MixedBlock, ...]:
        """One block per look, in order, together within ``budget_tokens``.

        Where not all that is written or said fits, lines that share words with ``question`` are kept before others.
        Where not all frames fit, those on screen while something is said that the question quotes stand among them.
        Raises ``PromptTooLong`` when not even one piece of every medium fits.
        """
        called = names_of([look.medium.info.kind for look in looks])
        phrases = phrases_of(question)
        drafts = [self._draft(look, name, phrases) for look, name in zip(looks, called, strict=True)]
        needs = [self._need(draft) for draft in drafts]
        room = budget_tokens
        for _ in range(_FIT_TRIES):
            shares = share_out(needs, room, self._text_budget)
            blocks = tuple(
                self._block(draft, share, question) for draft, share in zip(drafts, shares, strict=True)
            )
            over = sum(block.tokens for block in blocks) - budget_tokens
            if over <= 0:
                return blocks
            room -= over  # tokens of a whole are not exactly the sum of its parts
        raise PromptTooLong(
            "The prompt is too long for the model's context: there is no room left for the media. "
            "Send fewer media or less text."
        )

    def _draft(self, look: Look, name: str, phrases: Sequence[str]) -> _Draft:
        medium = look.medium
        if medium.info.kind is MediaKind.IMAGE:
            numbered = not name.startswith("The ")
            headline = f"Text written in {name[0].lower()}{name[1:]}:"
            texts = (quotable(line.text) for line in medium.text_lines)
            lines = tuple(self._line(f'"{text}"') for text in texts if text)
            return _Draft(look, f"{name}:" if numbered else "", headline, lines, "lines of written text")
        draft = _Draft(
            look, self._opening(look, name), f"{name} says, by time:", (), "passages of speech", Keep.ENDS
        )
        timeline = _timeline(look)
        draft.asked_for = frozenset(
            frame
            for phrase in phrases
            for moment in timeline.while_said(phrase)
            for shot in moment.shots
            for frame in shot.frames
        )
        draft.lines = tuple(
            self._line(f'{said.start_seconds:.1f}s to {said.end_seconds:.1f}s: "{text}"', piece)
            for piece, said, text in _spoken(timeline)
        )
        if not draft.lines and medium.transcript is not None:
            draft.opening += " Nobody speaks in it."
        if not look.joined:
            draft.labels = tuple(f"t={time:.1f}s" for time in look.times_seconds)
        return draft

    def _opening(self, look: Look, name: str) -> str:
        medium = look.medium
        silent = medium.info.kind is MediaKind.VIDEO and not medium.info.has_audio
        return opening(name, medium.duration_seconds) + (" It has no sound." if silent else "")

    def _line(self, text: str, piece: int = -1) -> _Line:
        return _Line(text, self._count(text) + _JOINT_TOKENS, piece)

    def _need(self, draft: _Draft) -> Need:
        look = draft.look
        label = max((self._count(text) + 2 * _JOINT_TOKENS for text in draft.labels), default=0)
        text = sum(line.tokens for line in draft.lines)
        if draft.lines and not draft.labels:
            text += self._count(draft.headline) + _JOINT_TOKENS
        return Need(
            fixed_tokens=self._count(draft.opening) + 2 * _JOINT_TOKENS + look.rest_tokens,
            pieces=look.pieces,
            piece_tokens=look.piece_tokens + label,
            text_tokens=text,
            views=look.medium.info.kind is MediaKind.IMAGE,
        )

    def _block(self, draft: _Draft, share: Share, question: str) -> MixedBlock:
        look = draft.look
        pieces = standing(share.pieces, draft.asked_for)
        lines, cut = self._kept(draft, share.text_tokens, question)
        left_out = []
        seen = max(look.pieces, look.of_pieces)
        if len(pieces) < seen:
            noun = {MediaKind.IMAGE: "views of the picture", MediaKind.VIDEO: "frames of the video"}.get(
                look.medium.info.kind, "stretches of the recording"
            )
            left_out.append(f"{seen - len(pieces)} of {seen} {noun}")
        if cut:
            left_out.append(cut)
        parts: list[str | Slot] = [draft.opening] if draft.opening else []
        if draft.labels:
            parts += _by_time(draft, pieces, lines)
        else:
            if pieces:
                parts.append(Slot(pieces, len(pieces) * look.piece_tokens + look.rest_tokens))
            if lines:
                parts += [draft.headline, *(line.text for line in lines)]
        if cut and lines:
            parts.append(f"({cut} left out to save space)")
        written = _merged(parts)
        tokens = sum(
            (part.tokens if isinstance(part, Slot) else self._count(part)) + _JOINT_TOKENS for part in written
        )
        return MixedBlock(written, tokens, pieces, tuple(left_out))

    def _kept(self, draft: _Draft, room: int, question: str) -> tuple[Sequence[_Line], str]:
        """The lines that fit, and in words what was cut."""
        costs = [line.tokens for line in draft.lines]
        if not draft.labels and draft.lines:
            room -= self._count(draft.headline) + _JOINT_TOKENS
        if sum(costs) <= room:
            return draft.lines, ""
        wanted = relevance(question, [line.text for line in draft.lines])
        kept = choose(draft.keep, costs, room - _NOTE_TOKENS, wanted)
        return [
            draft.lines[index] for index in kept
        ], f"{len(costs) - len(kept)} of {len(costs)} {draft.noun}"


def _timeline(look: Look) -> Timeline:
    """Pieces and speech of a medium on one line of time."""
    medium = look.medium
    known = medium.video if medium.video is not None else medium.soft
    duration = known.duration_seconds if known is not None else None
    frames = medium.info.kind is MediaKind.VIDEO
    return align(
        look.times_seconds,
        duration or medium.info.duration_seconds or 0.0,
        known.repeat_times_seconds if frames and known is not None else (),
        # A stretch of sound reaches to the next.
        (known.scene_changes_seconds if known is not None else ()) if frames else look.times_seconds,
        medium.transcript,
    )


def _spoken(timeline: Timeline) -> Iterator[tuple[int, Passage, str]]:
    """Every passage in order, with the last piece that is shown before or during it (-1: none), and its words."""
    piece = -1
    for row in timeline.rows():
        if row.shot is not None:
            piece = max(piece, *row.shot.frames)
        for passage in row.said:
            text = quotable(passage.text)
            if text:
                yield piece, passage, text


def _by_time(draft: _Draft, pieces: tuple[int, ...], lines: Sequence[_Line]) -> list[str | Slot]:
    """Pieces behind their times, each followed by what is said while it is shown."""
    entries: list[tuple[int, int, tuple[str | Slot, ...]]] = [
        (index, 0, (draft.labels[index], Slot((index,), draft.look.piece_tokens))) for index in pieces
    ]
    entries += [(line.piece, 1, (line.text,)) for line in lines]
    return [part for _, _, parts in sorted(entries, key=lambda entry: entry[:2]) for part in parts]


def question_last(parts: Sequence[str | Block]) -> tuple[str | Block, ...]:
    """A message's texts and blocks in the order they are put to the decoder.

    Texts that come before all media are moved behind them: decoders answer what they read last, and media that
    stand first are found again in the engine's cache.
    """
    blocks = [part for part in parts if not isinstance(part, str)]
    texts = [part for part in parts if isinstance(part, str)]
    return (*blocks, *texts) if list(parts) == [*texts, *blocks] else tuple(parts)


def _merged(parts: Sequence[str | Slot]) -> tuple[str | Slot, ...]:
    """Texts side by side become one."""
    merged: list[str | Slot] = []
    for part in parts:
        before = merged[-1] if merged else None
        if isinstance(part, str) and isinstance(before, str):
            merged[-1] = f"{before}\n{part}"
        else:
            merged.append(part)
    return tuple(merged)
