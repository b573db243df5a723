"""A bridge before its first step: its shape from the settings, its weights drawn by the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.bridge_folder import BridgeManifest
from fusion.training.config import BridgeShape

if TYPE_CHECKING:
    from fusion.qformer import QFormer

__all__ = ["new_bridge", "qformer_settings"]

_QUERY_SPREAD = 0.02  # BERT's and BLIP-2's


def qformer_settings(shape: BridgeShape, input_width: int, dropout: float) -> dict[str, Any]:
    """``Blip2QFormerConfig`` of the shape. Every layer looks at the picture, where BLIP-2's every second one does:
    a Q-Former of few layers would look too seldom.
    """
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "encoder_hidden_size": input_width,
        "cross_attention_frequency": 1,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }


def new_bridge(manifest: BridgeManifest, seed: int, embedding_spread: float) -> QFormer:
    """``embedding_spread`` is the standard deviation of the decoder's own token embeddings: soft tokens begin at
    that size, so that the decoder's first answers are language.
    """
    import torch

    from fusion.qformer import QFormer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bridge = QFormer(manifest)
        width = bridge.query_tokens.shape[-1]
        torch.nn.init.normal_(bridge.query_tokens, std=_QUERY_SPREAD)
        # The Q-Former ends in a layer norm: its numbers have a variance of 1.
        torch.nn.init.normal_(bridge.language_projection.weight, std=embedding_spread / width**0.5)
        torch.nn.init.zeros_(bridge.language_projection.bias)
    return bridge
