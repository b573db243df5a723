"""The ``text`` strategy: what was perceived of a medium, written into the prompt of any text decoder.

Short plain sentences, so that a small decoder can answer from them; what is seen and what is said at one time
stand on one line. Each medium becomes one block; blocks share the token budget fairly, and what does not fit is
left out with a note that says so, last of all what the question asks about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.types import EncodedFrame, MediaKind
from fusion.config import FusionConfig
from fusion.errors import PromptTooLong
from fusion.labels import mean_labels, named, told
from fusion.sections import Item, Keep, Section, TokenCounter, share_budget, shorten
from fusion.timeline import Row, Shot, timeline_of
from fusion.types import FusedBlock, PerceivedMedium
from fusion.wording import names as names_of
from fusion.wording import quotable

__all__ = ["TextFusion", "assemble"]

_FIT_TRIES = 6
# Frames of one scene are this alike at least: on the test videos 0.93 to 1.0 in a shot that goes on, 0.2 to 0.88
# across its end.
_ONE_SCENE_SIMILARITY = 0.9
# Speech that begins within this time of what is shown stands on its line, else on its own with its own time.
_TOGETHER_SECONDS = 3.0
# Media shorter than this have their times in tenths of seconds.
_SHORT_SECONDS = 10.0


@dataclass(slots=True)
class _Draft:
    """A block before shortening: one opening text that always stays, then lists that may be cut."""

    opening: str
    sections: list[Section] = field(default_factory=list)

    def full(self) -> str:
        return _joined(self.opening, [section.full() for section in self.sections])


class TextFusion:
    """Writes perceived media as text blocks. ``count_tokens`` counts as the decoder's tokenizer does."""

    def __init__(self, config: FusionConfig, count_tokens: TokenCounter) -> None:
        self._config = config
        self._count = count_tokens

    def fuse(
        self, media: Sequence[PerceivedMedium], budget_tokens: int | None = None, question: str = ""
    ) -> tuple[FusedBlock, ...]:
        """One block per medium, in order, together within ``budget_tokens`` (default: the configured budget).

        Where not all fits, lines that share words with ``question`` are kept before others; else it changes
        nothing, so that the engine's cache knows the block again. Raises ``PromptTooLong`` when not even the
        shortest form of every block fits.
        """
        budget = self._config.media_token_budget
        if budget_tokens is not None:
            budget = min(budget, budget_tokens)
        names = names_of([medium.info.kind for medium in media])
        drafts = [self._draft(medium, name) for medium, name in zip(media, names, strict=True)]
        needs = [self._count(draft.full()) for draft in drafts]
        shares = share_budget(needs, budget)
        return tuple(
            FusedBlock(draft.full(), need) if need <= share else self._fit(draft, share, question)
            for draft, need, share in zip(drafts, needs, shares, strict=True)
        )

    def _fit(self, draft: _Draft, share: int, question: str) -> FusedBlock:
        room = share
        for _ in range(_FIT_TRIES):
            opening = self._count(draft.opening)
            needs = [self._count(section.full()) for section in draft.sections]
            shares = share_budget(needs, room - opening)
            shorts = [
                shorten(section, part, self._count, question)
                for section, part in zip(draft.sections, shares, strict=True)
            ]
            text = _joined(draft.opening, [short.text for short in shorts])
            tokens = self._count(text)
            if tokens <= share:
                return FusedBlock(text, tokens, tuple(short.cut for short in shorts if short.cut))
            # Tokens of a whole are not exactly the sum of its parts; try again with the difference taken off.
            room -= max(1, tokens - share)
        raise PromptTooLong(
            "The prompt is too long for the model's context: there is no room left to describe the media. "
            "Send fewer media or less text."
        )

    def _draft(self, medium: PerceivedMedium, name: str) -> _Draft:
        if medium.info.kind is MediaKind.IMAGE:
            return self._picture(medium, name)
        return self._moving(medium, name)

    def _picture(self, medium: PerceivedMedium, name: str) -> _Draft:
        labels = medium.image.labels if medium.image is not None else ()
        shown = told(named(labels, self._config.max_labels, self._config), self._config)
        draft = _Draft(f"{name} shows {shown or 'nothing that was recognised'}.")
        texts = (quotable(line.text) for line in medium.text_lines)
        lines = tuple(Item(text) for text in texts if text)
        if lines:
            headline = f"Text written in {name[0].lower()}{name[1:]}:"
            draft.sections.append(Section(headline, lines, "lines of written text", Keep.FIRST, quoted=True))
        return draft

    def _moving(self, medium: PerceivedMedium, name: str) -> _Draft:
        """A recording or a video: how long it is, and one list of what is seen and said by time."""
        duration = medium.duration_seconds
        clock = _Clock(duration)
        frames = medium.video.frames if medium.video is not None else ()
        timeline = timeline_of(medium).joined(lambda before, after: self._one_scene(frames, before, after))
        timeline = timeline.joined(
            lambda before, after: self._seen(frames, before) == self._seen(frames, after)
        )
        rows = timeline.rows()
        seen = any(self._seen(frames, row.shot) for row in rows)
        speaks = any(row.said for row in rows)
        sentences = [f"{name} is {'of unknown length' if duration is None else clock.length(duration)}."]
        if medium.info.kind is MediaKind.VIDEO and not medium.info.has_audio:
            sentences.append("It has no sound.")
        elif not speaks:
            sentences.append("Nobody speaks in it.")
        if frames and not seen:
            sentences.append("Nothing that it shows was recognised.")
        if not seen and not speaks:
            return _Draft(" ".join(sentences))
        sentences.append(
            "What it shows and what is said, by time:"
            if seen and speaks
            else "It shows, by time:"
            if seen
            else "It says, by time:"
        )
        items = tuple(item for row in rows for item in _lines(row, self._seen(frames, row.shot), clock))
        noun = "moments of the video" if seen else "passages of speech"
        section = Section(" ".join(sentences), items, noun, Keep.SPREAD if seen else Keep.ENDS)
        return _Draft("", [section])

    def _one_scene(self, frames: Sequence[EncodedFrame], before: Shot, after: Shot) -> bool:
        """Whether neighbouring shots show the same, as far as the vision model can tell."""
        vectors = [
            np.mean([frames[index].embedding for index in shot.frames], axis=0) for shot in (before, after)
        ]
        lengths = float(np.linalg.norm(vectors[0]) * np.linalg.norm(vectors[1]))
        return lengths > 0 and float(vectors[0] @ vectors[1]) / lengths >= _ONE_SCENE_SIMILARITY

    def _seen(self, frames: Sequence[EncodedFrame], shot: Shot | None) -> str:
        """What a shot shows, in words; empty for nothing that was recognised."""
        if shot is None:
            return ""
        labels = mean_labels([frames[index].labels for index in shot.frames])
        return told(named(labels, self._config.max_frame_labels, self._config), self._config)


