"""The speech model behind its queue: a transcript in one piece, or segment by segment while it is being made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import numpy as np

from encoders.batching.micro_batcher import BatchObserver
from encoders.batching.parts import InParts
from encoders.speech.transcriber import Transcriber
from encoders.types import Sound, TranscribeOptions, Transcript, TranscriptBegun, TranscriptPart

__all__ = ["Listening"]

_MOMENT: Sound = np.zeros(1600, np.float32)  # of silence, which costs no more than to find that it is
_SILENCE_SECONDS = 600.0  # in which no recording says nothing, on any machine that is of use


class Listening:
    """One transcription at a time: each uses all threads it is given. See ``InParts``."""

    def __init__(self, speech: Transcriber, max_queued: int, observe: BatchObserver | None = None) -> None:
        self._speech = speech
        self._turns: InParts[tuple[Sound, TranscribeOptions], TranscriptPart, Transcript] = InParts(
            self._hear, max_queued, observe
        )

    async def transcribe(self, samples: Sound, options: TranscribeOptions) -> Transcript:
        """What is said. Raises as ``Transcriber.transcribe``."""
        return await self._turns.result((samples, options))

    def stream(self, samples: Sound, options: TranscribeOptions) -> AsyncGenerator[TranscriptPart, None]:
        """The same in parts, each as soon as it is there. Closing the iterator ends the work."""
        return self._turns.parts((samples, options))

    @property
    def waiting_seconds(self) -> float:
        """For how long the first recording that waits has waited; 0 while none does."""
        return self._turns.waiting_seconds

    async def check_alive(self, timeout_seconds: float) -> None:
        """Raise ``TimeoutError`` when the model's thread no longer works. Busy is healthy: a long recording takes
        minutes, but says something now and then.
        """
        await self._turns.check_alive((_MOMENT, TranscribeOptions()), timeout_seconds, _SILENCE_SECONDS)

    async def aclose(self) -> None:
        """Stop."""
        await self._turns.aclose()

    def _hear(
        self, asked: tuple[Sound, TranscribeOptions], tell: Callable[[TranscriptPart], bool]
    ) -> Transcript:
        """In the model's thread."""
        segments = []
        with self._speech.stream(*asked) as heard:
            tell(TranscriptBegun(heard.language, heard.duration_seconds))
            for segment in heard:
                segments.append(segment)
                if not tell(segment):  # nobody gets what is made here
                    break
        return Transcript(heard.language, heard.duration_seconds, tuple(segments))
