"""Bridges with random weights for tests, written as the trainer writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion.bridge_folder import Branch, BridgeManifest, write_bridge

__all__ = ["SPEECH", "TEXT", "VISION", "bridge_manifest", "random_network", "write_random_bridge"]

VISION, SPEECH = Branch("tiny-vision", "1", 48), Branch("tiny-speech", "1", 40)
TEXT = Branch("tiny-text", "1", 24)


def bridge_manifest(branches: Mapping[str, Branch], **changes: Any) -> BridgeManifest:
    """A bridge of four queries to a decoder of width 32 called ``tiny-decoder``."""
    qformer = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "encoder_hidden_size": 48,
        "cross_attention_frequency": 1,
    }
    return BridgeManifest("tiny-decoder", 32, 4, branches, qformer, **changes)


def random_network(manifest: BridgeManifest, seed: int = 0) -> Any:
    """A ``QFormer`` whose every weight is drawn, ready for inference."""
    import torch

    from fusion.qformer import QFormer

    network = QFormer(manifest).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def write_random_bridge(folder: Path, manifest: BridgeManifest, seed: int = 0) -> BridgeManifest:
    """Write such a bridge into ``folder``."""
    return write_bridge(folder, manifest, random_network(manifest, seed).state_dict())
