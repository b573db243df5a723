"""Further text models beside the one that is always there: many are served, few are in memory at once."""

from __future__ import annotations

from collections.abc import Mapping

from encoders import registry
from encoders.batching.micro_batcher import BatchObserver, MicroBatcher
from encoders.batching.queue_time import longest_wait
from encoders.batching.shelf import Shelf
from encoders.config import EncoderConfig
from encoders.text.encoder import TextEmbedding, stacked, text_of
from encoders.types import Embeddings, ModelSpec

__all__ = ["TextVariants"]


class TextVariants:
    """Embeds texts with one of ``specs``, by name; see ``Shelf``. Use from one event loop."""

    def __init__(
        self, specs: Mapping[str, ModelSpec], config: EncoderConfig, observe: BatchObserver | None = None
    ) -> None:
        self._specs = dict(specs)
        self._config = config
        self._observe = observe
        sizes = {name: spec.memory_bytes for name, spec in specs.items()}
        self._shelf = Shelf(sizes, config.variant_memory_bytes, self._load)

    async def embed(self, name: str, texts: tuple[str, ...]) -> Embeddings:
        """Embeddings of ``texts``, in order. Raises ``ModelUnavailable`` for a model that is not among these."""
        async with self._shelf.using(name) as model:
            return stacked(await model.submit(texts), self._specs[name].dimensions or 0)

    @property
    def loaded(self) -> tuple[str, ...]:
        """See ``Shelf.loaded``."""
        return self._shelf.loaded

    @property
    def waiting_seconds(self) -> float:
        """For how long the first text that waits for a model that is loaded has waited; 0 while none does."""
        return longest_wait(self._shelf.present)

    async def aclose(self) -> None:
        """Stop."""
        await self._shelf.aclose()

    def _load(self, name: str) -> MicroBatcher[str, TextEmbedding]:
        """In a thread."""
        model = text_of(registry.load(name, self._config))
        return MicroBatcher(model, self._config.text_batches, self._observe)
