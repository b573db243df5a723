"""SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025) of any size, NaFlex variants too.

SigLIP 2 at a fixed resolution has SigLIP's architecture (``SiglipModel``); NaFlex variants (``Siglip2Model``)
read a picture at its own aspect ratio. Patch tokens are the vision tower's last hidden state after its layer
norm (there is no class token). Texts are padded to 64 tokens, as in training; longer ones are read in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.checkpoint import (
    VisionFamily,
    load_network,
    load_tokenizer,
    read_facts,
)
from encoders.config import EncoderConfig
from encoders.text.tower import TextRules, TextTower
from encoders.torch_device import Placement, placement
from encoders.types import ModelSpec, Quality
from encoders.vision.joint import JointModel, name_with_imagenet
from encoders.vision.preprocessing import PatchViews, SquareViews, ViewReader, processor_facts
from encoders.vision.tower import Seen, VisionTower
from encoders.weights import find_directory

if TYPE_CHECKING:
    import torch

__all__ = ["SPECS", "adopt", "build", "load"]

_SIDE_PIXELS = 1152  # three tiles of 384, or 1024 patches of a picture up to five times as wide as high

# The families' image processors where the checkpoint's file leaves something out.
_FIXED: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_NAFLEX: Mapping[str, Any] = {
    "patch_size": 16,
    "max_num_patches": 256,
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


_FAMILY = VisionFamily(
    ("text", "image", "video"),
    "siglip-1",
    {"max_tokens": 64, "long_text": "pool", "side_pixels": _SIDE_PIXELS},
)

SPECS = tuple(
    _FAMILY.listed(name, f"google/{name}", "Apache-2.0", dimensions, parameters)
    for name, dimensions, parameters in (
        ("siglip-base-patch16-224", 768, 203_155_970),
        ("siglip-base-patch16-384", 768, 203_447_810),
        ("siglip-large-patch16-256", 1024, 652_150_786),
        ("siglip-so400m-patch14-384", 1152, 877_960_498),
        ("siglip2-base-patch16-224", 768, 375_187_970),
        ("siglip2-large-patch16-256", 1024, 881_526_786),
        ("siglip2-so400m-patch14-384", 1152, 1_136_008_498),
        ("siglip2-base-patch16-naflex", 768, 375_234_050),
        ("siglip2-so400m-patch16-naflex", 1152, 1_135_670_962),
    )
)


def adopt(name: str, directory: Path, facts: Mapping[str, Any]) -> ModelSpec | None:
    """The spec of the user's own SigLIP checkpoint; None when the folder holds another kind of model."""
    if facts.get("model_type") not in ("siglip", "siglip2") or "vision_config" not in facts:
        return None
    # A checkpoint's file leaves out what is the architecture's default.
    text = facts.get("text_config") or {}
    dimensions = int(text.get("projection_size") or text.get("hidden_size") or 768)
    return _FAMILY.adopted(name, directory, dimensions)


def load(spec: ModelSpec, config: EncoderConfig) -> JointModel:
    """Load and warm up. Raises ``ModelUnavailable`` when the checkpoint is not there or not whole."""
    directory = find_directory(spec, config.models_dir)
    model = build(directory, placement(config.device, config.compiled, config.threads), config.quality)
    name_with_imagenet(model, spec, config.models_dir)
    model.warm_up()
    return model


def build(directory: Path, place: Placement, quality: Quality = Quality.FAST) -> JointModel:
    """The model in ``directory`` without label names, on ``place``."""
    naflex = read_facts(directory).get("model_type") == "siglip2"
    network = load_network(directory, "Siglip2Model" if naflex else "SiglipModel", place)
    tokenizer = load_tokenizer(directory)
    reader: ViewReader = (
        PatchViews(processor_facts(directory, _NAFLEX))
        if naflex
        else SquareViews(processor_facts(directory, _FIXED))
    )
    rules = TextRules(
        max_tokens=network.config.text_config.max_position_embeddings,
        fixed_length=True,
        # Published checkpoints leave the mask out: they were trained to read their padding.
        masked="attention_mask" in tokenizer.model_input_names,
    )

    def look(**arguments: torch.Tensor) -> Seen:
        seen = network.get_image_features(**arguments)
        return Seen(seen.pooler_output, seen.last_hidden_state)

    def read(ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        pooled: torch.Tensor = network.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return pooled

    vision = VisionTower(look, reader, place, quality)
    text = TextTower(read, tokenizer, rules, place, network.config.text_config.projection_size)
    return JointModel(
        vision, text, float(network.logit_scale.float().exp()), float(network.logit_bias.float())
    )
