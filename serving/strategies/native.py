"""The ``native`` strategy: the decoder looks at the media itself.

What it cannot take in becomes something it can: frames of a video pictures with times, speech text with times.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from encoders.types import FrameSampling, MediaKind
from fusion.config import NativeConfig
from fusion.errors import PromptTooLong
from fusion.prompt import Look, PromptComposer, Slot
from serving.errors import LimitExceeded
from serving.perceiver import Perceived, Perceiver, perceived_of
from serving.services import NativeMedium
from serving.strategies.picture_places import frames_shown
from serving.strategies.placing import content_parts, placed, renumbered
from serving.strategies.strategy import Block, Content, FusedMedia, Wanted
from storage.keys import artifact_key
from storage.types import MediaRef

__all__ = ["NativeStrategy"]

_SMALLER = (1, 2, 4)  # pictures that do not fit are shown at a half, then a quarter of their size
_LEAST_SIDE = 64


class NativeStrategy:
    """Satisfies ``Strategy``. Media reach the decoder under ids of our own, made with ``secret``.

    Frames of a video are shown as pictures with their times to a decoder that takes no films.
    """

    def __init__(
        self, perceiver: Perceiver, composer: PromptComposer, native: NativeConfig, secret: bytes
    ) -> None:
        self._perceiver = perceiver
        self._composer = composer
        self._native = native
        self._secret = secret

    async def perceive(self, wanted: Wanted) -> Perceived:
        """When a video's frames are, and what is said where the decoder does not listen. Pictures need nothing."""
        media, info, options = wanted.media, wanted.info, wanted.options
        works: dict[str, Coroutine[Any, Any, tuple[Any, str]]] = {}
        sampling = None
        if info.kind is MediaKind.VIDEO:
            # Films are given frames at even times; as pictures, none that shows the same as the one before.
            sampling = options.sampling or self._perceiver.sampling
            if self._takes(MediaKind.VIDEO):
                sampling = replace(sampling, drop_near_duplicates=False)
            works["frames"] = self._perceiver.encode_video(media, sampling)
        audible = info.kind is MediaKind.AUDIO or (info.kind is MediaKind.VIDEO and info.has_audio)
        if audible and not (info.kind is MediaKind.AUDIO and self._takes(MediaKind.AUDIO)):
            works["transcript"] = self._perceiver.transcribe(media, options.transcription)
        if info.kind is not MediaKind.AUDIO or self._takes(MediaKind.AUDIO):
            await self._perceiver.shown(media, sampling)
        perceived = await perceived_of(
            media, info, works, None if options.whole else self._perceiver.degradation
        )
        return replace(perceived, detail=wanted.detail, sampling=sampling)

    def fuse(self, perceived: Sequence[Perceived], budget_tokens: int, question: str) -> FusedMedia:
        """See ``Strategy.fuse``. Raises ``LimitExceeded`` when the decoder takes fewer pictures."""
        shown = self._shown(perceived)
        for smaller in _SMALLER:
            sides = [self._side(item, smaller) for item in perceived]
            looks = [
                self._look(item, frames, side)
                for item, frames, side in zip(perceived, shown, sides, strict=True)
            ]
            try:
                blocks = self._composer.compose(looks, budget_tokens, question)
            except PromptTooLong:
                if smaller == _SMALLER[-1]:
                    raise
                continue
            break
        fused = placed(
            blocks, lambda medium, slot: self._attach(perceived[medium], shown[medium], slot, sides[medium])
        )
        return renumbered(fused, shown)

    def content(self, parts: Sequence[str | Block]) -> Content:
        """Texts, and attachments of media."""
        return content_parts(parts)

    def _takes(self, kind: MediaKind) -> bool:
        return self._native.limits.get(kind, 0) > 0

    def _shown(self, perceived: Sequence[Perceived]) -> list[tuple[int, ...]]:
        """Of each video the frames, by number, that may be shown."""
        counts = {kind: sum(item.medium.info.kind is kind for item in perceived) for kind in MediaKind}
        for kind, count in counts.items():
            if self._takes(kind) and count > self._native.limits[kind]:
                raise LimitExceeded(
                    f"The request brings {count} media of the kind '{kind.value}'; the model takes at most "
                    f"{self._native.limits[kind]} in one prompt.",
                    "messages",
                )
        frames = [len(item.medium.video.frames) if item.medium.video is not None else 0 for item in perceived]
        if not self._takes(MediaKind.VIDEO) and counts[MediaKind.VIDEO]:
            kinds = [item.medium.info.kind for item in perceived]
            return frames_shown(kinds, frames, self._native.limits.get(MediaKind.IMAGE, 0))
        return [tuple(range(count)) for count in frames]

    def _side(self, item: Perceived, smaller: int) -> int:
        """Pixels of the longer side at which a medium is shown."""
        native = self._native
        if item.sampling is not None:
            side = min(item.sampling.max_side, native.sides.low)
        else:
            side = native.sides.of(item.detail)
        return max(_LEAST_SIDE, side // smaller)

    def _look(self, item: Perceived, frames: tuple[int, ...], side: int) -> Look:
        info, cost = item.medium.info, self._native.cost
        width, height = info.width or side, info.height or side
        if info.kind is MediaKind.IMAGE:
            return Look(item.medium, 1, cost.tokens(width, height, side))
        if item.medium.video is not None:
            times = tuple(item.medium.video.frames[index].time_seconds for index in frames)
            if self._takes(MediaKind.VIDEO):
                together = cost.film_tokens(width, height, side)
                each = math.ceil(together / cost.frames_together)
                return Look(item.medium, len(frames), each, times, joined=True, rest_tokens=together - each)
            return Look(
                item.medium,
                len(frames),
                cost.tokens(width, height, side),
                times,
                of_pieces=len(item.medium.video.frames),
            )
        if self._takes(MediaKind.AUDIO):
            seconds = info.duration_seconds or 0.0
            return Look(item.medium, 1, math.ceil(seconds * self._native.sound_tokens_per_second) + 2)
        return Look(item.medium)

    def _attach(self, item: Perceived, frames: tuple[int, ...], slot: Slot, side: int) -> NativeMedium:
        kind, media = item.medium.info.kind, cast(MediaRef, item.media)  # ``perceive`` has put it there
        if kind is not MediaKind.VIDEO or item.sampling is None or item.medium.video is None:
            max_side = side if kind is MediaKind.IMAGE else 0
            return NativeMedium(self._content_id(media, kind, max_side, None, ()), media, kind, max_side)
        seen = item.medium.video.frames
        times = tuple(seen[frames[piece]].time_seconds for piece in slot.pieces)
        # Frames are found again by their times: near-duplicates must be among them, since which ones there are
        # may differ at another size.
        sampling = replace(item.sampling, max_side=side, drop_near_duplicates=False)
        shown_as = MediaKind.VIDEO if self._takes(MediaKind.VIDEO) else MediaKind.IMAGE
        content_id = self._content_id(media, shown_as, side, sampling, times)
        return NativeMedium(content_id, media, shown_as, side, sampling, times)

    def _content_id(
        self,
        media: MediaRef,
        kind: MediaKind,
        max_side: int,
        sampling: FrameSampling | None,
        times_seconds: tuple[float, ...],
    ) -> str:
        params = {
            "kind": kind.value,
            "max_side": max_side,
            "sampling": None if sampling is None else asdict(sampling),
            "times_seconds": times_seconds,
        }
        return artifact_key(self._secret, media.tenant, media.sha256, "native", "decoder", "1", "1", params)
