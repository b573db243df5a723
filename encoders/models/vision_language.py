"""Vision language models of the hub, which vLLM loads itself: chat models that look at pictures and frames.

Nothing is loaded from here; a folder of the user's own needs no line in this file.
"""

from __future__ import annotations

from encoders.checkpoint import HUB_PATTERNS, UNPINNED
from encoders.types import ModelSpec

__all__ = ["SPECS"]

_HUB_PATTERNS = (
    *HUB_PATTERNS,
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "video_preprocessor_config.json",
    "added_tokens.json",
)


def _listed(hub_id: str, dimensions: int, parameters: int, context_tokens: int) -> ModelSpec:
    return ModelSpec(
        name=hub_id.rpartition("/")[2].lower(),
        task="chat",
        modalities=("text", "image"),
        dimensions=dimensions,
        licence="Apache-2.0",
        revision=UNPINNED,
        preprocessing="1",
        hub_id=hub_id,
        extra={
            "files": ("config.json", "tokenizer.json", "preprocessor_config.json"),
            "hub_patterns": _HUB_PATTERNS,
            "context_tokens": context_tokens,
            "parameters": parameters,
        },
    )


SPECS = (
    # The architecture (Idefics3) that the engine's tests look at pictures with.
    _listed("HuggingFaceTB/SmolVLM-500M-Instruct", 960, 507_000_000, 8192),
    _listed("Qwen/Qwen3-VL-2B-Instruct", 2048, 2_130_000_000, 262_144),
    _listed("Qwen/Qwen3-VL-8B-Instruct", 4096, 8_770_000_000, 262_144),
)
