"""Which pictures, captions and prompts a step looks at, and how they become one batch of the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.types import Vector
from fusion.training.dialogue import Example

if TYPE_CHECKING:
    import torch

__all__ = ["IGNORED", "Choice", "Joined", "chosen", "join", "padded"]

IGNORED = -100
"""Label of places whose prediction does not count: torch's own."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One place of a batch: the pair's number, and what decides its caption and its prompt, each in [0, 1)."""

    pair: int
    caption: float
    prompt: float


@dataclass(frozen=True, slots=True)
class Joined:
    """A batch for the decoder, padded on the right: ``embeddings`` ``(n, length, width)``, ``mask`` ``(n, length)``
    with 1 at real places, and from ``first`` on what each place should predict, ``labels`` ``(n, length - first)``.
    """

    embeddings: torch.Tensor
    mask: torch.Tensor
    first: int
    labels: torch.Tensor


def chosen(step: int, pairs: int, batch_size: int, seed: int) -> tuple[Choice, ...]:
    """What step ``step`` (from 0) looks at: every pair once an epoch, in a new order each. A function of its
    arguments alone, so that a resumed run goes on with the same batches and nothing has to be saved.
    """
    draws = np.random.default_rng((seed, 1, step)).random((batch_size, 2))
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng((seed, 2, epoch)).permutation(pairs)
        for epoch in {place // pairs for place in places}
    }
    return tuple(
        Choice(int(orders[place // pairs][place % pairs]), float(caption), float(prompt))
        for place, (caption, prompt) in zip(places, draws, strict=True)
    )


def padded(tokens: Sequence[Vector]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pictures' tokens as one float32 tensor ``(n, patches, width)`` and its mask ``(n, patches)``, 1 at real
    patches; no mask where all are.
    """
    import torch

    longest = max(len(one) for one in tokens)
    together = torch.zeros(len(tokens), longest, tokens[0].shape[1])
    mask = torch.zeros(len(tokens), longest, dtype=torch.long)
    for row, one in enumerate(tokens):
        together[row, : len(one)] = torch.from_numpy(one)
        mask[row, : len(one)] = 1
    return together, None if bool(mask.all()) else mask


def join(examples: Sequence[Example], soft: torch.Tensor, embed: Any) -> Joined:
    """Text and soft tokens ``(n, tokens, width)`` in the order of the chat; ``embed`` is the decoder's embedding.

    The place before each answer token predicts it. Places before the first such place of all predict nothing.
    """
    import torch

    count = soft.shape[1]
    texts = [(*one.before, *one.after, *one.answer) for one in examples]
    vectors = embed(torch.tensor([token for text in texts for token in text], device=soft.device))
    vectors = list(vectors.split([len(text) for text in texts]))
    longest = max(len(text) for text in texts) + count
    rows, labels, starts = [], torch.full((len(texts), longest), IGNORED), []
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, (one, vector) in enumerate(zip(examples, vectors, strict=True)):
        before = len(one.before)
        whole = torch.cat([vector[:before], soft[row].to(vector.dtype), vector[before:]])
        mask[row, : len(whole)] = 1
        starts.append(len(whole) - len(one.answer) - 1)
        labels[row, starts[-1] : len(whole) - 1] = torch.tensor(one.answer)
        rows.append(torch.nn.functional.pad(whole, (0, 0, 0, longest - len(whole))))
    first = min(starts)
    return Joined(torch.stack(rows), mask.to(soft.device), first, labels[:, first:].to(soft.device))
