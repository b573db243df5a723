"""BLIP-2's Q-Former (Li et al. 2023) and projection: encoders' tokens to the decoder's prompt embeddings.

Learned queries attend to the tokens of one or more encoders and to each other; the projection turns each query into
an embedding of the decoder's width. The layers are transformers' ``Blip2QFormerModel``, so a BLIP-2 checkpoint
gives the same numbers here as there. This module imports torch: only what loads or trains a bridge imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from fusion.attention import AttentionConfig, CrossModalFusion
from fusion.bridge_folder import BridgeManifest

__all__ = ["QFormer"]


class QFormer(torch.nn.Module):  # type: ignore[misc]  # torch has no types that mypy is shown
    """Query tokens, Q-Former and projection, and a projection of each branch's tokens where the manifest has them.

    Names of its weights are those of ``fusion.bridge_folder``. It stays in float32 everywhere: BLIP-2's does, and
    its layer norms and softmaxes are worth more than its size.
    """

    def __init__(self, manifest: BridgeManifest) -> None:
        super().__init__()
        config = Blip2QFormerConfig(
            **{key: value for key, value in manifest.qformer.items() if key != "model_type"}
        )
        config._attn_implementation = "sdpa"
        width = config.hidden_size
        self.query_tokens = torch.nn.Parameter(torch.zeros(1, manifest.queries, width))
        self.qformer: Any = Blip2QFormerModel(config)
        self.language_projection = torch.nn.Linear(width, manifest.decoder_width)
        projected = manifest.branches if manifest.has_projections else {}
        self.attention = None
        if manifest.attention is not None:
            widths = tuple((name, branch.width) for name, branch in manifest.branches.items())
            self.attention = CrossModalFusion(AttentionConfig(widths, **manifest.attention))
        self.inputs = torch.nn.ModuleDict(
            {
                name: torch.nn.Linear(branch.width, config.encoder_hidden_size)
                for name, branch in projected.items()
            }
        )

    def forward(
        self, tokens: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Soft tokens ``(n, queries, decoder width)`` of branches' tokens, each ``(n, its length, its width)``.

        ``masks``, by branch, are ``(n, its length)``: 1 for real tokens, 0 for padding; a branch without one is all
        real. Branches are looked at together; with ``attention`` they have looked at each other before. One that is
        left out counts as one that is masked throughout. In each of the ``n`` at least one token must be real.
        """
        masks = masks or {}
        tokens = {name: given.float() for name, given in tokens.items()}
        if self.attention is not None:  # of one branch, too: as if the others were masked
            tokens = self.attention(tokens, {name: mask.bool() for name, mask in masks.items()}).tokens
        seen, real = [], []
        for name, given in tokens.items():
            read = self.inputs[name](given) if name in self.inputs else given
            mask = masks.get(name)
            seen.append(read)
            real.append(
                torch.ones(read.shape[:2], dtype=torch.long, device=read.device)
                if mask is None
                else mask.long()
            )
        states = torch.cat(seen, dim=1)
        queries = self.query_tokens.expand(len(states), -1, -1)
        answers = self.qformer(
            query_embeds=queries,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.cat(real, dim=1) if masks else None,
        ).last_hidden_state
        soft: torch.Tensor = self.language_projection(answers)
        return soft
