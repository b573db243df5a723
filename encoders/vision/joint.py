"""Models with pictures and texts in one space: both encoders, and the zero-shot rule between them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.text.tower import TextTower
from encoders.types import Embeddings, EncodedImage, ImageTokens, ModelSpec, Pixels, Quality, Vector
from encoders.vision.imagenet import class_names
from encoders.vision.tiles import TilePlan
from encoders.vision.tower import VisionTower
from encoders.vision.zero_shot import ZeroShot, prompts

__all__ = ["JointModel", "cached_label_vectors", "name_with_imagenet"]

_LABELS_SHOWN = 10


class JointModel:
    """A loaded joint model: ``VisionEncoder``, ``TokenEncoder`` and ``TextEncoder`` in one object.

    A micro-batcher has one kind of item, so it takes a side: ``MicroBatcher(model.vision)`` for pictures,
    ``MicroBatcher(model.text)`` for texts (``vision_of`` and ``text_of`` find them).
    Both sides share the weights.
    """

    def __init__(
        self, vision: VisionTower, text: TextTower, logit_scale: float, logit_bias: float | None = None
    ) -> None:
        self.vision = vision
        self.text = text
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias

    def warm_up(self) -> None:
        """Run both towers once: the first run of each is slow."""
        self.vision.warm_up()
        self.embed(("warm up",))

    def encode(self, images: Sequence[Pixels], quality: Quality | None = None) -> tuple[EncodedImage, ...]:
        """``VisionTower.encode``."""
        return self.vision.encode(images, quality)

    @property
    def takes_tiles(self) -> bool:
        """See ``TokenEncoder``."""
        return self.vision.takes_tiles

    def tokens(self, images: Sequence[Pixels], tiles: TilePlan | None = None) -> tuple[ImageTokens, ...]:
        """``VisionTower.tokens``."""
        return self.vision.tokens(images, tiles)

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> Embeddings:
        """``TextTower.embed``."""
        return self.text.embed(texts, instruction, dimensions)

    def logits(self, image_vectors: Vector, text_vectors: Vector) -> NDArray[np.float32]:
        """How well texts fit pictures, float32 ``(pictures, texts)``: scaled cosines plus the bias, if any."""
        cosines = image_vectors @ text_vectors.T
        return np.asarray(self.logit_scale * cosines + (self.logit_bias or 0.0), dtype=np.float32)

    def probabilities(self, image_vectors: Vector, text_vectors: Vector) -> NDArray[np.float32]:
        """``(pictures, texts)`` as trained: CLIP's softmax over the texts, or SigLIP's sigmoid of each alone."""
        logits = self.logits(image_vectors, text_vectors).astype(np.float64)
        if self.logit_bias is not None:
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))), dtype=np.float32)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def name_with_imagenet(model: JointModel, spec: ModelSpec, models_dir: Path) -> None:
    """Give the model's pictures labels: zero-shot over ImageNet's 1000 names ("a photo of a ...").

    The labels compete (a softmax at the model's own temperature), also where single texts are judged by a sigmoid.
    """
    names = class_names()
    zero_shot = ZeroShot(names, cached_label_vectors(model, spec, names, models_dir), 1.0 / model.logit_scale)
    model.vision.label_with(lambda vectors, _chances: zero_shot.rank(vectors, _LABELS_SHOWN))


def cached_label_vectors(
    model: JointModel, spec: ModelSpec, names: Sequence[str], models_dir: Path
) -> Vector:
    """The label texts' vectors ``(n, dimensions)``: a thousand passes of a text tower, so kept beside the models.

    The file is named by the weights' revision and the texts. One that cannot be read is made anew; a folder that
    cannot be written only costs the next start its time.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file

    texts = prompts(names)
    identity = f"{spec.revision}\0{spec.preprocessing}\0" + "\0".join(texts)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    path = models_dir / ".label-vectors" / f"{spec.name}-{digest}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, KeyError):
        kept: Vector = load_file(path)["vectors"]
        if kept.shape == (len(texts), spec.dimensions):
            return kept
    vectors = model.embed(texts).vectors
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        os.close(handle)
        try:
            save_file({"vectors": vectors}, name)
            os.chmod(name, 0o644)  # the folder of models may be shared; the temporary file is its maker's
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    return vectors
