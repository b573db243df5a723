"""The voice beside the encoders: loaded when it is first asked, so that who never asks pays nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from typing import cast

from encoders import registry
from encoders.batching.micro_batcher import BatchObserver
from encoders.batching.parts import InParts
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable, UnsupportedMedia
from encoders.speech.sound_writer import sound_writer
from encoders.speech.tempo import Tempo
from encoders.speech.voice import Voice
from encoders.types import SpeakOptions, Spoken

__all__ = ["Speaking"]

_MAX_QUEUED = 16


class Speaking:
    """Says one text at a time, and gives its sound out as it is made. Use from one event loop."""

    def __init__(
        self,
        load: Callable[[], Voice] | None,
        observe: BatchObserver | None = None,
        max_queued: int = _MAX_QUEUED,
    ) -> None:
        """Without ``load`` there is no voice."""
        self._load = load
        self._voice: Voice | None = None
        self._turns: InParts[SpeakOptions, bytes | Spoken, None] = InParts(self._say, max_queued, observe)

    @classmethod
    def of(cls, config: EncoderConfig, observe: BatchObserver) -> Speaking:
        """With the voice that is set, if one is."""
        name = config.voice_model
        return cls(None if name is None else lambda: cast(Voice, registry.load(name, config)), observe)

    def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        """The bytes of the sound, then ``Spoken``. See ``Perception.speak``."""
        return self._turns.parts(options)

    @property
    def waiting_seconds(self) -> float:
        """For how long the first text that waits has waited; 0 while none does."""
        return self._turns.waiting_seconds

    async def aclose(self) -> None:
        """Stop."""
        await self._turns.aclose()

    def _say(self, options: SpeakOptions, tell: Callable[[bytes | Spoken], bool]) -> None:
        """In the voice's thread."""
        if self._load is None:
            raise ModelUnavailable("No voice is set (encoders.voice).")
        if self._voice is None:
            self._voice = self._load()
        with closing(_sound(self._voice, options)) as sound:
            for piece in sound:
                if not tell(piece):  # nobody hears the rest
                    return


def _sound(voice: Voice, options: SpeakOptions) -> Generator[bytes | Spoken, None, None]:
    rate = voice.sample_rate
    tempo = Tempo(options.speed, rate)
    read = made = samples = 0
    with closing(sound_writer(options.form, rate)) as writer:
        for said in voice.speak(options.text, min(options.speed, 1.0)):
            faster = tempo.faster(said.samples)
            read, made, samples = read + said.input_tokens, made + said.output_tokens, samples + len(faster)
            if written := writer.write(faster):
                yield written
        if not read:
            raise UnsupportedMedia(
                "There is nothing in the text that this voice can read; it speaks English."
            )
        rest = tempo.rest()
        yield writer.write(rest) + writer.end()
    yield Spoken(read, made, (samples + len(rest)) / rate)
