"""Attention between modalities, and gated fusion of their tokens: what may stand between encoders and Q-Former.

Every token of a modality attends to the tokens of all others, a softmax gate weighs the modalities, and a last
attention lets every token see all of them. Each modality keeps its own width: queries, keys and values are
projected to a common one and back, so the module fits between any encoders and any Q-Former inputs.

Cross-modal attention as in Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences"
(2019); the gate is ``fusion.gate``. Projections back start at zero and so does the gate's score, so an untrained
module gives tokens back as they came (as in ReZero, Bachlechner et al., 2020): it is harmless until it is trained.

Imports torch: only for those who hold torch anyway, never for the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from fusion.errors import FusionError
from fusion.gate import Gate, linear

__all__ = ["AttentionConfig", "CrossModalFusion", "FusedTokens", "TokenAttention"]


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """``widths`` by modality, in the order that gate weights have. ``inner_width`` is what ``heads`` share.

    ``seed`` is of the projections' first values: two modules of one config are equal.
    """

    widths: tuple[tuple[str, int], ...]
    inner_width: int = 256
    heads: int = 4
    gate_width: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        names = [name for name, _ in self.widths]
        if not names or len(set(names)) < len(names):
            raise FusionError("Attention between modalities needs modalities of different names.")
        if min(self.inner_width, self.gate_width, *(width for _, width in self.widths)) < 1:
            raise FusionError("The widths of attention between modalities must be positive.")
        if self.heads < 1 or self.inner_width % self.heads:
            raise FusionError(
                "The inner width of attention between modalities must be a multiple of its heads."
            )


@dataclass(frozen=True, slots=True)
class FusedTokens:
    """``tokens`` by modality, each in the shape and width it came, 0 where its mask is False.

    ``gate`` is float ``(batch, modalities)`` in the config's order: rows sum to 1 over the modalities that are
    there, missing ones have 0. ``shares``, if asked for, are ``(batch, modalities, modalities)`` of the cross-modal
    attention: how much the tokens of one modality look at each other one. The rows of those that are there sum to
    1, or to 0 where there is no other.
    """

    tokens: dict[str, torch.Tensor]
    gate: torch.Tensor
    shares: torch.Tensor | None = None


class TokenAttention(torch.nn.Module):  # type: ignore[misc]  # torch has no types that mypy is shown
    """Multi-head attention over the tokens of several modalities, added to them (pre-norm, residual).

    With ``own`` a token sees its own modality too; without, the others only.
    """

    def __init__(self, config: AttentionConfig, generator: torch.Generator, *, own: bool) -> None:
        super().__init__()
        self.own = own
        self.heads = config.heads
        self.order = tuple(name for name, _ in config.widths)
        self.norm = torch.nn.ModuleDict({name: torch.nn.LayerNorm(width) for name, width in config.widths})
        self.inward = torch.nn.ModuleDict(
            {name: linear(width, 3 * config.inner_width, generator) for name, width in config.widths}
        )
        self.outward = torch.nn.ModuleDict(
            {name: linear(config.inner_width, width) for name, width in config.widths}
        )

    def forward(
        self, tokens: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor], *, inspect: bool = False
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Tokens ``(batch, n, width)`` and masks ``(batch, n)`` by modality, the same names in both; and, with
        ``inspect``, the shares of ``FusedTokens``.
        """
        names = [name for name in self.order if name in tokens]
        counts = [tokens[name].shape[1] for name in names]
        inner = torch.cat([self.inward[name](self.norm[name](tokens[name])) for name in names], dim=1)
        query, key, value = (self._split(part) for part in inner.chunk(3, dim=-1))
        real = torch.cat([masks[name] for name in names], dim=1)
        owner = torch.repeat_interleave(torch.arange(len(names)), torch.tensor(counts)).to(real.device)
        allowed = real[:, None, :].expand(-1, real.shape[1], -1)
        if not self.own:
            allowed = allowed & (owner[:, None] != owner[None, :])
        # A token with nothing to look at would be given NaN: it looks anywhere, and what it sees is dropped.
        sees = allowed.any(dim=-1)
        open_to = (allowed | ~sees[..., None])[:, None]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=open_to)
        seen = seen.transpose(1, 2).flatten(2)
        keep = (sees & real)[..., None]
        out = {
            name: tokens[name] + torch.where(kept, self.outward[name](part), 0)
            for name, part, kept in zip(
                names, seen.split(counts, dim=1), keep.split(counts, dim=1), strict=True
            )
        }
        if not inspect:
            return out, None
        return out, self._shares(query, key, open_to, keep, names, counts)

    def _split(self, part: torch.Tensor) -> torch.Tensor:
        return part.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _shares(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        open_to: torch.Tensor,
        keep: torch.Tensor,
        names: list[str],
        counts: list[int],
    ) -> torch.Tensor:
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        weights = scores.masked_fill(~open_to, float("-inf")).softmax(dim=-1).mean(dim=1) * keep
        places = [self.order.index(name) for name in names]
        shares = weights.new_zeros((len(weights), len(self.order), len(self.order)))
        for row, of_row, kept in zip(
            places, weights.split(counts, dim=1), keep.split(counts, dim=1), strict=True
        ):
            looking = kept.sum(dim=1).clamp(min=1)
            for column, part in zip(places, of_row.split(counts, dim=2), strict=True):
                shares[:, row, column] = part.sum(dim=(1, 2)) / looking[:, 0]
        return shares


