"""Transcripts that are followed while they are being made.

Whoever asks for the same transcript of the same medium at the same time follows the same work, from its beginning;
who asks for one that is known gets it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from encoders.types import TranscribeOptions, Transcript, TranscriptPart, TranscriptSegment
from storage.types import MediaRef

__all__ = ["Followed", "LiveTranscripts"]

Tell: TypeAlias = Callable[[TranscriptPart], None]
Transcribe: TypeAlias = Callable[
    [MediaRef, TranscribeOptions, Tell], Coroutine[Any, Any, tuple[Transcript, str]]
]


@dataclass(frozen=True, slots=True)
class Followed:
    """The end of a transcript that was followed: all of it, and the cache tier it came from."""

    transcript: Transcript
    tier: str


@dataclass(slots=True)
class _Live:
    """The segments so far of a transcript under way, an event that is set and replaced when there are more, and how
    many follow.
    """

    segments: list[TranscriptSegment] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0

    def tell(self, part: TranscriptPart) -> None:
        if isinstance(part, TranscriptSegment):
            self.segments.append(part)
        else:
            self.segments.clear()  # work that failed has begun anew
        self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class LiveTranscripts:
    """Follows what ``transcribe`` does, which looks into the caches and shares identical work. One per gateway."""

    def __init__(self, transcribe: Transcribe) -> None:
        self._transcribe = transcribe
        self._live: dict[tuple[str, str, TranscribeOptions], _Live] = {}

    def __len__(self) -> int:
        """How many transcripts are being followed."""
        return len(self._live)

    async def follow(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptSegment | Followed, None]:
        """Every segment as soon as it is known, then ``Followed``. Raises as ``Perceiver.transcribe``.

        Closing the iterator ends the work, unless others wait for it.
        """
        key = (media.tenant, media.sha256, options)
        live = self._live.setdefault(key, _Live())
        live.followers += 1
        hearing = asyncio.create_task(self._transcribe(media, options, live.tell))

        def ended(task: asyncio.Task[tuple[Transcript, str]]) -> None:
            live.followers -= 1
            # When only one of several has left, the work goes on for the others and whoever comes.
            if self._live.get(key) is live and not (task.cancelled() and live.followers):
                del self._live[key]
            live.wake()

        hearing.add_done_callback(ended)
        told = 0
        try:
            while not hearing.done():
                news = live.news
                if told < len(live.segments):
                    told += 1
                    yield live.segments[told - 1]
                else:
                    await news.wait()
            transcript, tier = hearing.result()
            for segment in transcript.segments[told:]:
                yield segment
            yield Followed(transcript, tier)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
