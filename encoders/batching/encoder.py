"""What a model offers to the micro-batcher: preparing on CPU threads, and running batches of what was prepared.

Text and vision models satisfy ``BatchEncoder``; the micro-batcher knows nothing else of a model. The split is what
lets one batch run while the next is tokenised or resized.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

__all__ = ["BatchEncoder", "run_by_bucket"]

Item = TypeVar("Item", contravariant=True)
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


class BatchEncoder(Protocol[Item, Prepared, Result]):
    """The three phases of an encoder. ``run`` is only ever called by one thread at a time."""

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Tokenise, resize, normalise: one result per item. Called from several threads."""
        ...

    def bucket(self, prepared: Prepared) -> Hashable:
        """What must be equal for two items to share a batch: a padded length, a picture's shape."""
        ...

    def cost(self, prepared: Prepared) -> int:
        """What the item adds to a batch's budget: tokens with padding, or pixels."""
        ...

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """The model itself: one result per prepared item, order kept. All items are of one bucket."""
        ...


def run_by_bucket(
    encoder: BatchEncoder[Item, Prepared, Result], prepared: Sequence[Prepared]
) -> list[Result]:
    """``run`` for prepared items of any buckets, order kept: what a model's direct call does without a batcher."""
    chosen: dict[Hashable, list[int]] = {}
    for index, one in enumerate(prepared):
        chosen.setdefault(encoder.bucket(one), []).append(index)
    results: dict[int, Result] = {}
    for indices in chosen.values():
        results.update(zip(indices, encoder.run([prepared[index] for index in indices]), strict=True))
    return [results[index] for index in range(len(prepared))]
