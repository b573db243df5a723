"""The ``Transcriber`` of faster-whisper: window by window, or several windows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from encoders.errors import ModelUnavailable
from encoders.speech.log_mel import LogMel
from encoders.speech.transcriber import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Asked,
    Span,
    TranscriptStream,
    asked,
    audio_tokens,
    cut_out,
    in_order,
    joined,
    language_guesses,
    pieces,
    put_back,
    sentences,
    shifted,
    speech_spans,
    windows,
)
from encoders.types import (
    AudioTokens,
    LanguageGuess,
    Sound,
    TranscribeOptions,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
    Vector,
    VoiceActivity,
)

__all__ = ["FasterTranscriber"]

# The limits of Whisper's paper (section 4.5), as faster-whisper's window by window has them.
_MAX_COMPRESSION, _MIN_LOG_PROBABILITY, _MAX_NO_SPEECH = 2.4, -1.0, 0.6

# Shorter recordings have too few windows to batch, and their first segment should come soon.
_BATCHED_FROM_SAMPLES = 120 * SAMPLE_RATE

# Windows that know nothing of each other are cut at every pause, so that none ends within a word.
_BRIEF_PAUSES = VoiceActivity(silence_seconds=0.16)


class FasterTranscriber:
    """A ``Transcriber``. Call it from one thread at a time.

    With a ``batch_size`` above 1 recordings of more than two minutes of speech are heard so many windows at a time.
    """

    def __init__(
        self,
        directory: Path,
        *,
        threads: int = 2,
        device: str = "cpu",
        compute_type: str = "int8",
        translates: bool = True,
        batch_size: int = 1,
    ) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        kind, _, index = device.partition(":")
        self._model = WhisperModel(
            str(directory),
            device=kind,
            device_index=int(index or 0),
            compute_type=compute_type,
            cpu_threads=threads,
            local_files_only=True,
        )
        self._model.feature_extractor = LogMel(self._model.feature_extractor)
        if len(self._model.feature_extractor.mel_filters) != self._model.model.n_mels:
            raise ModelUnavailable(
                "The speech model hears in other frequency bands than its folder says; put the "
                "'preprocessor_config.json' it was published with beside it."
            )
        self._kept: tuple[Vector, Any] | None = None
        self._encode_anew = self._model.encode
        self._model.encode = self._encode
        self._pipeline = BatchedInferencePipeline(self._model)
        self._batch_size = batch_size
        multilingual: bool = self._model.model.is_multilingual
        self._translates = translates and multilingual
        # faster-whisper lists Cantonese for every model; only those since large-v3 have a token for it.
        token = self._model.hf_tokenizer.token_to_id
        self._languages = (
            tuple(code for code in _LANGUAGE_CODES if token(f"<|{code}|>") is not None)
            if multilingual
            else ("en",)
        )

    def warm_up(self) -> None:
        """Run detector and network once on noise, so that the first request does not pay for it."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        segments, _ = self._model.transcribe(noise, language="en", vad_filter=False, max_new_tokens=1)
        list(segments)
        self.transcribe(np.zeros(SAMPLE_RATE, dtype=np.float32), TranscribeOptions(language="en"))

    @property
    def languages(self) -> tuple[str, ...]:
        """See ``Transcriber``."""
        return self._languages

    def transcribe(self, samples: Sound, options: TranscribeOptions) -> Transcript:
        """See ``Transcriber``."""
        return self.stream(samples, options).transcript()

    def stream(self, samples: Sound, options: TranscribeOptions) -> TranscriptStream:
        """See ``Transcriber``. The language is detected here, the first window is heard at the first segment."""
        wanted = asked(options, self._languages, self._translates)
        duration_seconds = len(samples) / SAMPLE_RATE
        # The batch samples nothing, so a temperature above 0 has to go window by window.
        batched = self._batch_size > 1 and len(samples) > _BATCHED_FROM_SAMPLES and not wanted.temperatures[0]
        if batched:
            spans = speech_spans(samples, 30, wanted.activity or _BRIEF_PAUSES)
        else:
            spans = speech_spans(samples, activity=wanted.activity)
        if not spans:  # a language guessed from silence would be noise
            certain = float(wanted.language is not None)
            return TranscriptStream(wanted.language or "en", certain, duration_seconds, iter(()))
        speech = cut_out(samples, spans)
        if batched:
            found, spoken = self._batched(speech, spans, wanted)
        else:
            given = wanted.language
            spoken = self._spoken(speech) if given is None else LanguageGuess(given, 1.0)
            found = self._by_window(speech, replace(wanted, language=spoken.language))
        segments = in_order(put_back(found, spans), duration_seconds)
        return TranscriptStream(spoken.language, spoken.probability, duration_seconds, segments)

    def _spoken(self, speech: Sound) -> LanguageGuess:
        """The language of the first window. What the encoder made of it is kept for ``_by_window``, for which
        faster-whisper alone would encode it once more.
        """
        from faster_whisper.audio import pad_or_trim

        if len(self._languages) == 1:
            return LanguageGuess("en", 1.0)
        features = self._model.feature_extractor.keep(speech)
        window = pad_or_trim(features[:, :-1][:, : self._model.feature_extractor.nb_max_frames])
        output = self._encode_anew(window)
        self._kept = (window, output)
        token, probability = self._model.model.detect_language(output)[0][0]
        return LanguageGuess(token[2:-2], float(probability))

    def _encode(self, features: Vector) -> Any:
        """faster-whisper's ``encode``, which need not be done again for the window that ``_spoken`` has kept."""
        kept, self._kept = self._kept, None
        if kept is not None and np.array_equal(kept[0], features):
            return kept[1]
        return self._encode_anew(features)

    def _by_window(self, speech: Sound, known: Asked) -> Iterator[TranscriptSegment]:
        """One window after the other, each knowing what was said before it; faster-whisper's defaults."""
        segments, _ = self._model.transcribe(
            speech,
            language=known.language,
            task=known.task,
            initial_prompt=known.prompt,
            temperature=list(known.temperatures),
            word_timestamps=known.words,
        )
        return (_segment(segment) for segment in segments)

    def _batched(
        self, speech: Sound, spans: Sequence[Span], wanted: Asked
    ) -> tuple[Iterator[TranscriptSegment], LanguageGuess]:
        """Several windows at once, cut at pauses; each comes back as its sentences.

        Word times are always found, since the sentences' times come from them.
        """
        clips = [(span["start"], span["end"]) for span in joined(pieces(spans))]
        segments, info = self._pipeline.transcribe(
            speech,
            language=wanted.language,
            task=wanted.task,
            initial_prompt=wanted.prompt,
            temperature=0.0,
            word_timestamps=True,
            clip_timestamps=[
                {"start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE} for start, end in clips
            ],
            batch_size=self._batch_size,
        )
        known = replace(wanted, language=info.language)
        guess = LanguageGuess(info.language, float(info.language_probability))
        return self._checked(segments, speech, clips, known), guess

    def _checked(
        self, segments: Iterator[Any], speech: Sound, clips: Sequence[tuple[int, int]], wanted: Asked
    ) -> Iterator[TranscriptSegment]:
        """The batch's segments as sentences. A window that repeats itself or is improbable is heard again alone,
        where the ladder of temperatures is tried; one that is improbable and likely silent is left out. The limits
        are Whisper's.
        """
        for (start, end), (_, told) in zip(clips, groupby(segments, key=attrgetter("seek")), strict=True):
            window = [_segment(segment) for segment in told]
            repeats = any(segment.compression_ratio > _MAX_COMPRESSION for segment in window)
            improbable = window[0].average_log_probability < _MIN_LOG_PROBABILITY
            if improbable and window[0].no_speech_probability > _MAX_NO_SPEECH:
                continue
            if repeats or improbable:
                for segment in self._by_window(speech[start:end], wanted):
                    yield shifted(segment, start / SAMPLE_RATE)
                continue
            for segment in window:
                for sentence in sentences(segment, self._tokens):
                    yield sentence if wanted.words else replace(sentence, words=())

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._model.hf_tokenizer.encode(text, add_special_tokens=False).ids)

    def detect_language(self, samples: Sound) -> tuple[LanguageGuess, ...]:
        """See ``Transcriber``."""
        spans = speech_spans(samples)
        if not spans:
            return ()
        if len(self._languages) == 1:
            return (LanguageGuess("en", 1.0),)
        window, _ = next(windows(cut_out(samples, spans)))
        told = self._model.model.detect_language(self._encoded(window))[0]
        return language_guesses((token[2:-2], probability) for token, probability in told)

    def encode(self, samples: Sound) -> AudioTokens:
        """See ``Transcriber``. All of the recording is encoded, silence too."""
        import ctranslate2

        blocks = []
        for window, count in windows(samples):
            output = self._encoded(window).to(ctranslate2.DataType.float32)
            blocks.append(np.array(output.to_device(ctranslate2.Device.cpu))[0, :count])
        width = (
            blocks[0].shape[1] if blocks else self._encoded(np.zeros(WINDOW_SAMPLES, np.float32)).shape[-1]
        )
        return audio_tokens(blocks, width)

    def _encoded(self, window: Sound) -> Any:
        """The encoder's output of one full window, ``(1, 1500, width)``, where the model lies."""
        return self._model.encode(self._model.feature_extractor(window, padding=0))


def _segment(segment: Any) -> TranscriptSegment:
    """faster-whisper's segment as ours."""
    return TranscriptSegment(
        start_seconds=float(segment.start),
        end_seconds=float(segment.end),
        text=segment.text,
        average_log_probability=float(segment.avg_logprob),
        no_speech_probability=float(segment.no_speech_prob),
        compression_ratio=float(segment.compression_ratio),
        temperature=float(segment.temperature or 0.0),
        tokens=tuple(int(token) for token in segment.tokens),
        words=tuple(
            TranscriptWord(float(word.start), float(word.end), word.word, float(word.probability))
            for word in segment.words or ()
        ),
    )
