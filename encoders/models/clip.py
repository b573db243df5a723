"""CLIP (Radford et al. 2021) of any size: pictures and texts in one space, through transformers' ``CLIPModel``.

Patch tokens are the vision tower's last hidden state before its final layer norm, without the class token: what
LLaVA-like projectors are trained on (they may take an earlier layer). Texts over 77 tokens are read in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.checkpoint import (
    VisionFamily,
    load_network,
    load_tokenizer,
)
from encoders.config import EncoderConfig
from encoders.text.tower import TextRules, TextTower
from encoders.torch_device import Placement, placement
from encoders.types import ModelSpec, Quality
from encoders.vision.joint import JointModel, name_with_imagenet
from encoders.vision.preprocessing import SquareViews, processor_facts
from encoders.vision.tower import Seen, VisionTower
from encoders.weights import find_directory

if TYPE_CHECKING:
    import torch

__all__ = ["SPECS", "adopt", "build", "load"]

_SIDE_PIXELS = 1024  # three tiles of 336, which is what the best quality looks at

# The family's image processor where the checkpoint's file leaves something out.
_PROCESSOR: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


_FAMILY = VisionFamily(
    ("text", "image", "video"),
    "clip-1",
    {"max_tokens": 77, "long_text": "pool", "side_pixels": _SIDE_PIXELS},
)

SPECS = tuple(
    _FAMILY.listed(name, hub_id, "MIT", dimensions, parameters)
    for name, dimensions, parameters, hub_id in (
        ("clip-vit-base-patch32", 512, 151_277_313, "openai/clip-vit-base-patch32"),
        ("clip-vit-base-patch16", 512, 149_620_737, "openai/clip-vit-base-patch16"),
        ("clip-vit-large-patch14", 768, 427_616_513, "openai/clip-vit-large-patch14"),
        ("clip-vit-large-patch14-336", 768, 427_944_193, "openai/clip-vit-large-patch14-336"),
        ("clip-vit-base-patch32-laion2b", 512, 151_277_313, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("clip-vit-large-patch14-laion2b", 768, 427_616_513, "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
        ("clip-vit-huge-patch14-laion2b", 1024, 986_109_441, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    )
)


def adopt(name: str, directory: Path, facts: Mapping[str, Any]) -> ModelSpec | None:
    """The spec of the user's own CLIP checkpoint; None when the folder holds another kind of model."""
    if facts.get("model_type") != "clip" or "vision_config" not in facts:
        return None
    return _FAMILY.adopted(name, directory, int(facts.get("projection_dim", 512)))


def load(spec: ModelSpec, config: EncoderConfig) -> JointModel:
    """Load and warm up. Raises ``ModelUnavailable`` when the checkpoint is not there or not whole."""
    directory = find_directory(spec, config.models_dir)
    model = build(directory, placement(config.device, config.compiled, config.threads), config.quality)
    name_with_imagenet(model, spec, config.models_dir)
    model.warm_up()
    return model


def build(directory: Path, place: Placement, quality: Quality = Quality.FAST) -> JointModel:
    """The model in ``directory`` without label names, on ``place``."""
    network = load_network(directory, "CLIPModel", place)
    reader = SquareViews(processor_facts(directory, _PROCESSOR))
    rules = TextRules(max_tokens=network.config.text_config.max_position_embeddings)

    def look(pixel_values: torch.Tensor) -> Seen:
        seen = network.get_image_features(pixel_values=pixel_values)
        return Seen(seen.pooler_output, seen.last_hidden_state[:, 1:])

    def read(ids: torch.Tensor, _mask: torch.Tensor | None) -> torch.Tensor:
        # Causal, padded on the right, pooled at the end token: padding is never looked at, so it needs no mask.
        pooled: torch.Tensor = network.get_text_features(input_ids=ids).pooler_output
        return pooled

    vision = VisionTower(look, reader, place, quality)
    text = TextTower(read, load_tokenizer(directory), rules, place, network.config.projection_dim)
    return JointModel(vision, text, float(network.logit_scale.float().exp()))
