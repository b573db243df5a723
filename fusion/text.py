"""The ``text`` strategy: what was perceived of a medium, written into the prompt of any text decoder.

Short plain sentences with the numbers in place, so that a small decoder can answer from them. Each medium
becomes one block; blocks share the token budget fairly, and what does not fit is left out with a note that
says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from encoders.types import EncodedFrame, ImageLabel, MediaKind, Transcript
from fusion.config import FusionConfig
from fusion.errors import PromptTooLong
from fusion.sections import Keep, Section, TokenCounter, share_budget, shorten
from fusion.types import FusedBlock, PerceivedMedium
from fusion.wording import names as names_of
from fusion.wording import opening, plain, said

__all__ = ["TextFusion", "assemble"]

_FIT_TRIES = 6


@dataclass(slots=True)
class _Draft:
    """A block before shortening: one opening text that always stays, then lists that may be cut."""

    opening: str
    sections: list[Section] = field(default_factory=list)

    def full(self) -> str:
        return "\n".join((self.opening, *(section.full() for section in self.sections)))


class TextFusion:
    """Writes perceived media as text blocks. ``count_tokens`` counts as the decoder's tokenizer does."""

    def __init__(self, config: FusionConfig, count_tokens: TokenCounter) -> None:
        self._config = config
        self._count = count_tokens

    def fuse(
        self, media: Sequence[PerceivedMedium], budget_tokens: int | None = None
    ) -> tuple[FusedBlock, ...]:
        """One block per medium, in order, together within ``budget_tokens`` (default: the configured budget).

        Raises ``PromptTooLong`` when not even the shortest form of every block fits.
        """
        budget = self._config.media_token_budget
        if budget_tokens is not None:
            budget = min(budget, budget_tokens)
        names = names_of([medium.info.kind for medium in media])
        drafts = [self._draft(medium, name) for medium, name in zip(media, names, strict=True)]
        needs = [self._count(draft.full()) for draft in drafts]
        shares = share_budget(needs, budget)
        return tuple(
            FusedBlock(draft.full(), need) if need <= share else self._fit(draft, share)
            for draft, need, share in zip(drafts, needs, shares, strict=True)
        )

    def _fit(self, draft: _Draft, share: int) -> FusedBlock:
        room = share
        for _ in range(_FIT_TRIES):
            opening = self._count(draft.opening)
            needs = [self._count(section.full()) for section in draft.sections]
            shares = share_budget(needs, room - opening)
            shorts = [
                shorten(section, part, self._count)
                for section, part in zip(draft.sections, shares, strict=True)
            ]
            text = "\n".join((draft.opening, *(short.text for short in shorts)))
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
        if medium.info.kind is MediaKind.AUDIO:
            return self._recording(medium, name)
        return self._video(medium, name)

    def _picture(self, medium: PerceivedMedium, name: str) -> _Draft:
        size = ""
        if medium.info.width and medium.info.height:
            size = f" ({medium.info.width} x {medium.info.height} pixels)"
        labels = medium.image.labels if medium.image is not None else ()
        shown = self._labels(labels, self._config.max_labels)
        draft = _Draft(
            f"{name}{size} shows: {shown}." if shown else f"{name}{size} shows nothing that was recognised."
        )
        lines = tuple(f'"{text}"' for text in (plain(line.text) for line in medium.text_lines) if text)
        if lines:
            headline = f"Text written in {name[0].lower()}{name[1:]}:"
            draft.sections.append(Section(headline, lines, "lines of written text", Keep.FIRST))
        return draft

    def _recording(self, medium: PerceivedMedium, name: str) -> _Draft:
        draft = _Draft(opening(name, medium.info.duration_seconds))
        _add_speech(draft, medium.transcript, name)
        return draft

    def _video(self, medium: PerceivedMedium, name: str) -> _Draft:
        duration = medium.info.duration_seconds
        if duration is None and medium.video is not None:
            duration = medium.video.duration_seconds
        draft = _Draft(opening(name, duration))
        if medium.video is not None and medium.video.frames:
            items = tuple(self._timeline(medium.video.frames))
            draft.sections.append(
                Section(f"{name} shows, by time:", items, "moments of the video", Keep.SPREAD)
            )
        if medium.info.has_audio:
            _add_speech(draft, medium.transcript, name)
        else:
            draft.opening += " It has no sound."
        return draft

    def _timeline(self, frames: Sequence[EncodedFrame]) -> list[str]:
        """One line per stretch of frames with the same labels, probabilities averaged over the stretch."""
        stretches: list[list[EncodedFrame]] = []
        last: frozenset[str] | None = None
        for frame in frames:
            names = frozenset(
                _label_name(label) for label in self._wanted(frame.labels, self._config.max_frame_labels)
            )
            if stretches and names == last:
                stretches[-1].append(frame)
            else:
                stretches.append([frame])
            last = names
        lines = []
        for stretch in stretches:
            start, end = stretch[0].time_seconds, stretch[-1].time_seconds
            when = f"{start:.1f}s" if start == end else f"{start:.1f}s to {end:.1f}s"
            lines.append(
                f"{when}: {self._labels(_averaged(stretch), self._config.max_frame_labels) or 'unclear'}"
            )
        return lines

    def _wanted(self, labels: Sequence[ImageLabel], most: int) -> list[ImageLabel]:
        return [label for label in labels[:most] if label.probability >= self._config.min_label_probability]

    def _labels(self, labels: Sequence[ImageLabel], most: int) -> str:
        written = []
        for label in self._wanted(labels, most):
            hedge = "perhaps " if label.probability < self._config.sure_label_probability else ""
            written.append(f"{hedge}{_label_name(label)} ({label.probability:.0%})")
        return ", ".join(written)


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


def _add_speech(draft: _Draft, transcript: Transcript | None, name: str) -> None:
    items = tuple(line for _, line in said(transcript))
    if items:
        draft.sections.append(Section(f"{name} says, by time:", items, "passages of speech", Keep.ENDS))
    else:
        draft.opening += " Nobody speaks in it."


def _averaged(stretch: Sequence[EncodedFrame]) -> list[ImageLabel]:
    """Labels of a stretch of frames with their mean probability, sorted by it."""
    sums: dict[str, float] = {}
    for frame in stretch:
        for label in frame.labels:
            sums[label.text] = sums.get(label.text, 0.0) + label.probability
    labels = [ImageLabel(text, total / len(stretch)) for text, total in sums.items()]
    return sorted(labels, key=lambda label: -label.probability)


def _label_name(label: ImageLabel) -> str:
    """The first of a class's synonyms ("tabby, tabby cat" is "tabby")."""
    return plain(label.text.split(",", 1)[0])
