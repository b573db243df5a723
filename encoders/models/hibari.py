"""Hibari's voice "heart" (2026): English text to speech, 8 MB, distilled from Kokoro-82M.

Text becomes phonemes by a dictionary, rules and a small network for unknown words; one more network (int8, ONNX)
makes of them spectra and pitch, from which numpy makes the sound. Measured here on two cores with AVX2: 70 to 90
times as fast as it is spoken, loaded in 0.9 s.

Made slower than its own pace it can be understood at a quarter of it. Made faster by the network it loses sounds:
Whisper base heard "she sells sea shells" as "he's L.C. shells" at 1.5 times; faster speech is therefore made from
the sound (``encoders.speech.tempo``), which it heard without an error at 1.5 and with one at 2.

The package is the library too: its files are JSON and ONNX, nothing in them can run. Some texts made it take
minutes ("1-" two thousand times, thousands of brackets), so it is given short pieces of short words only
(``encoders.speech.voice.pieces_of``): 4,096 characters of the worst that was found then take 5 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.config import EncoderConfig
from encoders.errors import UnsupportedMedia
from encoders.speech.voice import Utterance, pieces_of
from encoders.types import ModelSpec
from encoders.weights import find_directory, verified_package_files

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "HibariVoice", "load", "prepare"]

_SHA256 = {
    "hibari.onnx": "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8",
    "vocab.json": "70abefbe8a1c8865e43e0a43bbdc25b91a33e4aa053479d443ccf23e20a59e5d",
    "normalize.json": "d478ff05404bc43ac3e0468e306674e51085f1b1afc94cdef7c7ea4fb0d56bd8",
    "lexicon_us_gold.json.gz": "63ae94f8ef0e906d5b24fe9b59ffcbd1529aca5686a774610e43973cbaa86ad2",
    "lexicon_us_silver.json.gz": "c4c2546ebf1eb07010331e7ef785a431aa17ba8e7bfb6b4af8d654ee96a71fd3",
    "tagger.json.gz": "d2da7502284bbbe45d49e0b7ce3ce67bdab82254150f4317f1b8559b4d38d0eb",
    "tokenizer_exceptions.json": "ddf3a3da07bdcf5144270ea4530191d8580fb4fd6f5ae93296e87916e795659a",
    "oov.onnx": "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
    "oov.json": "b462e6e5dbdf0e7346c732385d0dd844f612f1770871441c56932bff4ca75d8c",
}

SPEC = ModelSpec(
    name="hibari-heart",
    task="voice",
    modalities=("audio",),
    dimensions=None,
    licence="Apache-2.0",
    revision=_SHA256["hibari.onnx"][:8],
    preprocessing="pieces240-1",
    packages=("hibari-tts",),
    memory_bytes=512 << 20,
    extra={
        "files": tuple(_SHA256),
        "package_folder": "hibari/assets",
        "sample_rate": 24_000,
        "languages": 1,
        "voices": ("heart",),
    },
)

_MAX_PHONEMES = 400  # in one run of the network, whose memory grows with the square
_PLAIN = re.compile(r"[^A-Za-z0-9 .,;:!?']+")


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Check the package's files; they are used where they lie, so nothing is written."""
    verified_package_files(spec.packages[0], spec.extra["package_folder"], _SHA256, spec.name, progress)


def load(spec: ModelSpec, config: EncoderConfig) -> HibariVoice:
    """Load and warm up. Raises ``ModelUnavailable`` when the files are not found."""
    voice = HibariVoice(find_directory(spec, config.models_dir), config.threads)
    list(voice.speak("Ready."))
    return voice


class HibariVoice:
    """A ``Voice``. Call it from one thread at a time."""

    sample_rate = 24_000

    def __init__(self, directory: Path, threads: int = 2) -> None:
        from hibari import Hibari

        self._model: Any = Hibari(model=str(directory / "hibari.onnx"), threads=threads)

    def speak(self, text: str, pace: float = 1.0) -> Iterator[Utterance]:
        """See ``Voice``."""
        # "[word](/phonemes/)" is the library's own notation; a link in a text must not be read as one.
        plain = text.replace("](", "] (")
        for piece in pieces_of(self._model.split_sentences(plain)):
            for phonemes in self._phonemes(piece):
                for start in range(0, len(phonemes), _MAX_PHONEMES):
                    yield from self._said(phonemes[start : start + _MAX_PHONEMES], pace)

    def _phonemes(self, piece: str) -> list[str]:
        # The library stumbles over some characters, such as digits of other scripts.
        for readable in (piece, _PLAIN.sub(" ", piece)):
            try:
                return list(self._model.phonemize(readable))
            except (ArithmeticError, LookupError, ValueError):
                continue
        raise UnsupportedMedia(f"The voice cannot read this passage of the text: '{piece[:40]}'.")

    def _said(self, phonemes: str, pace: float) -> Iterator[Utterance]:
        ids = self._model.ids(phonemes)
        # The noise in consonants is drawn anew for each piece, from the same seed: same text, same sound.
        samples = self._model.from_ids(ids, pace, np.random.default_rng(0))
        if len(samples):
            frames = -(-len(samples) // _samples_per_frame())
            yield Utterance(np.asarray(samples, np.float32), len(ids), frames)


def _samples_per_frame() -> int:
    from hibari.dsp import HOP

    return int(HOP)
