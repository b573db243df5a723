"""BLIP-2 (Li et al. 2023): its vision tower for the bridge, and its decoder split off for the chat engine.

A checkpoint holds a ViT, a Q-Former with its projection, and a decoder; each is run where it belongs. Here it is
the ViT: a picture's tokens are its last hidden state *with* the class token first, which is what the Q-Former was
trained on, and its embedding is the class token's. There is no text side, so pictures have a space of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.checkpoint import HUB_PATTERNS, UNPINNED, loaded_bytes, read_facts
from encoders.checkpoint_parts import load_part, part_parameters
from encoders.config import EncoderConfig
from encoders.decoder_split import split_decoder
from encoders.torch_device import Placement, placement
from encoders.types import ModelSpec, Quality
from encoders.vision.preprocessing import SquareViews, processor_facts
from encoders.vision.tower import Seen, VisionTower
from encoders.weights import content_revision, find_directory

if TYPE_CHECKING:
    import torch

    from encoders.registry import Progress

__all__ = [
    "DECODER_FOLDER",
    "DERIVED_FOLDERS",
    "SPECS",
    "adopt",
    "build",
    "convert",
    "finish",
    "is_blip2",
    "load",
]

DECODER_FOLDER = "decoder"
DERIVED_FOLDERS = (DECODER_FOLDER,)
"""Folders of a checkpoint that are made of the rest of it."""

_VISION_PREFIX, _DECODER_PREFIX = "vision_model.", "language_model."
_SIDE_PIXELS = 1024  # four tiles of 224 and a little more

_PROCESSOR: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def _spec(
    name: str, width: int, parameters: int, licence: str, revision: str, hub_id: str | None = None
) -> ModelSpec:
    return ModelSpec(
        name=name,
        task="vision",
        modalities=("image", "video"),
        dimensions=width,
        licence=licence,
        revision=revision,
        preprocessing="blip2-1",
        hub_id=hub_id,
        memory_bytes=loaded_bytes(parameters),
        extra={
            "space": name,
            "hub_patterns": HUB_PATTERNS,
            "side_pixels": _SIDE_PIXELS,
            "derived": DERIVED_FOLDERS,
        },
    )


SPECS = tuple(
    # What the vision tower takes; the decoder is the engine's.
    _spec(name, 1408, 985_952_256, "MIT", UNPINNED, f"Salesforce/{name}")
    for name in ("blip2-opt-2.7b", "blip2-opt-6.7b")
)


def is_blip2(facts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's ``config.json`` is that of a BLIP-2 with vision tower, Q-Former and decoder."""
    return facts.get("model_type") == "blip-2" and all(
        isinstance(facts.get(part), dict) for part in ("vision_config", "qformer_config", "text_config")
    )


def adopt(name: str, directory: Path, facts: Mapping[str, Any]) -> ModelSpec | None:
    """The spec of the user's own BLIP-2 checkpoint; None when the folder holds another kind of model."""
    if not is_blip2(facts):
        return None
    width = int(facts["vision_config"].get("hidden_size", 1408))
    parameters = part_parameters(directory, _VISION_PREFIX)
    return _spec(name, width, parameters, "unknown", content_revision(directory, DERIVED_FOLDERS))


def convert(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Split the decoder off a checkpoint that was just fetched."""
    finish(spec.name, target_dir, progress)


def finish(name: str, directory: Path, progress: Progress) -> None:
    """Split the decoder off into ``directory/decoder``, unless it lies there already.

    Raises ``ModelUnavailable`` when it is not one that the chat engine can be given soft tokens for.
    """
    progress(0.0, "splitting off the decoder")
    split_decoder(directory, directory / DECODER_FOLDER, _DECODER_PREFIX, name)


def load(spec: ModelSpec, config: EncoderConfig) -> VisionTower:
    """Load the vision tower and warm it up. Raises ``ModelUnavailable`` when the checkpoint is not whole."""
    directory = find_directory(spec, config.models_dir)
    tower = build(directory, placement(config.device, config.compiled, config.threads), config.quality)
    tower.warm_up()
    return tower


def build(directory: Path, place: Placement, quality: Quality = Quality.FAST) -> VisionTower:
    """The vision tower of the checkpoint in ``directory``, on ``place``."""
    from transformers import Blip2VisionConfig, Blip2VisionModel

    facts = read_facts(directory)

    def empty() -> Any:
        settings = Blip2VisionConfig(**facts["vision_config"])
        settings._attn_implementation = "sdpa"
        return Blip2VisionModel(settings)

    network: Any = place.place(load_part(directory, _VISION_PREFIX, empty))

    def look(pixel_values: torch.Tensor) -> Seen:
        seen = network(pixel_values=pixel_values)
        return Seen(seen.pooler_output, seen.last_hidden_state)

    return VisionTower(look, SquareViews(processor_facts(directory, _PROCESSOR)), place, quality)
