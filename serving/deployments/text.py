"""The deployment that embeds and judges texts."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.moderation import ModerationScores
from encoders.text.encoder import TextEmbedding, stacked, text_of
from encoders.types import Embeddings
from serving.deployments.encoder_deployment import EncoderDeployment, Loaded
from serving.deployments.moderation import text_judge
from serving.deployments.text_variants import TextVariants

__all__ = ["TextDeployment"]

_HEALTH_SECONDS = 20.0  # within Ray's own 30


class TextDeployment(EncoderDeployment):
    """The methods of ``serving.services.Perception`` that take texts."""

    async def embed_texts(self, texts: tuple[str, ...], model: str | None = None) -> Embeddings:
        """See ``Perception.embed_texts``."""
        if model is not None:
            return await self._variants.embed(model, texts)
        return stacked(await self._text.submit(texts), self._dimensions)

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """See ``Perception.moderate_texts``."""
        if self._text_judge is None:
            raise ModelUnavailable("No model is set that judges texts (encoders.moderation_text).")
        return tuple(await self._text_judge.submit(texts))

    async def check_health(self) -> None:
        """Raise when the text model's thread no longer works. Busy is healthy, however long the queue is."""
        await self._text.check_alive("health", _HEALTH_SECONDS)

    def _loaded_at_start(self, config: EncoderConfig) -> Sequence[str]:
        return (config.text_model, *super()._loaded_at_start(config))

    def _loaded_on_use(self, config: EncoderConfig) -> Sequence[str]:
        judge = config.moderation_text_model
        return (*super()._loaded_on_use(config), *(() if judge is None else (judge,)))

    def _taking_turns(self, config: EncoderConfig) -> Sequence[str]:
        return (*super()._taking_turns(config), *config.text_variants)

    def _begin(self, loaded: Loaded) -> None:
        super()._begin(loaded)
        config = loaded.config
        self._dimensions = loaded.specs[config.text_model].dimensions or 0
        self._text: MicroBatcher[str, TextEmbedding] = self._worker(
            MicroBatcher(
                text_of(loaded.models[config.text_model]), config.text_batches, loaded.observer("text")
            )
        )
        variants = {name: loaded.specs[name] for name in config.text_variants}
        self._variants = self._worker(TextVariants(variants, config, loaded.observer("text")))
        self._text_judge: MicroBatcher[str, ModerationScores] | None = None
        if config.moderation_text_model is not None:
            self._text_judge = self._worker(
                text_judge(config.moderation_text_model, config, loaded.observer("text moderation"))
            )
