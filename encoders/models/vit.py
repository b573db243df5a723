"""Plain vision transformers (Dosovitskiy et al. 2021): a picture's class token as its embedding, and patch tokens.

The embedding is the class token of the last layer after its layer norm, L2-normalised; patch tokens are the others.
It lies in a space of the model's own: pictures find pictures, texts do not find them. Labels come from the
classifier head where the checkpoint has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.checkpoint import (
    VisionFamily,
    load_network,
    read_facts,
)
from encoders.config import EncoderConfig
from encoders.torch_device import Placement, placement
from encoders.types import ImageLabel, ModelSpec, Quality, Vector
from encoders.vision.preprocessing import SquareViews, processor_facts
from encoders.vision.tower import Labels, Seen, VisionTower
from encoders.weights import find_directory

if TYPE_CHECKING:
    import torch

__all__ = ["SPECS", "adopt", "build", "load"]

_LABELS_SHOWN = 10

_PROCESSOR: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


_FAMILY = VisionFamily(
    ("image", "video"),
    "vit-1",
)

SPECS = tuple(
    _FAMILY.listed(name, f"google/{name}", "Apache-2.0", dimensions, parameters)
    for name, dimensions, parameters in (
        ("vit-base-patch16-224", 768, 86_567_656),
        ("vit-base-patch16-224-in21k", 768, 86_389_248),
        ("vit-large-patch16-224", 1024, 304_326_632),
    )
)


def adopt(name: str, directory: Path, facts: Mapping[str, Any]) -> ModelSpec | None:
    """The spec of the user's own ViT checkpoint; None when the folder holds another kind of model."""
    if facts.get("model_type") != "vit":
        return None
    return _FAMILY.adopted(name, directory, int(facts.get("hidden_size", 768)))


def load(spec: ModelSpec, config: EncoderConfig) -> VisionTower:
    """Load and warm up. Raises ``ModelUnavailable`` when the checkpoint is not there or not whole."""
    directory = find_directory(spec, config.models_dir)
    model = build(directory, placement(config.device, config.compiled, config.threads), config.quality)
    model.warm_up()
    return model


def build(directory: Path, place: Placement, quality: Quality = Quality.FAST) -> VisionTower:
    """The model in ``directory`` on ``place``."""
    classifies = "ViTForImageClassification" in (read_facts(directory).get("architectures") or ())
    if classifies:
        network = load_network(directory, "ViTForImageClassification", place)
        body = network.vit
    else:
        network = body = load_network(directory, "ViTModel", place, add_pooling_layer=False)

    def look(pixel_values: torch.Tensor) -> Seen:
        hidden = body(pixel_values=pixel_values).last_hidden_state
        pooled = hidden[:, 0]
        return Seen(pooled, hidden[:, 1:], network.classifier(pooled) if classifies else None)

    names = network.config.id2label if classifies else {}

    def label(vectors: Vector, chances: Vector | None) -> Sequence[Labels]:
        return [_ranked(row, names) for row in chances] if chances is not None else [()] * len(vectors)

    reader = SquareViews(processor_facts(directory, _PROCESSOR))
    return VisionTower(look, reader, place, quality, label if classifies else None)


def _ranked(chances: Vector, names: Mapping[int, str]) -> Labels:
    top = np.argsort(-chances, kind="stable")[:_LABELS_SHOWN]
    return tuple(ImageLabel(names[int(index)], float(chances[index])) for index in top)
