"""The speech model behind its queue: a transcript in one piece, or segment by segment while it is being made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from encoders.batching.micro_batcher import BatchObserver
from encoders.batching.turns import OneAtATime
from encoders.speech.transcriber import Transcriber
from encoders.types import Sound, TranscribeOptions, Transcript, TranscriptBegun, TranscriptPart

__all__ = ["Listening"]


@dataclass(frozen=True, slots=True)
class _Recording:
    samples: Sound
    options: TranscribeOptions
    tell: Callable[[TranscriptPart], None]
    left: threading.Event = field(default_factory=threading.Event)


class Listening:
    """One transcription at a time, first come first served: each uses all threads it is given.

    Use from one event loop. Who is cancelled while its recording is heard gives the model free after the segment
    that is under way.
    """

    def __init__(self, speech: Transcriber, max_queued: int, observe: BatchObserver | None = None) -> None:
        self._speech = speech
        self._turns: OneAtATime[_Recording, Transcript] = OneAtATime(self._hear, max_queued, observe)

    async def transcribe(self, samples: Sound, options: TranscribeOptions) -> Transcript:
        """What is said. Raises as ``Transcriber.transcribe`` and ``OneAtATime.submit``."""
        return await self._submit(_Recording(samples, options, lambda _: None))

    async def stream(
        self, samples: Sound, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        """The same in parts, each as soon as it is there. Closing the iterator ends the work."""
        loop = asyncio.get_running_loop()
        # It holds no more than the transcript that was to be held anyway, which the length of recordings bounds.
        parts: asyncio.Queue[TranscriptPart | None] = asyncio.Queue()

        def tell(part: TranscriptPart) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(parts.put_nowait, part)

        hearing = asyncio.create_task(self._submit(_Recording(samples, options, tell)))
        hearing.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part
            hearing.result()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def aclose(self) -> None:
        """Stop; see ``OneAtATime.aclose``."""
        await self._turns.aclose()

    async def _submit(self, recording: _Recording) -> Transcript:
        try:
            return await self._turns.submit(recording)
        finally:
            recording.left.set()

    def _hear(self, recording: _Recording) -> Transcript:
        """In the model's thread."""
        segments = []
        with self._speech.stream(recording.samples, recording.options) as heard:
            recording.tell(TranscriptBegun(heard.language, heard.duration_seconds))
            for segment in heard:
                if recording.left.is_set():  # nobody gets what is made here
                    break
                segments.append(segment)
                recording.tell(segment)
        return Transcript(heard.language, heard.duration_seconds, tuple(segments))
