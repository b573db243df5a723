"""The deployment that hears and speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from encoders.batching.turns import OneAtATime
from encoders.config import EncoderConfig
from encoders.types import (
    AudioTokens,
    Sound,
    SpeakOptions,
    Spoken,
    TranscribeOptions,
    Transcript,
    TranscriptPart,
)
from serving.deployments.encoder_deployment import Loaded, MediaDeployment
from serving.deployments.listening import Listening
from serving.deployments.speaking import Speaking
from storage.types import MediaRef

__all__ = ["AudioDeployment"]

_MAX_QUEUED_TRANSCRIPTIONS = 8  # each holds up to half an hour of sound: 115 MB
_HEALTH_SECONDS = 20.0  # within Ray's own 30


class AudioDeployment(MediaDeployment):
    """The methods of ``serving.services.Perception`` that take sound, and the voice."""

    async def sound(self, media: MediaRef) -> Sound:
        """See ``Perception.sound``."""
        return await self._reader.decoded(media, self._decoder.audio)

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        """See ``Perception.audio_tokens``. One at a time, beside the transcriptions."""
        return await self._hearing.submit(await self.sound(media))

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        """See ``Perception.transcribe``."""
        return await self._speech.transcribe(await self.sound(media), options)

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        """See ``Perception.transcript_parts``."""
        samples = await self.sound(media)
        async with aclosing(self._speech.stream(samples, options)) as parts:
            async for part in parts:
                yield part

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        """See ``Perception.speak``."""
        async with aclosing(self._speaking.speak(options)) as pieces:
            async for piece in pieces:
                yield piece

    async def check_health(self) -> None:
        """Raise when the speech model's thread no longer works. Busy is healthy, however long the queue is."""
        await self._speech.check_alive(_HEALTH_SECONDS)

    def _loaded_at_start(self, config: EncoderConfig) -> Sequence[str]:
        return (config.speech_model, *super()._loaded_at_start(config))

    def _loaded_on_use(self, config: EncoderConfig) -> Sequence[str]:
        voice = config.voice_model
        return (*super()._loaded_on_use(config), *(() if voice is None else (voice,)))

    def _begin(self, loaded: Loaded) -> None:
        super()._begin(loaded)
        speech = loaded.models[loaded.config.speech_model]
        self._speech = self._worker(Listening(speech, _MAX_QUEUED_TRANSCRIPTIONS, loaded.observer("speech")))
        # No health check asks this one: it says nothing until it is done, and busy is healthy.
        self._hearing: OneAtATime[Sound, AudioTokens] = self._worker(
            OneAtATime(speech.encode, _MAX_QUEUED_TRANSCRIPTIONS, loaded.observer("speech tokens"))
        )
        self._speaking = self._worker(Speaking.of(loaded.config, loaded.observer("voice")))
