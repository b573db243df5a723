"""Whisper base through openai-whisper, the reference implementation: float32 on the CPU, float16 on a GPU.

The weights are those of ``whisper-base``: OpenAI published them as float16, which the CTranslate2 package carries
as they are, so they are only renamed. They are kept as safetensors; OpenAI's own files are pickles and are never
read. Speech is cut out by the same detector as for faster-whisper and heard in pieces of at most 30 s, cut at
pauses; each piece knows what was said before it. Decoding is OpenAI's own, with the defaults of its ``transcribe``
(greedy, then the ladder of temperatures).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.config import EncoderConfig
from encoders.models import whisper_faster
from encoders.speech.ctranslate2_weights import openai_whisper, read_weights
from encoders.speech.transcriber import (
    SAMPLE_RATE,
    Asked,
    Span,
    TranscriptStream,
    asked,
    audio_tokens,
    cut_out,
    in_order,
    language_guesses,
    pieces,
    put_back,
    speech_spans,
    windows,
)
from encoders.types import (
    AudioTokens,
    LanguageGuess,
    ModelSpec,
    Sound,
    TranscribeOptions,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)
from encoders.weights import find_directory

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "OpenAITranscriber", "dimensions", "load", "prepare"]

_CARRIED = whisper_faster.SPECS[0]

SPEC = ModelSpec(
    name="whisper-base-openai",
    task="speech",
    modalities=("audio", "video"),
    dimensions=None,
    licence="MIT",
    revision=_CARRIED.revision,
    preprocessing="mono16k-vad-pieces-words-1",
    packages=_CARRIED.packages,
    memory_bytes=1400 << 20,
    extra={
        "files": ("model.safetensors", "config.json"),
        "sample_rate": SAMPLE_RATE,
        "languages": 99,
    },
)

# What was said before is a prompt for the next piece, as in Whisper's long-form decoding, unless it was guessed.
_TRUSTED_TEMPERATURE = 0.5
_PROMPT_CHARACTERS = 1000


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Join the carried weights, rename them and write them as safetensors with the network's sizes beside them."""
    from safetensors.numpy import save_file

    joined = target_dir / ".joined"
    joined.mkdir()
    whisper_faster.join_base(joined, lambda fraction, text: progress(0.6 * fraction, text))
    found = read_weights(joined / "model.bin")
    facts = json.loads((joined / "config.json").read_text("utf-8"))
    for path in joined.iterdir():
        path.unlink()
    joined.rmdir()
    progress(0.7, "renaming")
    weights = openai_whisper(found)
    config = {**dimensions(weights), "alignment_heads": facts["alignment_heads"]}
    (target_dir / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    progress(0.8, "writing model.safetensors")
    save_file(
        {name: np.ascontiguousarray(array) for name, array in weights.items()},
        target_dir / "model.safetensors",
    )


def dimensions(weights: dict[str, Any]) -> dict[str, int]:
    """The fields of ``whisper.model.ModelDimensions``. Every published Whisper has heads of 64."""
    audio_context, width = weights["encoder.positional_embedding"].shape
    text_context, text_width = weights["decoder.positional_embedding"].shape
    return {
        "n_mels": weights["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": audio_context,
        "n_audio_state": width,
        "n_audio_head": width // 64,
        "n_audio_layer": sum(
            name.startswith("encoder.") and name.endswith(".mlp.0.bias") for name in weights
        ),
        "n_vocab": weights["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": text_context,
        "n_text_state": text_width,
        "n_text_head": text_width // 64,
        "n_text_layer": sum(name.startswith("decoder.") and name.endswith(".mlp.0.bias") for name in weights),
    }


def load(spec: ModelSpec, config: EncoderConfig) -> OpenAITranscriber:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared or the device is not there."""
    from encoders.torch_device import placement

    device = placement(config.device, threads=config.threads).device
    model = OpenAITranscriber(find_directory(spec, config.models_dir), device)
    model.warm_up()
    return model


class OpenAITranscriber:
    """A ``Transcriber``. Call it from one thread at a time."""

    def __init__(self, directory: Path, device: str = "cpu") -> None:
        import torch
        from safetensors.torch import load_file
        from whisper.model import ModelDimensions, Whisper
        from whisper.tokenizer import LANGUAGES

        facts = json.loads((directory / "config.json").read_text("utf-8"))
        heads = facts.pop("alignment_heads")
        self._model = Whisper(ModelDimensions(**facts))
        self._model.load_state_dict(load_file(directory / "model.safetensors"), strict=True)
        mask = torch.zeros(facts["n_text_layer"], facts["n_text_head"], dtype=torch.bool)
        mask[tuple(zip(*heads, strict=True))] = True
        self._model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        self._model.requires_grad_(False).eval().to(device)
        self._half = device != "cpu"
        self._width: int = facts["n_audio_state"]
        multilingual: bool = self._model.is_multilingual
        known = tuple(LANGUAGES)[: self._model.num_languages]
        self._languages: tuple[str, ...] = known if multilingual else ("en",)

    def warm_up(self) -> None:
        """Compile the alignment of words (numba) and run network and detector once."""
        import torch
        from whisper.timing import dtw
        from whisper.tokenizer import get_tokenizer

        dtw(torch.zeros(2, 2))
        with (
            warnings.catch_warnings()
        ):  # the file of its vocabulary is left for the garbage collector to close
            warnings.simplefilter("ignore", ResourceWarning)
            get_tokenizer(self._model.is_multilingual, num_languages=self._model.num_languages)
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        self.encode(noise)
        speech_spans(noise)

    @property
    def model(self) -> Any:
        """The ``whisper.model.Whisper`` itself, which the benchmark calls directly."""
        return self._model

    @property
    def languages(self) -> tuple[str, ...]:
        """See ``Transcriber``."""
        return self._languages

    def transcribe(self, samples: Sound, options: TranscribeOptions) -> Transcript:
        """See ``Transcriber``."""
        return self.stream(samples, options).transcript()

    def stream(self, samples: Sound, options: TranscribeOptions) -> TranscriptStream:
        """See ``Transcriber``. The language is detected here, pieces are heard as segments are asked for."""
        wanted = asked(options, self._languages, self._model.is_multilingual)
        duration_seconds = len(samples) / SAMPLE_RATE
        spans = speech_spans(samples, 30, wanted.activity)
        language, certain = wanted.language or "en", float(wanted.language is not None)
        if spans and wanted.language is None:
            guess = self._guesses(cut_out(samples, spans))[0]
            language, certain = guess.language, guess.probability
        found = self._heard(samples, spans, wanted, language)
        return TranscriptStream(language, certain, duration_seconds, in_order(found, duration_seconds))

    def _heard(
        self, samples: Sound, spans: Sequence[Span], wanted: Asked, language: str
    ) -> Iterator[TranscriptSegment]:
        before = wanted.prompt
        for piece in pieces(spans):
            told = self._transcribe(cut_out(samples, piece), wanted, language, before)
            yield from put_back(told, piece)
            trusted = bool(told) and told[-1].temperature <= _TRUSTED_TEMPERATURE
            said = "".join(segment.text for segment in told)
            before = f"{before or ''}{said}"[-_PROMPT_CHARACTERS:] if trusted else None

    def _transcribe(
        self, speech: Sound, wanted: Asked, language: str, before: str | None
    ) -> list[TranscriptSegment]:
        with warnings.catch_warnings():
            # "Word-level timestamps on translations may not be reliable", and CPU work on a machine with a GPU.
            warnings.simplefilter("ignore")
            told = self._model.transcribe(
                speech,
                language=language,
                task=wanted.task,
                initial_prompt=before,
                temperature=wanted.temperatures,
                word_timestamps=wanted.words,
                fp16=self._half,
            )
        return [_segment(segment) for segment in told["segments"] if segment["text"].strip()]

    def detect_language(self, samples: Sound) -> tuple[LanguageGuess, ...]:
        """See ``Transcriber``."""
        spans = speech_spans(samples, max_seconds=30)
        return self._guesses(cut_out(samples, spans)) if spans else ()

    def _guesses(self, speech: Sound) -> tuple[LanguageGuess, ...]:
        if len(self._languages) == 1:
            return (LanguageGuess("en", 1.0),)
        window, _ = next(windows(speech))
        _, probabilities = self._model.detect_language(self._features(window))
        return language_guesses(probabilities.items())

    def encode(self, samples: Sound) -> AudioTokens:
        """See ``Transcriber``. All of the recording is encoded, silence too."""
        blocks = [
            self._model.embed_audio(self._features(window)[None])[0, :count].float().cpu().numpy()
            for window, count in windows(samples)
        ]
        return audio_tokens(blocks, self._width)

    def _features(self, window: Sound) -> Any:
        from whisper.audio import log_mel_spectrogram

        features = log_mel_spectrogram(window, self._model.dims.n_mels).to(self._model.device)
        return features.half() if self._half else features


def _segment(told: dict[str, Any]) -> TranscriptSegment:
    """openai-whisper's segment as ours."""
    return TranscriptSegment(
        start_seconds=float(told["start"]),
        end_seconds=float(told["end"]),
        text=told["text"],
        average_log_probability=float(told["avg_logprob"]),
        no_speech_probability=float(told["no_speech_prob"]),
        compression_ratio=float(told["compression_ratio"]),
        temperature=float(told["temperature"]),
        tokens=tuple(int(token) for token in told["tokens"]),
        words=tuple(
            TranscriptWord(float(word["start"]), float(word["end"]), word["word"], float(word["probability"]))
            for word in told.get("words", ())
        ),
    )