class _Clock:
    """Writes times of one medium: a short one's in tenths of seconds, a longer one's in whole seconds."""

    def __init__(self, duration_seconds: float | None) -> None:
        self._tenths = duration_seconds is not None and duration_seconds < _SHORT_SECONDS

    def at(self, seconds: float) -> str:
        """A time, without its unit."""
        if self._tenths:
            return f"{seconds:.1f}".removesuffix(".0")
        return str(math.floor(seconds + 0.5))  # ``round`` gives 0.5 and 1.5 to the even sides

    def stretch(self, start_seconds: float, end_seconds: float) -> str:
        """From when to when."""
        start, end = self.at(start_seconds), self.at(end_seconds)
        return f"{start}s" if start == end else f"{start}-{end}s"

    def length(self, seconds: float) -> str:
        """How long something is."""
        told = self.at(seconds)
        return f"{told} second long" if told == "1" else f"{told} seconds long"


def assemble(parts: Sequence[str | FusedBlock]) -> str:
    """Join a message's texts and media blocks, in their order, into one text.

    When texts come first and media close the message (the usual "question, then picture"), the texts are
    moved behind the media: small decoders answer what they read last.
    """
    blocks = [part for part in parts if isinstance(part, FusedBlock)]
    texts = [part for part in parts if isinstance(part, str)]
    ordered: Sequence[str | FusedBlock] = parts
    if blocks and texts and list(parts) == [*texts, *blocks]:
        ordered = [*blocks, *texts]
    pieces = [part.text if isinstance(part, FusedBlock) else part for part in ordered]
    return "\n\n".join(piece for piece in pieces if piece)


def _joined(opening: str, sections: Sequence[str]) -> str:
    return "\n".join(part for part in (opening, *sections) if part)


def _lines(row: Row, seen: str, clock: _Clock) -> list[Item]:
    """What is seen, and beside it what is said: one line for both, and one for each passage that begins later."""
    passages = [(passage.start_seconds, quotable(passage.text)) for passage in row.said]
    passages = [(start, f'"{text}"') for start, text in passages if text]
    items = []
    if row.shot is not None and seen:
        shown = f"{clock.stretch(row.shot.start_seconds, row.shot.end_seconds)}: {seen}"
        if passages and passages[0][0] - row.shot.start_seconds <= _TOGETHER_SECONDS:
            shown = f"{shown}. {passages.pop(0)[1]}"
        items.append(Item(shown))
    for start, text in passages:
        at = f"{clock.at(start)}s"
        items.append(Item(f"{at}: {text}", f"{at}: {seen}. {text}" if seen else ""))
    return items