class CrossModalFusion(torch.nn.Module):  # type: ignore[misc]  # torch has no types that mypy is shown
    """Cross-modal attention, gate, and attention over all tokens. See the module's docstring."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        self.across = TokenAttention(config, generator, own=False)
        self.gate = Gate(config.widths, config.gate_width, generator)
        self.together = TokenAttention(config, generator, own=True)

    def forward(
        self,
        tokens: Mapping[str, torch.Tensor],
        masks: Mapping[str, torch.Tensor] | None = None,
        *,
        inspect: bool = False,
    ) -> FusedTokens:
        """Fuse tokens ``(batch, n, width)`` by modality, in the module's dtype.

        ``masks`` are bool ``(batch, n)``, True where a token is real; a modality without one is real throughout.
        One that is missing from ``tokens``, or masked throughout in a row, is missing there: it changes nothing,
        whatever its tokens hold. ``inspect`` computes ``shares`` (memory grows with the square of all tokens).
        Raises ``FusionError`` for shapes that do not fit.
        """
        full = self._checked(tokens, masks or {})
        clean = {name: torch.where(full[name][..., None], tokens[name], 0) for name in full}
        attended, shares = self.across(clean, full, inspect=inspect)
        pooled, present = _pooled(attended, full)
        gate = self.gate(pooled, present)
        # Equal weights change nothing: each is multiplied by how many modalities there are.
        scale = gate * torch.stack(list(present.values()), dim=1).sum(dim=1, keepdim=True)
        order = self.gate.order
        weighed = {name: part * scale[:, order.index(name), None, None] for name, part in attended.items()}
        fused, _ = self.together(weighed, full)
        return FusedTokens(fused, gate, shares)

    def _checked(
        self, tokens: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The masks of all modalities that are there."""
        widths = dict(self.config.widths)
        if not tokens or not tokens.keys() <= widths.keys() or not masks.keys() <= tokens.keys():
            raise FusionError(f"Tokens of {sorted(widths)} can be fused, and masks of those that are given.")
        batch = next(iter(tokens.values())).shape[0]
        full = {}
        for name, part in tokens.items():
            if part.ndim != 3 or part.shape[0] != batch or part.shape[2] != widths[name]:
                raise FusionError(
                    f"Tokens of '{name}' have the shape {tuple(part.shape)}; expected ({batch}, n, {widths[name]})."
                )
            mask = masks.get(name)
            if mask is None:
                mask = torch.ones(part.shape[:2], dtype=torch.bool, device=part.device)
            if mask.shape != part.shape[:2] or mask.dtype != torch.bool:
                raise FusionError(
                    f"The mask of '{name}' must be boolean, of the shape {tuple(part.shape[:2])}."
                )
            full[name] = mask
        return full


def _pooled(
    tokens: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The mean of each modality's real tokens, ``(batch, width)``, and where there is one, ``(batch,)``."""
    pooled, present = {}, {}
    for name, part in tokens.items():
        real = masks[name]
        present[name] = real.any(dim=1)
        pooled[name] = (part * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
    return pooled, present
