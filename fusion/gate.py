"""The gate: which modality counts how much, by a softmax over those that are there.

A gated multimodal unit (Arevalo et al., "Gated Multimodal Units for Information Fusion", 2017) for any number of
modalities: each is projected to a common width, their sum after tanh is what all of them say together, and one
score per modality is read from it. Scores start at zero, so an untrained gate weighs all that is there alike.

``fusion.vector_gate`` evaluates the same gate with numpy, for processes that hold no torch. This module imports
torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

__all__ = ["Gate", "linear"]


class Gate(torch.nn.Module):  # type: ignore[misc]  # torch has no types that mypy is shown
    """Weights of modalities from one vector of each. ``order`` is theirs, and that of the weights."""

    def __init__(
        self,
        widths: tuple[tuple[str, int], ...],
        inner_width: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.order = tuple(name for name, _ in widths)
        generator = generator or torch.Generator().manual_seed(0)
        self.project = torch.nn.ModuleDict(
            {name: linear(width, inner_width, generator) for name, width in widths}
        )
        self.score = linear(inner_width, len(widths))

    def forward(
        self, vectors: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Float ``(batch, modalities)``: rows sum to 1 over what is there, and are 0 where nothing is.

        ``vectors`` are ``(batch, width)`` by modality, finite also where they are missing; ``present`` is bool
        ``(batch,)``, of the same names. Modalities in neither are missing.
        """
        some = next(iter(vectors.values()))
        inner = some.new_zeros((some.shape[0], self.score.in_features))
        there = torch.zeros((some.shape[0], len(self.order)), dtype=torch.bool, device=some.device)
        for place, name in enumerate(self.order):
            if name in vectors:
                vector, is_there = vectors[name], present[name]
                projected = self.project[name](functional.layer_norm(vector, vector.shape[-1:]))
                inner = inner + torch.where(is_there[:, None], projected, 0)
                there[:, place] = is_there
        scores = self.score(torch.tanh(inner))
        # Rows without any modality would be NaN; they are opened, and closed again by the product.
        hidden = ~(there | ~there.any(dim=1, keepdim=True))
        return scores.masked_fill(hidden, float("-inf")).softmax(dim=-1) * there


def linear(width_in: int, width_out: int, generator: torch.Generator | None = None) -> torch.nn.Linear:
    """A linear layer whose weights are drawn from ``generator``, else zero; the bias is zero.

    Leaves torch's global random numbers alone.
    """
    layer = torch.nn.utils.skip_init(torch.nn.Linear, width_in, width_out)
    with torch.no_grad():
        layer.bias.zero_()
        if generator is None:
            layer.weight.zero_()
        else:
            torch.nn.init.xavier_uniform_(layer.weight, generator=generator)
    return layer
